// SPDX-License-Identifier: Apache-2.0
/// Opening the layers of an image: only the top for writing, no file twice, not deeper than kMaxBackingDepth.
#pragma once

#include <penstock/image.hpp>

#include "image/backing_name.hpp"

#include <string>
#include <vector>

namespace penstock {

/// Layers below the top. QEMU has no bound, and takes seconds for each further hundred.
inline constexpr unsigned kMaxBackingDepth = 200;

/// Opens a chain one layer after the other, from the top down.
/// Threads: one. Errors: ENOENT and the like from the storage, EAGAIN (in use), ELOOP (a file twice, too deep), EINVAL
/// (format unknown, not given or wrong), each with the names that lead to it in front.
class ChainOpener {
 public:
  struct Wishes {
    bool for_info = false;      ///< what cannot be read may be shown
    bool probe_freely = false;  ///< the contents of the top layer decide its format, as `info` and `check` want it
  };

  ChainOpener(std::string name, ImageOptions options, Wishes wishes);
  ChainOpener(const ChainOpener&) = delete;
  ChainOpener& operator=(const ChainOpener&) = delete;

  /// The top layer's file and format, without its driver: for check(), which opens the metadata itself.
  struct File {
    std::shared_ptr<Storage> storage;
    const Format* format = nullptr;
    FormatOpenOptions options;
  };
  [[nodiscard]] Result<File> open_file();

  /// Opens the next layer down, the first time the top. False: the last one has no backing file.
  [[nodiscard]] Result<bool> open_next();

  [[nodiscard]] std::vector<Image::Layer>& layers() { return layers_; }
  /// For each layer its backing file's name, resolved; empty without one, or when it cannot be resolved.
  [[nodiscard]] std::vector<std::string>& backing_paths() { return backing_paths_; }
  /// Refuses a file that a layer or a layer's data file is. Errors: ELOOP.
  [[nodiscard]] Result<> check_unseen(const Storage& storage) const;

 private:
  struct Seen {
    StorageIdentity identity;
    std::string path;
  };
  /// What is known about a layer before it is opened.
  struct Candidate {
    ImageLocation location;
    std::string stored_format;  ///< as the layer above stores it; top: as the user gave it
    bool top = false;
    bool probe_not_raw = false;  ///< BackingReference::probe_not_raw of the layer above
  };

  [[nodiscard]] Result<Candidate> top_candidate() const;
  [[nodiscard]] Result<File> open_candidate(const Candidate& candidate);
  [[nodiscard]] Result<> open_driver(const Candidate& candidate);
  /// Refuses what a top layer names whose guest may have written it. Errors: EINVAL.
  [[nodiscard]] Result<> check_names_believed() const;
  [[nodiscard]] Result<std::shared_ptr<Storage>> open_unseen(const std::string& name, bool writable);
  [[nodiscard]] Result<const Format*> choose_format(const Candidate& candidate, Storage& storage) const;
  [[nodiscard]] Result<std::shared_ptr<Storage>> open_data_file(const ImageLocation& image, std::string_view name,
                                                                bool writable);
  [[nodiscard]] std::uint64_t table_cache_bytes() const;

  const std::string name_;
  const ImageOptions options_;
  const Wishes wishes_;
  std::vector<Seen> seen_;
  std::vector<Image::Layer> layers_;
  std::vector<std::string> backing_paths_;
  ImageLocation last_location_;
  const Format* guessed_ = nullptr;  ///< of the top, named like a raw disk, by its contents alone
};

/// The name of an image for people: the path, where it is one.
[[nodiscard]] std::string display_name(const std::string& name);

}  // namespace penstock
