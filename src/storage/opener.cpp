// SPDX-License-Identifier: Apache-2.0
#include <penstock/opener.hpp>

#include "base/text.hpp"

namespace penstock {

namespace {

class HostOpener final : public Opener {
 public:
  explicit HostOpener(OpenPolicy policy) : policy_(policy) {}

  [[nodiscard]] Result<std::shared_ptr<Storage>> open(const ImageName& name, const StorageOptions& options,
                                                      const NamedBy& by) override {
    TRY(check_named(by, policy_));
    return open_storage(name, options);
  }
  [[nodiscard]] Result<std::shared_ptr<Storage>> create(const ImageName& name) override { return create_storage(name); }
  [[nodiscard]] Result<std::string> identify(const ImageName& name) override { return identify_storage(name); }

 private:
  const OpenPolicy policy_;
};

}  // namespace

Result<> check_named(const NamedBy& by, const OpenPolicy& policy) {
  if (by.who == NamedBy::Who::user) return {};
  if (!by.doubtful_format.empty()) {
    return fail(EINVAL,
                concat("not opened: the image is named like a raw disk, whose guest could have written this name; "
                       "say --format=",
                       by.doubtful_format, " if it is to be believed"));
  }
  if (by.what == NamedBy::What::data_file && !policy.data_files) {
    return fail(EACCES, "external data files are not allowed here");
  }
  return {};
}

std::shared_ptr<Opener> make_host_opener(OpenPolicy policy) {
  return std::make_shared<HostOpener>(policy);
}

}  // namespace penstock
