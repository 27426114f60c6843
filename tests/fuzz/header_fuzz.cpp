// SPDX-License-Identifier: Apache-2.0
// A header alone (FUZZ_FORMAT says of which format), with a file of any length behind it: decoded, shown, and, where
// it is valid, encoded and decoded again to the same.
#include "tests/fuzz/fuzz.hpp"

#include "format/add_cow/header.hpp"
#include "format/qcow2/header.hpp"
#include "format/qed/header.hpp"

namespace penstock::fuzz {
namespace {

void decode_again(MemoryStorage& file, const qcow2::Header& header) {
  const auto bytes = qcow2::encode_header(header);
  // An extension may have stood where the backing name has to go.
  if (!told(bytes)) return;
  demand(file.write({0}, *bytes).has_value(), "memory can be written");
  const auto again = qcow2::read_header(file, qcow2::HeaderUse::info);
  demand(again.has_value(), "a header that was encoded can be decoded");
  demand(again->backing_name == header.backing_name && again->extensions.size() == header.extensions.size() &&
             again->size == header.size && again->l1_offset == header.l1_offset,
         "encoding a header keeps what it says");
}

void decode_again(MemoryStorage& file, const qed::Header& header) {
  demand(file.write({0}, qed::encode_header(header)).has_value(), "memory can be written");
  demand(qed::read_header(file).has_value(), "a header that was encoded can be decoded");
}

void decode_again(MemoryStorage& file, const add_cow::Header& header) {
  const auto bytes = add_cow::encode_header(header);
  if (!told(bytes)) return;
  demand(file.write({0}, *bytes).has_value(), "memory can be written");
  const auto again = add_cow::read_header(file);
  demand(again.has_value(), "a header that was encoded can be decoded");
  demand(again->image_name == header.image_name && again->backing.name == header.backing.name,
         "encoding a header keeps its names");
}

template <typename Header>
void use(MemoryStorage& file, const Result<Header>& header) {
  if (told(header)) decode_again(file, *header);
}

void try_header(std::string_view format, const std::shared_ptr<MemoryStorage>& file) {
  if (format == "qcow2") {
    for (const auto how : {qcow2::HeaderUse::read, qcow2::HeaderUse::write, qcow2::HeaderUse::check}) {
      told(qcow2::read_header(*file, how));
    }
    use(*file->copy(), qcow2::read_header(*file, qcow2::HeaderUse::info));
  } else if (format == "qed") {
    use(*file->copy(), qed::read_header(*file));
  } else {
    use(*file->copy(), add_cow::read_header(*file));
  }
  const auto* const known = *find_format(format);
  if (auto driver = known->open(file, {.for_info = true}); told(driver)) {
    static_cast<void>((*driver)->backing());
    told((*driver)->info());
  }
}

}  // namespace
}  // namespace penstock::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace penstock;
  const auto file = std::make_shared<MemoryStorage>("image");
  fuzz::demand(file->write({0}, std::as_bytes(std::span(data, size))).has_value(), "memory can be written");
  // The last byte says how long the file is, so that tables may lie in it.
  const std::uint64_t length = size == 0 ? 0 : 1ULL << (data[size - 1] % 63U);
  fuzz::demand(file->truncate(std::max<std::uint64_t>(size, length)).has_value(), "memory can be cut");
  fuzz::try_header(FUZZ_FORMAT, file);
  return 0;
}
