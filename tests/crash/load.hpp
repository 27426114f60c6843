// SPDX-License-Identifier: Apache-2.0
/// What a guest and a streaming job do to an image, every change of it known.
#pragma once

#include "tests/crash/scenario.hpp"

#include <penstock/provisioner.hpp>

#include <functional>

namespace penstock::test {

/// Changes an image by chance and keeps its history.
class Load {
 public:
  /// `now` tells the moment.
  Load(const Case& what, Image& image, History& history, std::function<std::size_t()> now)
      : what_(what), image_(image), history_(history), now_(std::move(now)) {}

  /// Takes in what the image shows at the start.
  void take_start();
  /// `operations` in each thread of the case. Gives the errors that were met; a failed change is uncertain.
  std::size_t run(Random& random, unsigned operations);
  bool flush();
  /// Copies up all that is missing, in order, with guest requests in between, and lets go of the backing file. Of a
  /// case with threads: the streaming job beside their load. Gives the errors that were met.
  std::size_t stream(Random& random, unsigned operations);

 private:
  struct Sectors {
    std::uint64_t first;
    std::uint64_t count;
  };
  enum class ZeroBy : std::uint8_t { writing, keeping, unmapping };
  [[nodiscard]] Sectors choose(Random& random, unsigned thread) const;
  bool step(Random& random, unsigned thread);
  bool write(Sectors sectors);
  bool zero(Sectors sectors, ZeroBy by);
  bool allocate(Sectors sectors);
  bool discard(Sectors sectors);
  bool resize(Random& random);
  std::size_t stream_in_steps(Random& random, unsigned operations);
  std::size_t stream_beside_load(Random& random, unsigned operations);
  static void command(Provisioner& job, Clock& clock, Random& random);
  /// Reads back what a change that went well must have left.
  void expect_readable(Sectors sectors) const;

  const Case& what_;
  Image& image_;
  History& history_;
  const std::function<std::size_t()> now_;
};

/// Streams `image` to its end by the job itself, with no load beside it.
[[nodiscard]] Result<> stream_to_the_end(Image& image);

/// Everything the image shows is possible after a crash at `moment`. Empty, or what is wrong.
[[nodiscard]] std::string find_problem(Image& image, const History& history, std::size_t moment);

}  // namespace penstock::test
