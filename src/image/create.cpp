// SPDX-License-Identifier: Apache-2.0
/// Making an image file: everything is decided and checked before anything is touched.
#include "image/chain_opener.hpp"
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
  NewFile(Opener& files, ImageName name) : files_(files), name_(std::move(name)) {
    struct stat status{};
    existed_ = ::lstat(name_.address.c_str(), &status) == 0;
  }
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;
  ~NewFile() {
    if (made_ && !existed_ && !kept_) ::unlink(name_.address.c_str());
  }
  /// `keep_contents`: what is in an existing file stays.
  Result<std::shared_ptr<Storage>> make(bool keep_contents = false) {
    if (keep_contents && existed_) return files_.open(name_, {.writable = true}, {});
    auto storage = files_.create(name_);
    made_ = storage.has_value();
    return storage;
  }
  void keep() { kept_ = true; }

 private:
  Opener& files_;
  const ImageName name_;
  bool existed_ = false;
  bool made_ = false;
  bool kept_ = false;
};

/// The backing chain of an image that is not made yet, open so that nobody changes it meanwhile.
struct BackingChain {
  std::unique_ptr<ChainOpener> opener;  // null without a backing file, or when it is not to be looked at
  std::uint64_t size = 0;
};

Failure without_format(Opener& files, const ImageName& name) {
  std::string found;
  if (const auto storage = files.open(name, {.writable = false, .lock = false}, {})) {
    if (const auto format = probe_format(**storage)) found = concat("; its contents look like ", (*format)->name);
  }
  return fail(EINVAL, concat("backing file given without its format", found, "; say -F FORMAT"));
}

Result<BackingChain> open_backing(const std::shared_ptr<Opener>& files, const NewImage& request,
                                  const ImageName& image) {
  const auto& backing = request.backing;
  if (backing.name.empty()) {
    if (!backing.format.empty()) return fail(EINVAL, "backing format given without a backing file");
    return BackingChain{};
  }
  const auto name = TRY(resolve_name(image, backing.name));
  // What the contents look like decides nothing: the guest of a raw base could have written them.
  const bool said = !backing.format.empty() || !name.format.empty() || name.bytes_alone;
  if (!said) return without_format(*files, name);
  if (!backing.format.empty()) static_cast<void>(TRY(find_format(backing.format)));
  if (!request.check_backing) return BackingChain{};

  auto opener = std::make_unique<ChainOpener>(name, ImageOptions{.format = backing.format, .opener = files},
                                              ChainOpener::Wishes{});
  for (;;) {
    const auto next = opener->open_next();
    if (!next) return Failure(next.error().in("backing file"));
    if (!*next) break;
  }
  const auto size = opener->layers().front()->driver->virtual_size();
  return BackingChain{std::move(opener), size};
}

/// The image and its data file must not be one of the files below, nor each other.
Result<> check_target(Opener& files, const ImageName& name, const BackingChain& backing, const std::string& other) {
  const auto identity = files.identify(name);
  if (!identity) return {};  // not there, or making it will say what is wrong
  if (!other.empty() && *identity == other) return fail(EINVAL, "the data file is the image itself");
  if (backing.opener && !backing.opener->check_unseen(*identity)) {
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

/// Whether the file for the data has contents of its own, which stay.
Result<bool> write_files(Opener& files, const CreatePlan& plan, const ImageName& image, const BackingChain& backing) {
  TRY(check_target(files, image, backing, {}));
  NewFile image_file(files, image);
  const auto data_name = plan.data_file();
  if (data_name.empty()) {
    TRY(plan.write(TRY(image_file.make()), nullptr));
    image_file.keep();
    return false;
  }
  const auto data = TRY(resolve_name(image, data_name));
  const auto in_data_file = [&]<typename T>(Result<T> result) {
    return named(concat("data file '", data.text(), "'"), std::move(result));
  };
  // Two names for one file: told by the names while there is no file yet, by the file once there is one.
  if (data.text() == image.text()) return fail(EINVAL, "the data file is the image itself");
  TRY(in_data_file(check_target(files, data, backing, files.identify(image).value_or(""))));
  NewFile data_file(files, data);
  auto storage = TRY(in_data_file(data_file.make(plan.keeps_data_file())));
  const bool has_contents = plan.keeps_data_file() && TRY(storage->size()) != 0;
  TRY(plan.write(TRY(image_file.make()), std::move(storage)));
  image_file.keep();
  data_file.keep();
  return has_contents;
}

Result<CreatedImage> create(const NewImage& asked, const ImageName& image, bool dry_run) {
  const auto files = make_host_opener();
  const auto request = TRY(without_general_options(asked));
  const Format* const format = TRY(find_format(request.format));
  if (format->plan_create == nullptr) return unsupported(concat("images of format ", format->name, " cannot be made"));
  const auto backing = TRY(open_backing(files, request, image));
  const auto plan = TRY(format->plan_create({.size = TRY(decide_size(request, backing)),
                                             .size_given = request.size.has_value(),
                                             .backing = request.backing,
                                             .backing_size = backing.size,
                                             .options = request.options}));
  CreatedImage made{.summary = plan->summary()};
  if (!dry_run) made.keeps_old_data = TRY(write_files(*files, *plan, image, backing));
  return made;
}

}  // namespace

Result<CreatedImage> create_image(const NewImage& request, bool dry_run) {
  const auto image = TRY(named(request.path, parse_name(request.path)));
  if (!image.format.empty() || image.offset || image.size) {
    return fail(EINVAL, concat(printable(request.path), ": a new image needs a plain file name"));
  }
  return named(image.text(), create(request, image, dry_run));
}

}  // namespace penstock
