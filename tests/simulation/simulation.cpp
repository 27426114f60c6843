// SPDX-License-Identifier: Apache-2.0
#include "tests/simulation/simulation.hpp"

#include "base/text.hpp"
#include "tests/crash/recorded_run.hpp"
#include "tests/simulation/deterministic_threads.hpp"
#include "tests/support/expect.hpp"
#include "tests/support/faulty_storage.hpp"

#include <array>
#include <thread>

namespace penstock::test {

namespace {

constexpr unsigned kLivesMax = 3;
constexpr unsigned kCrashImages = 4;  // a life
constexpr unsigned kOperationsMax = 90;

Case choose_case(Random& random) {
  static const std::vector<Case> kPossible = [] {
    std::vector<Case> made;
    for (const Case& item : cases()) {
      if (item.contents == Contents::empty && item.threads == 1) made.push_back(item);
    }
    return made;
  }();
  Case what = kPossible[random.below(kPossible.size())];
  const bool large_clusters = !what.shape.options.contains("cluster_size");
  what.size = (large_clusters ? 640U << 10U : 128U << 10U) + random.below(8) * kSectorSize;
  // Enough clusters that the refcount table moves.
  if (what.shape.name == "v3_512_refcount64") what.size = 1U << 20U;
  what.threads = static_cast<unsigned>(random.between(1, 3));
  what.detect_zeroes = static_cast<DetectZeroes>(random.below(3));
  what.may_fail = random.chance(50);
  what.clock = &system_clock();
  return what;
}

/// Lets calls of the disks fail for a while, again and again, until the run is over.
class Trouble {
 public:
  Trouble(bool any, Random random) : random_(std::move(random)) {
    if (any) thread_ = std::thread([this] { make(); });
  }
  ~Trouble() { end(); }
  Trouble(const Trouble&) = delete;
  Trouble& operator=(const Trouble&) = delete;

  std::shared_ptr<Storage> wrap(std::shared_ptr<Storage> storage) {
    disks_.push_back(std::make_shared<FaultyStorage>(std::move(storage)));
    return disks_.back();
  }
  void end() {
    over_ = true;
    if (thread_.joinable()) thread_.join();
  }
  [[nodiscard]] std::uint64_t failures() const {
    std::uint64_t sum = 0;
    for (const auto& disk : disks_) sum += disk->failures();
    return sum;
  }

 private:
  void make() {
    while (!over_) {
      wait();
      if (over_) break;
      if (disks_.empty()) continue;
      auto& disk = *disks_[random_.below(disks_.size())];
      constexpr std::array kinds{FaultyStorage::everything, FaultyStorage::changes, FaultyStorage::writes,
                                 FaultyStorage::reads, FaultyStorage::flushes};
      constexpr std::array errors{EIO, ENOSPC};
      disk.arm({.kinds = kinds.at(random_.below(kinds.size())),
                .after = random_.below(30),
                .number = errors.at(random_.below(errors.size())),
                .for_ever = random_.chance(30),
                .effect = static_cast<FaultyStorage::Effect>(random_.below(3))});
      wait();
      disk.disarm();
    }
  }
  void wait() { system_clock().sleep_for(std::chrono::microseconds(random_.below(3000))); }

  Random random_;
  std::vector<std::shared_ptr<FaultyStorage>> disks_;
  std::atomic<bool> over_{false};
  std::thread thread_;
};

class Simulation {
 public:
  explicit Simulation(std::uint64_t seed) : random_(seed), what_(choose_case(random_)) {
    outcome_.what = concat(what_.shape.name, ", ", what_.size, " bytes, ", what_.threads, " threads",
                           what_.may_fail ? ", with failures" : "");
  }

  void run() {
    auto start = Start::make(what_);
    const auto lives = random_.between(1, kLivesMax);
    while (outcome_.problem.empty() && outcome_.lives < lives) {
      start = live(std::move(start));
      note_failures();
    }
  }
  [[nodiscard]] const std::string& what() const { return outcome_.what; }
  [[nodiscard]] SimulationOutcome outcome() && { return std::move(outcome_); }

 private:
  /// What is left for the next life.
  Start live(Start start) {
    ++outcome_.lives;
    what_.first_change = outcome_.lives * 1'000'000ULL;
    Trouble trouble(what_.may_fail, random_.fork());
    const auto wrap = [&](std::shared_ptr<Storage> storage) { return trouble.wrap(std::move(storage)); };
    const auto operations = static_cast<unsigned>(random_.between(10, kOperationsMax));
    const RecordedRun run(what_, start, random_, {.operations = operations, .wrap = wrap, .heal = {}});
    trouble.end();
    outcome_.failures += trouble.failures();
    const bool clean = run.errors() == 0;
    if (!clean && trouble.failures() == 0) outcome_.problem = "requests failed on a disk that did not";
    for (auto& change : run.journal().changes()) outcome_.log.push_back(std::move(change));

    Start next{copy_of(run.left()), start.backing};
    note(run.examine_left());
    // After a crash there may be counts of clusters behind the end of the file, which no check sees before it grows.
    if (clean && outcome_.lives == 1) note(run.examine_clean_end());
    const bool cut = random_.chance(70);
    run.journal().crash(random_, kCrashImages, [&](const CrashImage& crash) {
      ++outcome_.crash_images;
      if (cut) next.image = copy_of(run.dead(crash));
      note(run.examine(crash, {.use_on = random_.chance(30)}), crash.what);
      return outcome_.problem.empty();
    });
    prepare(next);
    return next;
  }

  void prepare(const Start& next) {
    if (!outcome_.problem.empty()) return;
    const auto image = must(next.open(next.image, false));
    what_.base_size = what_.backing_size();
    what_.size = image->virtual_size();
    what_.streams = what_.streams && image->layer_count() > 1;
  }
  void note(const std::string& problem, const std::string& where = "after the run") {
    if (outcome_.problem.empty() && !problem.empty())
      outcome_.problem = concat("life ", outcome_.lives, ", ", where, ": ", problem);
  }
  /// gtest's own failures: of what a load reads back.
  void note_failures() {
    if (has_failed() && outcome_.problem.empty()) outcome_.problem = "a read showed what was not there";
  }
  static bool has_failed() { return testing::Test::HasFailure(); }
  static ShapedImage copy_of(const ShapedImage& image) {
    const auto copy = [](const std::shared_ptr<Storage>& storage) -> std::shared_ptr<Storage> {
      return storage == nullptr ? nullptr : std::dynamic_pointer_cast<MemoryStorage>(storage)->copy();
    };
    return image.with(copy(image.file), copy(image.data));
  }

  Random random_;
  Case what_;
  SimulationOutcome outcome_;
};

}  // namespace

SimulationOutcome simulate(std::uint64_t seed) {
  // Made before time stands still: shared by all runs.
  static_cast<void>(cases());
  Simulation simulation(seed);
  Random turns(seed + 1);
  run_deterministically(
      {.seed = turns.next(), .switch_percent = static_cast<unsigned>(turns.between(1, 40))},
      [&simulation] { simulation.run(); },
      [&simulation, seed] { std::fprintf(stderr, "seed %lu: %s\n", seed, simulation.what().c_str()); });
  return std::move(simulation).outcome();
}

}  // namespace penstock::test
