// SPDX-License-Identifier: Apache-2.0
#include <penstock/opener.hpp>

#include "base/descriptor.hpp"
#include "storage/file/file_protocol.hpp"
#include "storage/file/file_storage.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace penstock {

DescriptorOpener::~DescriptorOpener() {
  for (const auto& [name, descriptor] : given_) close(descriptor);
}

Result<> DescriptorOpener::give(const ImageName& name, int descriptor) {
  Descriptor owned(descriptor);
  if (!name.is_plain()) return fail(EINVAL, "a file is given by a plain name");
  const auto [place, fresh] = given_.try_emplace(name.text(), owned.get());
  if (!fresh) return fail(EEXIST, "a file of this name was given before");
  static_cast<void>(owned.release());
  return {};
}

Result<int> DescriptorOpener::find(const ImageName& name) const {
  ImageName plain{.protocol = name.protocol, .address = name.address};
  const auto found = given_.find(plain.text());
  if (found == given_.end()) return fail(ENOENT, "is not among the files that were given");
  return found->second;
}

Result<std::shared_ptr<Storage>> DescriptorOpener::open(const ImageName& name, const StorageOptions& options,
                                                        const NamedBy& by) {
  TRY(check_named(by, policy_));
  Descriptor own(fcntl(TRY(find(name)), F_DUPFD_CLOEXEC, 0));
  if (!own) return system_failure("cannot take the file that was given");
  return adopt_file_storage(name.text(), {}, std::move(own), options);
}

Result<std::shared_ptr<Storage>> DescriptorOpener::create(const ImageName& /*name*/) {
  return unsupported("no file can be made here");
}

Result<std::string> DescriptorOpener::identify(const ImageName& name) {
  struct stat status{};
  if (fstat(TRY(find(name)), &status) != 0) return system_failure("cannot look at the file that was given");
  return file_identity(status);
}

}  // namespace penstock
