// SPDX-License-Identifier: Apache-2.0
/// A run of which every change of the disk is recorded, and what is asked of the images that a crash leaves of it.
#pragma once

#include "tests/crash/load.hpp"
#include "tests/support/recording_storage.hpp"

namespace penstock::test {

/// How closely one crash image is looked at; the oracle's cheap questions are always asked.
struct Scrutiny {
  bool use_on = false;   ///< written on, streamed to its end, repaired
  bool by_qemu = false;  ///< qemu-img check, which costs a process
};

class RecordedRun {
 public:
  /// Makes an image and runs the load of `what` on it, with a flush at its end or without. `what` outlives this.
  RecordedRun(const Case& what, Random& random, unsigned operations);

  /// Of the run: requests that failed, or the close.
  [[nodiscard]] std::size_t errors() const { return errors_; }
  [[nodiscard]] const Start& start() const { return start_; }
  [[nodiscard]] const Journal& journal() const { return journal_; }
  /// The image as the run left it.
  [[nodiscard]] ShapedImage left() const { return start_.image.with(memory_, data_); }
  /// The image in the storages of a crash.
  [[nodiscard]] ShapedImage dead(const CrashImage& crash) const;
  /// Empty, or what is wrong with the image that the crash left behind.
  [[nodiscard]] std::string examine(const CrashImage& crash, const Scrutiny& scrutiny) const;

 private:
  [[nodiscard]] std::string examine_check(const ShapedImage& left) const;
  [[nodiscard]] std::string examine_writing_on(const ShapedImage& left) const;
  [[nodiscard]] std::string examine_streaming_on(const ShapedImage& left) const;
  [[nodiscard]] std::string ask_qemu(const ShapedImage& left) const;

  const Case& what_;
  const Start start_;
  Journal journal_;
  std::shared_ptr<MemoryStorage> memory_;
  std::shared_ptr<MemoryStorage> data_;
  History history_;
  std::size_t errors_ = 0;
};

}  // namespace penstock::test
