// SPDX-License-Identifier: Apache-2.0
/// Making an image file: everything is decided and checked before anything is touched.
#include "image/chain.hpp"
#include "image/named.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <memory>

namespace penstock {

namespace {

constexpr std::uint64_t kSector = 512;

/// A file that create made, taken away again unless all went well. One that was there before is left, emptied or not:
/// it was given to be overwritten.
class NewFile {
 public:
  explicit NewFile(std::string path) : path_(std::move(path)) {
    struct stat status{};
    existed_ = ::lstat(path_.c_str(), &status) == 0;
  }
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;
  ~NewFile() {
    if (made_ && !existed_ && !kept_) ::unlink(path_.c_str());
  }
  /// `keep_contents`: what is in an existing file stays.
  Result<std::shared_ptr<Storage>> make(bool keep_contents = false) {
    if (keep_contents && existed_) return open_storage(path_, {.writable = true});
    auto storage = create_storage(path_);
    made_ = storage.has_value();
    return storage;
  }
  void keep() { kept_ = true; }

 private:
  const std::string path_;
  bool existed_ = false;
  bool made_ = false;
  bool kept_ = false;
};

/// The backing chain of an image that is not made yet, open so that nobody changes it meanwhile.
struct BackingChain {
  std::unique_ptr<ChainOpener> opener;  // null without a backing file, or when it is not to be looked at
  std::uint64_t size = 0;
};

Failure without_format(const std::string& location) {
  std::string found;
  if (const auto storage = open_storage(location, {.writable = false, .lock = false})) {
    if (const auto format = probe_format(**storage)) found = concat("; its contents look like ", (*format)->name);
  }
  return fail(EINVAL, concat("backing file given without its format", found, "; say -F FORMAT"));
}

Result<BackingChain> open_backing(const NewImage& request, const ImageLocation& image) {
  const auto& backing = request.backing;
  if (backing.name.empty()) {
    if (!backing.format.empty()) return fail(EINVAL, "backing format given without a backing file");
    return BackingChain{};
  }
  const auto location = TRY(locate_stored(image, backing.name));
  // What the contents look like decides nothing: the guest of a raw base could have written them.
  const bool said = !backing.format.empty() || !location.format.empty() || location.protocol_only;
  if (!said) return without_format(location.storage_name);
  if (!backing.format.empty()) static_cast<void>(TRY(find_format(backing.format)));
  if (!request.check_backing) return BackingChain{};

  // A json: name says more than a path; behind a directory only a plain path can stand.
  const bool plain = !location.protocol_only && location.format.empty() && !location.offset && !location.size;
  auto opener = std::make_unique<ChainOpener>(plain ? location.storage_name : backing.name,
                                              ImageOptions{.format = backing.format}, ChainOpener::Wishes{});
  for (;;) {
    const auto next = opener->open_next();
    if (!next) return Failure(next.error().in("backing file"));
    if (!*next) break;
  }
  const auto size = opener->layers().front().driver->virtual_size();
  return BackingChain{std::move(opener), size};
}

/// The image and its data file must not be one of the files below, nor each other.
Result<> check_target(const std::string& path, const BackingChain& backing, const StorageIdentity* other) {
  const auto existing = open_storage(path, {.writable = false, .lock = false});
  if (!existing) return {};  // not there, or create_storage() will say what is wrong
  const auto identity = (*existing)->identity();
  if (other != nullptr && identity == *other) return fail(EINVAL, "the data file is the image itself");
  if (backing.opener && !backing.opener->check_unseen(**existing)) {
    return fail(EINVAL, "the file is part of the backing chain of the new image");
  }
  return {};
}

Result<std::uint64_t> decide_size(const NewImage& request, const BackingChain& backing) {
  if (!request.size && !backing.opener) {
    return fail(EINVAL, "image creation needs a size: there is no backing file to take it from");
  }
  const auto size = request.size.value_or(backing.size);
  if (size > INT64_MAX - kSector) return fail(EFBIG, concat("size ", size, " is too large"));
  return align_up(size, kSector);
}

/// qemu-img takes these among the options too.
Result<NewImage> without_general_options(NewImage request) {
  const auto take = [&](const char* key, std::string& into) -> Result<> {
    const auto found = request.options.find(key);
    if (found == request.options.end()) return {};
    if (!into.empty() && into != found->second) return fail(EINVAL, concat("option ", key, " contradicts the flag"));
    into = found->second;
    request.options.erase(found);
    return {};
  };
  TRY(take("backing_file", request.backing.name));
  TRY(take("backing_fmt", request.backing.format));
  return request;
}

Result<> write_files(const CreatePlan& plan, const ImageLocation& image, const BackingChain& backing) {
  TRY(check_target(image.storage_name, backing, nullptr));
  NewFile image_file(image.storage_name);
  const auto data_name = plan.data_file();
  if (data_name.empty()) {
    TRY(plan.write(TRY(image_file.make()), nullptr));
    image_file.keep();
    return {};
  }
  const auto data_location = TRY(locate_stored(image, data_name));
  const auto in_data_file = [&]<typename T>(Result<T> result) {
    return named(concat("data file '", data_location.storage_name, "'"), std::move(result));
  };
  // Two names for one file: told by the names while there is no file yet, by the file once there is one.
  if (data_location.storage_name == image.storage_name) return fail(EINVAL, "the data file is the image itself");
  if (const auto existing = open_storage(image.storage_name, {.writable = false, .lock = false})) {
    const auto identity = (*existing)->identity();
    TRY(in_data_file(check_target(data_location.storage_name, backing, &identity)));
  }
  TRY(in_data_file(check_target(data_location.storage_name, backing, nullptr)));
  NewFile data_file(data_location.storage_name);
  auto data = TRY(in_data_file(data_file.make(plan.keeps_data_file())));
  TRY(plan.write(TRY(image_file.make()), std::move(data)));
  image_file.keep();
  data_file.keep();
  return {};
}

Result<CreatedImage> create(const NewImage& asked, const ImageLocation& image, bool dry_run) {
  const auto request = TRY(without_general_options(asked));
  const Format* const format = TRY(find_format(request.format));
  if (format->plan_create == nullptr) return unsupported(concat("images of format ", format->name, " cannot be made"));
  const auto backing = TRY(open_backing(request, image));
  const auto plan = TRY(format->plan_create({.size = TRY(decide_size(request, backing)),
                                             .size_given = request.size.has_value(),
                                             .backing = request.backing,
                                             .backing_size = backing.size,
                                             .options = request.options}));
  auto summary = plan->summary();
  if (!dry_run) TRY(write_files(*plan, image, backing));
  return CreatedImage{std::move(summary)};
}

}  // namespace

Result<CreatedImage> create_image(const NewImage& request, bool dry_run) {
  const auto image = TRY(named(request.path, locate_image(request.path)));
  if (!image.format.empty() || image.offset || image.size) {
    return fail(EINVAL, concat(printable(request.path), ": a new image needs a plain file name"));
  }
  return named(image.storage_name, create(request, image, dry_run));
}

}  // namespace penstock
