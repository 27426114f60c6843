// SPDX-License-Identifier: Apache-2.0
/// Opening the layers of an image: only the top for writing, no file twice, not deeper than kMaxBackingDepth.
#pragma once

#include <penstock/opener.hpp>

#include "image/layer.hpp"

#include <memory>
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

  ChainOpener(ImageName name, ImageOptions options, Wishes wishes);
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

  [[nodiscard]] const Layers& layers() const { return layers_; }
  /// What the last layer names as its backing file. Errors: EINVAL, the name means nothing.
  [[nodiscard]] Result<ImageName> next_name() const;
  /// Refuses the identity of a file that a layer or a layer's data file is. Errors: ELOOP.
  [[nodiscard]] Result<> check_unseen(const std::string& identity) const;

 private:
  struct Seen {
    std::string identity;
    std::string shown;
  };
  /// What is known about a layer before it is opened.
  struct Candidate {
    ImageName name;
    std::string stored_format;  ///< as the layer above stores it; top: as the user gave it
    bool top = false;
    bool probe_not_raw = false;  ///< BackingReference::probe_not_raw of the layer above
  };

  [[nodiscard]] Candidate top_candidate() const { return {name_, options_.format, true, false}; }
  [[nodiscard]] Result<File> open_candidate(const Candidate& candidate);
  [[nodiscard]] Result<> open_driver(const Candidate& candidate);
  [[nodiscard]] NamedBy named_by_image(NamedBy::What what) const;
  [[nodiscard]] Result<std::shared_ptr<Storage>> open_unseen(const ImageName& name, bool writable, const NamedBy& by);
  [[nodiscard]] Result<const Format*> choose_format(const Candidate& candidate, Storage& storage) const;
  [[nodiscard]] Result<std::shared_ptr<Storage>> open_further_file(const ImageName& image, std::string_view name,
                                                                   bool writable);
  [[nodiscard]] std::uint64_t table_cache_bytes() const;

  const ImageName name_;
  const ImageOptions options_;
  const Wishes wishes_;
  const std::shared_ptr<Opener> opener_;
  std::vector<Seen> seen_;
  Layers layers_;
  const Format* guessed_ = nullptr;  ///< of the top, named like a raw disk, by its contents alone
};

}  // namespace penstock
