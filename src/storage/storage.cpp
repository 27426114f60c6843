// SPDX-License-Identifier: Apache-2.0
// Opening what a name means, and what a storage that is only read need not say.
#include <penstock/features.hpp>
#include <penstock/storage.hpp>

#include "base/text.hpp"
#include "storage/protocol.hpp"

#include <algorithm>

namespace penstock {

namespace {

Result<const Protocol*> protocol_of(const ImageName& name) {
  // A name from an image may hold any byte, and a path would silently end here.
  if (name.address.find('\0') != std::string::npos) return fail(EINVAL, "the name contains a NUL byte");
  if (const auto* const protocol = find_protocol(name.protocol)) return protocol;
  return fail(EINVAL, concat("unknown protocol '", printable(name.protocol),
                             "' (write ./ in front of a file name that contains a ':')"));
}

Failure only_read() {
  return fail(EROFS, "can only be read");
}

}  // namespace

const Protocol* find_protocol(std::string_view name) {
  const auto found = std::ranges::find(protocols(), name, &Protocol::name);
  return found == protocols().end() ? nullptr : *found;
}

std::vector<std::string> storage_protocols() {
  std::vector<std::string> out;
  for (const Protocol* protocol : protocols()) out.emplace_back(protocol->name);
  return out;
}

Result<std::shared_ptr<Storage>> open_storage(const ImageName& name, const StorageOptions& options) {
  return TRY(protocol_of(name))->open(name.address, options);
}

Result<std::shared_ptr<Storage>> open_storage(std::string_view name, const StorageOptions& options) {
  return open_storage(TRY(parse_name(name)), options);
}

Result<std::shared_ptr<Storage>> create_storage(const ImageName& name) {
  const auto* const protocol = TRY(protocol_of(name));
  if (protocol->create == nullptr) {
    return unsupported(concat("images cannot be made by protocol '", protocol->name, "'"));
  }
  return protocol->create(name.address);
}

Result<std::shared_ptr<Storage>> create_storage(std::string_view name) {
  return create_storage(TRY(parse_name(name)));
}

Result<std::string> identify_storage(const ImageName& name) {
  return TRY(protocol_of(name))->identify(name.address);
}

Result<> Storage::write(HostOffset /*offset*/, std::span<const std::byte> /*in*/) {
  return only_read();
}
Result<> Storage::write_zeroes(HostRange /*range*/, Zeroing /*zeroing*/) {
  return only_read();
}
Result<> Storage::discard(HostRange /*range*/) {
  return only_read();
}
Result<> Storage::allocate(HostRange /*range*/) {
  return only_read();
}
Result<> Storage::truncate(std::uint64_t /*size*/) {
  return only_read();
}

Result<HostExtent> Storage::extent(HostOffset offset) {
  const auto end = TRY(size());
  return HostExtent{.data = true, .length = end - std::min(end, offset.value)};
}

Result<std::uint64_t> Storage::allocated_bytes() {
  return size();
}

}  // namespace penstock
