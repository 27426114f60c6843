// SPDX-License-Identifier: Apache-2.0
// Random lives of images, each decided by one number. PENSTOCK_FRESH_SEED, else PENSTOCK_SEED: the first (default:
// chosen by the system), which is printed. PENSTOCK_SECONDS: for how long (default 15). A seed that fails is printed
// with the command that runs it alone, as a step of any run is.
#include "tests/simulation/simulation.hpp"

#include "tests/support/process.hpp"
#include "tests/support/random.hpp"

#include "base/text.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

namespace penstock::test {
namespace {

std::chrono::seconds duration() {
  const char* const given = std::getenv("PENSTOCK_SECONDS");
  return std::chrono::seconds(given == nullptr ? 15 : std::strtoll(given, nullptr, 0));
}

bool same(const std::vector<Change>& one, const std::vector<Change>& other) {
  return std::ranges::equal(one, other, [](const Change& a, const Change& b) {
    return a.device == b.device && a.kind == b.kind && a.range == b.range && a.data == b.data;
  });
}

TEST(Simulation, ASeedHappensAgainExactly) {
  Random random("Simulation.Again");
  std::size_t changes = 0;
  for (int number = 0; number < 25; ++number) {
    const auto seed = random.next();
    const auto once = simulate(seed);
    const auto again = simulate(seed);
    ASSERT_TRUE(same(once.log, again.log)) << "seed " << seed << ": " << once.what;
    EXPECT_EQ(once.failures, again.failures);
    EXPECT_EQ(once.problem, again.problem);
    changes += once.log.size();
  }
  EXPECT_GT(changes, 1000U);
}

/// Of everything that happened to the disks: two runs with the same number are the same run.
std::uint64_t trace_of(const SimulationOutcome& outcome) {
  constexpr std::uint64_t kPrime = 0x100000001b3;
  std::uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  const auto add = [&hash](std::uint64_t value) { hash = (hash ^ value) * kPrime; };
  for (const Change& change : outcome.log) {
    add(change.device);
    add(static_cast<std::uint64_t>(change.kind));
    add(change.range.offset.value);
    add(change.range.length);
    for (const std::byte byte : change.data) add(static_cast<std::uint64_t>(byte));
  }
  add(outcome.crash_images);
  add(outcome.failures);
  return hash;
}

/// Runs one seed alone, as a shell takes it.
std::string replay_command(std::uint64_t seed) {
  std::error_code ignored;
  return concat("PENSTOCK_FRESH_SEED=", seed, " PENSTOCK_SECONDS=0 '",
                std::filesystem::read_symlink("/proc/self/exe", ignored).string(), "' --gtest_filter='*NoLife*'");
}

/// A seed that the program dies of is told, too.
class LastWords {
 public:
  LastWords() {
    for (const int signal : kDeadly) std::signal(signal, tell);
  }
  ~LastWords() {
    for (const int signal : kDeadly) std::signal(signal, SIG_DFL);
  }
  LastWords(const LastWords&) = delete;
  LastWords& operator=(const LastWords&) = delete;
  static void set(const std::string& words) {
    length_ = words.copy(words_.data(), words_.size() - 1);
    words_[length_++] = '\n';
  }

 private:
  static constexpr std::array kDeadly{SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
  static void tell(int signal) {
    static_cast<void>(!write(STDERR_FILENO, words_.data(), length_));
    std::signal(signal, SIG_DFL);
    static_cast<void>(raise(signal));
  }
  static inline std::array<char, 4096> words_{};
  static inline std::size_t length_ = 0;
};

TEST(Simulation, ASeedHappensAgainInAnotherProcess) {
  Random random("Simulation.Replay");
  for (int number = 0; number < 8; ++number) {
    const auto seed = random.next();
    const auto again = run(replay_command(seed));
    EXPECT_EQ(again.status, 0) << again.output;
    const auto expected = concat("trace ", hex(trace_of(simulate(seed))), "\n");
    EXPECT_NE(again.output.find(expected), std::string::npos) << "seed " << seed << ": " << expected << again.output;
  }
}

TEST(Simulation, NoLifeOfAnImageLosesOrCorruptsAnything) {
  Random random = fresh_random("Simulation");
  const auto first = random.seed();
  auto seed = first;
  std::uint64_t trace = 0;
  std::uint64_t seeds = 0;
  std::uint64_t lives = 0;
  std::uint64_t crash_images = 0;
  std::uint64_t failures = 0;
  const auto began = std::chrono::steady_clock::now();
  const auto elapsed = [&] { return std::chrono::steady_clock::now() - began; };
  const LastWords last_words;
  do {
    LastWords::set("replay: " + replay_command(seed));
    const auto outcome = simulate(seed);
    ++seeds;
    lives += outcome.lives;
    crash_images += outcome.crash_images;
    failures += outcome.failures;
    ASSERT_EQ(outcome.problem, "") << outcome.what << "\nreplay: " << replay_command(seed);
    trace = trace_of(outcome);
    ++seed;
  } while (elapsed() < duration());
  const double seconds = std::chrono::duration<double>(elapsed()).count();
  std::printf("fresh seeds: %lu from %lu on (%.0f a minute), %lu lives, %lu crash images, %lu failures\n", seeds, first,
              static_cast<double>(seeds) * 60 / seconds, lives, crash_images, failures);
  std::printf("trace %s\n", hex(trace).c_str());
}

}  // namespace
}  // namespace penstock::test
