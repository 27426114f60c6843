// SPDX-License-Identifier: Apache-2.0
/// Copies of whole disks: into another image, up from a backing file that goes, down into one that stays.
#pragma once

#include <penstock/executor.hpp>
#include <penstock/image.hpp>

#include <functional>
#include <stop_token>

namespace penstock {

/// What long copies have in common. They work with all slots of their executor at once, and with 4 MiB of memory each.
struct CopyOptions {
  /// Guest bytes done, of how many; from one thread at a time, often.
  std::function<void(std::uint64_t done, std::uint64_t total)> progress;
  std::stop_token stop;  ///< ends the copy with ECANCELED
};

/// How a disk is copied into another image.
struct ConvertOptions {
  CopyOptions copy;
  bool compressed = false;  ///< new clusters are compressed where the format can
  /// The target was made for this copy: where nothing is written, it reads as its backing file, or as zero.
  bool fresh = true;
  /// Runs of so many zero bytes are not stored, rounded up to a power of two from 512 to 1 MiB. 0: all bytes are.
  std::uint64_t sparse_bytes = 4096;
};

/// Makes `target` show what `source` shows, and flushes it. Of a target with a backing file only what differs is
/// stored. The target may be longer; what is behind stays. Errors: EINVAL when it is shorter; ECANCELED; the images'
/// own.
[[nodiscard]] Result<> convert_image(Image& source, Image& target, Executor& executor, const ConvertOptions& options);

/// Which image goes on which backing file.
struct RebaseRequest {
  std::string image;
  std::string format;        ///< of the image; empty: probed where that is safe
  BackingReference backing;  ///< relative to the image's directory; without a name: the image is to stand alone
  bool unchecked = false;    ///< -u: the name alone is changed, no backing file is opened
};

/// Puts the image on another backing file. What the old and the new one show differently is stored in the image first,
/// and is durable before the header changes with one write: at every moment the guest sees the same.
/// Errors: EINVAL without a format, ELOOP when the backing file is the image; ECANCELED; the images' own.
[[nodiscard]] Result<> rebase_image(const RebaseRequest& request, Executor& executor, const CopyOptions& options);

/// Which image is written into which layer below it.
struct CommitRequest {
  std::string image;
  std::string format;  ///< of the image; empty: probed where that is safe
  std::string base;    ///< a file further down the chain; empty: the image's own backing file
  bool keep = false;   ///< -d: the image is not emptied; implied by `base`
};

/// Writes what the image, and the layers down to the base, hold into the base. The image hides what is written below
/// it, and is emptied only when the base is durable: at every moment its guest sees the same. A shorter base grows.
/// Errors: EINVAL without a backing file or when the base is not in the chain; ECANCELED; the images' own.
[[nodiscard]] Result<> commit_image(const CommitRequest& request, Executor& executor, const CopyOptions& options);

}  // namespace penstock
