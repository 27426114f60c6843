// SPDX-License-Identifier: Apache-2.0
#include "base/text.hpp"
#include "format/raw/raw_driver.hpp"
#include "storage/zero_bytes.hpp"

#include <linux/fs.h>
#include <sys/ioctl.h>

namespace penstock {

namespace {

enum class Preallocation : std::uint8_t { off, falloc, full };

/// Of btrfs; like qemu-img, says nothing where the file system has no such thing. Only an empty file can be changed.
void turn_off_copy_on_write(int descriptor) {
  int flags = 0;
  if (descriptor < 0 || ioctl(descriptor, FS_IOC_GETFLAGS, &flags) != 0) return;
  flags |= FS_NOCOW_FL;
  static_cast<void>(ioctl(descriptor, FS_IOC_SETFLAGS, &flags));
}

class RawPlan final : public CreatePlan {
 public:
  RawPlan(std::uint64_t size, Preallocation preallocation, bool no_cow, std::string summary)
      : size_(size), preallocation_(preallocation), no_cow_(no_cow), summary_(std::move(summary)) {}

  [[nodiscard]] std::string summary() const override { return summary_; }

  [[nodiscard]] Result<> write(std::shared_ptr<Storage> storage, std::shared_ptr<Storage> /*data*/) const override {
    if (no_cow_) turn_off_copy_on_write(storage->facts().descriptor);
    TRY(storage->truncate(size_));
    if (preallocation_ != Preallocation::off && size_ != 0) TRY(set_aside(*storage));
    return storage->flush();
  }

 private:
  [[nodiscard]] Result<> set_aside(Storage& storage) const {
    if (preallocation_ == Preallocation::falloc) {
      const auto allocated = storage.allocate({{0}, size_});
      if (allocated || !allocated.error().is(EOPNOTSUPP)) return allocated;
    }
    return fill_with_zero_bytes(storage, {{0}, size_});
  }

  const std::uint64_t size_;
  const Preallocation preallocation_;
  const bool no_cow_;
  const std::string summary_;
};

Result<Preallocation> parse_preallocation(std::string_view word) {
  if (word == "off") return Preallocation::off;
  if (word == "falloc") return Preallocation::falloc;
  if (word == "full") return Preallocation::full;
  return fail(EINVAL, concat("Unsupported preallocation mode: ", printable(word), " (off, falloc, full)"));
}

}  // namespace

Result<std::unique_ptr<CreatePlan>> plan_raw(const CreateRequest& request) {
  if (!request.backing.name.empty()) return fail(EINVAL, "Backing file not supported for file format 'raw'");
  Preallocation preallocation = Preallocation::off;
  bool no_cow = false;
  std::string words = concat("size=", request.size);
  for (const auto& [key, value] : request.options) {
    if (key == "size") continue;  // the caller has made request.size of it
    if (key == "preallocation") {
      preallocation = TRY(parse_preallocation(value));
    } else if (key == "nocow") {
      if (value != "on" && value != "off") return fail(EINVAL, "Parameter 'nocow' expects 'on' or 'off'");
      no_cow = value == "on";
    } else {
      return fail(EINVAL, concat("Invalid parameter '", printable(key), "' (raw knows preallocation, nocow, size)"));
    }
    words.append(concat(" ", key, "=", value));
  }
  if (request.size > StorageFacts{}.size_max) return fail(EFBIG, "Image size must be less than 8 EiB");
  return std::make_unique<RawPlan>(request.size, preallocation, no_cow, std::move(words));
}

std::span<const CreateOption> raw_create_options() {
  static constexpr std::array<CreateOption, 3> kOptions{{
      {"nocow", "bool (on/off)", "Turn off copy-on-write (valid only on btrfs)"},
      {"preallocation", "str", "Preallocation mode (allowed values: off, falloc, full)"},
      {"size", "size", "Virtual disk size"},
  }};
  return kOptions;
}

}  // namespace penstock
