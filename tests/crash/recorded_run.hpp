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

struct RunOptions {
  unsigned operations = 100;
  /// Puts something between the image and a recorded storage.
  std::function<std::shared_ptr<Storage>(std::shared_ptr<Storage>)> wrap;
  /// Makes the disks well again, after the load and before some more of it. True: from then on nothing may fail.
  std::function<bool()> heal;
};

class RecordedRun {
 public:
  /// Runs the load of `what` on `start`, with a flush at its end or without. `what` outlives this.
  RecordedRun(const Case& what, Start start, Random& random, const RunOptions& options);

  /// Of the run: the opening, requests, or the close that failed.
  [[nodiscard]] std::size_t errors() const { return errors_; }
  /// Of those, what failed though the disks were well again.
  [[nodiscard]] std::size_t late_errors() const { return late_errors_; }
  [[nodiscard]] const Start& start() const { return start_; }
  [[nodiscard]] const Journal& journal() const { return journal_; }
  /// The image as the run left it.
  [[nodiscard]] ShapedImage left() const { return start_.image.with(memory_, data_); }
  /// The image in the storages of a crash.
  [[nodiscard]] ShapedImage dead(const CrashImage& crash) const;
  /// Empty, or what is wrong with the image that the crash left behind.
  [[nodiscard]] std::string examine(const CrashImage& crash, const Scrutiny& scrutiny) const;
  /// The same of what the run left behind without a crash.
  [[nodiscard]] std::string examine_left() const;
  /// Leaks in what a run without errors left of an image that had none.
  [[nodiscard]] std::string examine_clean_end() const;

 private:
  void use(Image& image, Random& random, const RunOptions& options);
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
  std::size_t late_errors_ = 0;
};

}  // namespace penstock::test
