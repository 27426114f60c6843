// SPDX-License-Identifier: Apache-2.0
#include "image/chain_opener.hpp"

#include "image/format_choice.hpp"
#include "image/named.hpp"
#include "image/slice_storage.hpp"

#include <algorithm>

namespace penstock {

namespace {

/// The layer above the one that failed, as people know it: "top" or "top: layer 'middle'".
std::string whose(const Layers& layers) {
  auto words = printable(layers.front()->shown);
  if (layers.size() > 1) words.append(concat(": layer '", printable(layers.back()->shown), "'"));
  return words;
}

}  // namespace

ChainOpener::ChainOpener(ImageName name, ImageOptions options, Wishes wishes)
    : name_(std::move(name)),
      options_(std::move(options)),
      wishes_(wishes),
      opener_(options_.opener ? options_.opener : make_host_opener()) {}

Result<> ChainOpener::check_unseen(const std::string& identity) const {
  if (identity.empty()) return {};
  const auto seen = std::ranges::find(seen_, identity, &Seen::identity);
  if (seen == seen_.end()) return {};
  return fail(ELOOP, concat("is the same file as '", printable(seen->shown), "' above it: the backing chain loops"));
}

Result<std::shared_ptr<Storage>> ChainOpener::open_unseen(const ImageName& name, bool writable, const NamedBy& by) {
  auto storage = opener_->open(name, {.writable = writable, .lock = options_.lock}, by);
  if (!storage) {
    if (storage.error().is(EAGAIN) && !seen_.empty()) {
      // Our own lock may be what is in the way.
      if (const auto identity = opener_->identify(name)) TRY(check_unseen(*identity));
    }
    return storage;
  }
  TRY(check_unseen((*storage)->facts().identity));
  seen_.push_back({(*storage)->facts().identity, name.text()});
  return storage;
}

Result<const Format*> ChainOpener::choose_format(const Candidate& candidate, Storage& storage) const {
  const auto& name = candidate.name;
  // A format that the overlay stores overrides the "driver" of a json: name, and so does the user's word.
  if (!candidate.stored_format.empty()) {
    if (name.bytes_alone) {
      return fail(EINVAL, concat("names the bytes of a file only, which cannot be read as format ",
                                 printable(candidate.stored_format)));
    }
    return find_format(candidate.stored_format);
  }
  if (name.bytes_alone) return &raw_format();
  if (!name.format.empty()) return find_format(name.format);
  if (candidate.probe_not_raw) return probe_safely(storage, name, Probing::not_raw);
  if (!candidate.top) {
    return probe_safely(storage, name, options_.probe_backing || wishes_.for_info ? Probing::free : Probing::stored);
  }
  return probe_safely(storage, name, options_.writable && !wishes_.probe_freely ? Probing::writable : Probing::free);
}

/// The top has most of the work. What is below is asked once for what the flattened map then knows, so that each layer
/// gets half of what the one above it has, down to what the walk through a table needs.
std::uint64_t ChainOpener::table_cache_bytes() const {
  constexpr std::uint64_t kLeast = 128U << 10U;
  const auto depth = std::min<std::size_t>(layers_.size(), 32);
  if (depth == 0) return std::max(options_.cache_bytes / 2, kLeast);
  return std::max((options_.cache_bytes / 4) >> depth, kLeast);
}

NamedBy ChainOpener::named_by_image(NamedBy::What what) const {
  return {.who = NamedBy::Who::image,
          .what = what,
          .doubtful_format = guessed_ == nullptr ? std::string() : std::string(guessed_->name)};
}

Result<std::shared_ptr<Storage>> ChainOpener::open_further_file(const ImageName& image, std::string_view name,
                                                                bool writable) {
  const auto prefix = concat("data file '", printable(name), "'");
  const auto resolved = resolve_name(image, name);
  if (!resolved) return Failure(resolved.error().in(prefix));
  if (!resolved->format.empty() || resolved->offset || resolved->size) {
    return fail(EINVAL, concat(prefix, ": only a plain file can hold the data"));
  }
  auto storage = open_unseen(*resolved, writable, named_by_image(NamedBy::What::data_file));
  if (!storage) return Failure(storage.error().in(prefix));
  return storage;
}

Result<ChainOpener::File> ChainOpener::open_candidate(const Candidate& candidate) {
  const auto& name = candidate.name;
  const bool writable = candidate.top && options_.writable;
  auto storage =
      TRY(open_unseen(name, writable, candidate.top ? NamedBy{} : named_by_image(NamedBy::What::backing_file)));
  const Format* const format = TRY(choose_format(candidate, *storage));
  const bool raw = format == &raw_format();
  const bool told = !candidate.top || !candidate.stored_format.empty() || !name.format.empty();
  if (!told && !raw && looks_raw(name)) guessed_ = format;
  if (writable && format->read_only) {
    return fail(EROFS, concat("images of format ", format->name,
                              " can only be read: open it read-only, or make an overlay over it"));
  }
  if (name.offset || name.size) {
    if (!raw) {
      return fail(EINVAL, concat("json: name has an offset or a size, which only raw has, not ", format->name));
    }
    storage = TRY(slice_storage(std::move(storage), name.offset.value_or(0), name.size));
  }
  return File{std::move(storage),
              format,
              {.writable = writable,
               .for_info = wishes_.for_info,
               .table_cache_bytes = table_cache_bytes(),
               .open_file = [this, name](std::string_view further, bool further_writable) {
                 return open_further_file(name, further, further_writable);
               }}};
}

Result<> ChainOpener::open_driver(const Candidate& candidate) {
  auto file = TRY(open_candidate(candidate));
  auto driver = TRY(file.format->open(std::move(file.storage), file.options));
  layers_.push_back(std::make_shared<const Layer>(candidate.name, file.format, std::move(driver)));
  return {};
}

Result<ChainOpener::File> ChainOpener::open_file() {
  return named(name_.text(), open_candidate(top_candidate()));
}

Result<ImageName> ChainOpener::next_name() const {
  return resolve_name(layers_.back()->name, layers_.back()->driver->backing().name);
}

Result<bool> ChainOpener::open_next() {
  if (layers_.empty()) {
    TRY(named(name_.text(), open_driver(top_candidate())));
    return true;
  }
  const auto backing = layers_.back()->driver->backing();
  if (backing.name.empty()) return false;
  if (layers_.size() > kMaxBackingDepth) {
    return fail(ELOOP, concat(printable(layers_.front()->shown), ": the backing chain is deeper than ",
                              kMaxBackingDepth, " layers"));
  }
  auto name = next_name();
  const auto prefix = concat(whose(layers_), ": backing file '", printable(name ? name->text() : backing.name), "'");
  if (!name) return Failure(name.error().in(prefix));
  auto opened = open_driver({*std::move(name), backing.format, false, backing.probe_not_raw});
  if (!opened) return Failure(opened.error().in(prefix));
  return true;
}

}  // namespace penstock
