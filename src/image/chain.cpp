// SPDX-License-Identifier: Apache-2.0
#include "image/chain.hpp"

#include "image/format_choice.hpp"
#include "image/named.hpp"
#include "image/slice_storage.hpp"

#include <algorithm>

namespace penstock {

namespace {

/// The layer above the one that failed, as people know it: "top" or "top: layer 'middle'".
std::string whose(const std::vector<Image::Layer>& layers) {
  auto words = printable(layers.front().path);
  if (layers.size() > 1) words.append(concat(": layer '", printable(layers.back().path), "'"));
  return words;
}

}  // namespace

std::string display_name(const std::string& name) {
  const auto location = locate_image(name);
  return location ? location->storage_name : name;
}

ChainOpener::ChainOpener(std::string name, ImageOptions options, Wishes wishes)
    : name_(std::move(name)), options_(std::move(options)), wishes_(wishes) {}

Result<> ChainOpener::check_unseen(const Storage& storage) const {
  const auto identity = storage.identity();
  if (identity == StorageIdentity{}) return {};
  const auto seen = std::ranges::find(seen_, identity, &Seen::identity);
  if (seen == seen_.end()) return {};
  return fail(ELOOP, concat("is the same file as '", printable(seen->path), "' above it: the backing chain loops"));
}

Result<std::shared_ptr<Storage>> ChainOpener::open_unseen(const std::string& name, bool writable) {
  auto storage = open_storage(name, {.writable = writable, .lock = options_.lock});
  if (!storage) {
    if (storage.error().is(EAGAIN) && !seen_.empty()) {
      // Our own lock may be what is in the way.
      if (const auto unlocked = open_storage(name, {.writable = false, .lock = false})) TRY(check_unseen(**unlocked));
    }
    return storage;
  }
  TRY(check_unseen(**storage));
  return storage;
}

Result<const Format*> ChainOpener::choose_format(const Candidate& candidate, Storage& storage) const {
  const auto& location = candidate.location;
  // A format that the overlay stores overrides the "driver" of a json: name, and so does the user's word.
  if (!candidate.stored_format.empty()) {
    if (location.protocol_only) {
      return fail(EINVAL, concat("names the bytes of a file only, which cannot be read as format ",
                                 printable(candidate.stored_format)));
    }
    return find_format(candidate.stored_format);
  }
  if (location.protocol_only) return find_format("raw");
  if (!location.format.empty()) return find_format(location.format);
  if (candidate.probe_not_raw) return probe_safely(storage, location.storage_name, Probing::not_raw);
  if (!candidate.top) {
    return probe_safely(storage, location.storage_name,
                        options_.probe_backing || wishes_.for_info ? Probing::free : Probing::stored);
  }
  return probe_safely(storage, location.storage_name,
                      options_.writable && !wishes_.probe_freely ? Probing::writable : Probing::free);
}

/// The top has most of the work. What is below is asked once for what the flattened map then knows, so that each layer
/// gets half of what the one above it has, down to what the walk through a table needs.
std::uint64_t ChainOpener::table_cache_bytes() const {
  constexpr std::uint64_t kLeast = 128U << 10U;
  const auto depth = std::min<std::size_t>(layers_.size(), 32);
  if (depth == 0) return std::max(options_.cache_bytes / 2, kLeast);
  return std::max((options_.cache_bytes / 4) >> depth, kLeast);
}

Result<std::shared_ptr<Storage>> ChainOpener::open_data_file(const ImageLocation& image, std::string_view name,
                                                             bool writable) {
  const auto prefix = concat("data file '", printable(name), "'");
  if (auto believed = check_names_believed(); !believed) return Failure(believed.error().in(prefix));
  if (!options_.data_files) return fail(EACCES, concat(prefix, ": external data files are not allowed here"));
  auto location = locate_stored(image, name);
  if (!location) return Failure(location.error().in(prefix));
  if (!location->format.empty() || location->offset || location->size) {
    return fail(EINVAL, concat(prefix, ": only a plain file can hold the data"));
  }
  auto storage = open_unseen(location->storage_name, writable);
  if (!storage) return Failure(storage.error().in(prefix));
  seen_.push_back({(*storage)->identity(), location->storage_name});
  return storage;
}

Result<> ChainOpener::check_names_believed() const {
  if (guessed_ == nullptr) return {};
  return fail(EINVAL,
              concat("not opened: the image is named like a raw disk, whose guest could have written this name; "
                     "say --format=",
                     guessed_->name, " if it is to be believed"));
}

Result<ChainOpener::File> ChainOpener::open_candidate(const Candidate& candidate) {
  const auto& location = candidate.location;
  const bool writable = candidate.top && options_.writable;
  auto storage = TRY(open_unseen(location.storage_name, writable));
  seen_.push_back({storage->identity(), location.storage_name});
  const Format* const format = TRY(choose_format(candidate, *storage));
  const bool told = !candidate.top || !candidate.stored_format.empty() || !location.format.empty();
  if (!told && format->name != "raw" && looks_raw(location.storage_name)) guessed_ = format;
  if (location.offset || location.size) {
    if (format->name != "raw") {
      return fail(EINVAL, concat("json: name has an offset or a size, which only raw has, not ", format->name));
    }
    storage = TRY(slice_storage(std::move(storage), location.offset.value_or(0), location.size));
  }
  return File{std::move(storage),
              format,
              {.writable = writable,
               .for_info = wishes_.for_info,
               .table_cache_bytes = table_cache_bytes(),
               .open_data_file = [this, location](std::string_view data_file, bool data_writable) {
                 return open_data_file(location, data_file, data_writable);
               }}};
}

Result<> ChainOpener::open_driver(const Candidate& candidate) {
  auto file = TRY(open_candidate(candidate));
  auto driver = TRY(file.format->open(std::move(file.storage), file.options));
  const auto backing = driver->backing();
  std::string backing_path;
  if (!backing.name.empty()) {
    if (const auto location = locate_stored(candidate.location, backing.name)) backing_path = location->storage_name;
  }
  layers_.push_back({candidate.location.storage_name, std::move(driver)});
  backing_paths_.push_back(std::move(backing_path));
  last_location_ = candidate.location;
  return {};
}

Result<ChainOpener::Candidate> ChainOpener::top_candidate() const {
  return Candidate{TRY(named(name_, locate_image(name_))), options_.format, true, false};
}

Result<ChainOpener::File> ChainOpener::open_file() {
  const auto candidate = TRY(top_candidate());
  return named(candidate.location.storage_name, open_candidate(candidate));
}

Result<bool> ChainOpener::open_next() {
  if (layers_.empty()) {
    const auto candidate = TRY(top_candidate());
    TRY(named(candidate.location.storage_name, open_driver(candidate)));
    return true;
  }
  const auto backing = layers_.back().driver->backing();
  if (backing.name.empty()) return false;
  if (layers_.size() > kMaxBackingDepth) {
    return fail(ELOOP, concat(printable(layers_.front().path), ": the backing chain is deeper than ", kMaxBackingDepth,
                              " layers"));
  }
  auto location = locate_stored(last_location_, backing.name);
  const auto prefix =
      concat(whose(layers_), ": backing file '", printable(location ? location->storage_name : backing.name), "'");
  if (!location) return Failure(location.error().in(prefix));
  if (auto believed = check_names_believed(); !believed) return Failure(believed.error().in(prefix));
  auto opened = open_driver({std::move(*location), backing.format, false, backing.probe_not_raw});
  if (!opened) return Failure(opened.error().in(prefix));
  return true;
}

}  // namespace penstock
