// SPDX-License-Identifier: Apache-2.0
#include "tests/crash/load.hpp"

#include "base/text.hpp"
#include "tests/support/expect.hpp"
#include "tests/support/manual_clock.hpp"
#include "tests/support/plain_executor.hpp"

#include <thread>

namespace penstock::test {

namespace {

constexpr std::uint64_t kChunk = 16;  // sectors that go to one thread

}  // namespace

void Load::take_start() {
  std::vector<std::byte> bytes(image_.virtual_size());
  must(image_.read({0}, bytes));
  for (std::uint64_t sector = 0; sector < bytes.size() / kSectorSize; ++sector) {
    Tag tag = 0;
    EXPECT_TRUE(read_sector(std::span(bytes).subspan(sector * kSectorSize, kSectorSize), tag));
    history_.start(sector, tag);
  }
}

std::size_t Load::run(Random& random, unsigned operations) {
  std::atomic<std::size_t> errors{0};
  std::vector<std::jthread> threads;
  for (unsigned thread = 0; thread < what_.threads; ++thread) {
    threads.emplace_back([this, thread, operations, &errors, own = random.fork()]() mutable {
      for (unsigned operation = 0; operation < operations; ++operation) {
        if (!step(own, thread)) ++errors;
      }
    });
  }
  threads.clear();
  return errors;
}

Load::Sectors Load::choose(Random& random, unsigned thread) const {
  const auto sectors = image_.virtual_size() / kSectorSize;
  if (what_.threads > 1) {
    const auto chunks = sectors / kChunk / what_.threads;
    const auto chunk = random.below(chunks) * what_.threads + thread;
    if (random.chance(20)) return {chunk * kChunk, kChunk};
    const auto inside = random.below(kChunk);
    return {chunk * kChunk + inside, random.between(1, kChunk - inside)};
  }
  const auto first = random.below(sectors);
  const auto longest = random.chance(8) ? std::uint64_t{700} : std::uint64_t{40};
  return {first, random.between(1, std::min(sectors - first, longest))};
}

bool Load::step(Random& random, unsigned thread) {
  const auto sectors = choose(random, thread);
  const auto kind = random.below(100);
  if (kind < 55) return write(sectors);
  if (kind < 70) return zero(sectors, static_cast<ZeroBy>(random.below(3)));
  if (kind < 86) return discard(sectors);
  if (kind < 88 && what_.threads == 1) return resize(random);
  if (kind < 96) return flush();
  if (kind < 98) return allocate(sectors);
  expect_readable(sectors);
  return true;
}

bool Load::write(Sectors sectors) {
  const auto begun = now_();
  const auto change = history_.new_change();
  std::vector<std::byte> data(sectors.count * kSectorSize);
  for (std::uint64_t index = 0; index < sectors.count; ++index) {
    fill_sector(std::span(data).subspan(index * kSectorSize, kSectorSize),
                History::tag_of(change, sectors.first + index));
  }
  const auto done = image_.write({sectors.first * kSectorSize}, data);
  for (std::uint64_t index = 0; index < sectors.count; ++index) {
    history_.changed(sectors.first + index, begun, History::tag_of(change, sectors.first + index), done.has_value());
  }
  if (done) expect_readable(sectors);
  return done.has_value();
}

bool Load::zero(Sectors sectors, ZeroBy by) {
  const auto begun = now_();
  const GuestRange range{{sectors.first * kSectorSize}, sectors.count * kSectorSize};
  const auto done = by == ZeroBy::writing
                        ? image_.write(range.offset, std::vector<std::byte>(range.length))
                        : image_.write_zeroes(range, by == ZeroBy::keeping ? Zeroing::keep : Zeroing::may_unmap);
  for (std::uint64_t index = 0; index < sectors.count; ++index) {
    history_.changed(sectors.first + index, begun, 0, done.has_value());
  }
  if (done) expect_readable(sectors);
  return done.has_value();
}

bool Load::allocate(Sectors sectors) {
  const auto done = image_.allocate({{sectors.first * kSectorSize}, sectors.count * kSectorSize});
  expect_readable(sectors);
  return done.has_value();
}

bool Load::discard(Sectors sectors) {
  const auto begun = now_();
  const auto done = image_.discard({{sectors.first * kSectorSize}, sectors.count * kSectorSize});
  // It may have been forgotten or not, but from now on it is the one or the other.
  std::vector<std::byte> found(sectors.count * kSectorSize);
  const auto read = done ? image_.read({sectors.first * kSectorSize}, found) : done;
  for (std::uint64_t index = 0; index < sectors.count; ++index) {
    Tag tag = 0;
    const auto sector = sectors.first + index;
    if (read && read_sector(std::span(found).subspan(index * kSectorSize, kSectorSize), tag) && tag != 0) {
      EXPECT_TRUE(history_.readable(sector, tag)) << "sector " << sector << " after a discard";
      history_.changed(sector, begun, tag);
    } else {
      history_.changed(sector, begun, 0, read.has_value());
    }
  }
  return read.has_value();
}

bool Load::resize(Random& random) {
  const auto begun = now_();
  const auto before = image_.virtual_size();
  const auto size = random.between(what_.size / 2 / kSectorSize, what_.size_max() / kSectorSize) * kSectorSize;
  const auto done = image_.resize(size);
  if (!done && done.error().is(EOPNOTSUPP)) return true;
  for (auto sector = size / kSectorSize; what_.shape.backing && sector < before / kSectorSize; ++sector) {
    // What is cut off goes before the size does; in between the backing file shows, as with QEMU.
    if (const Tag tag = what_.backing_tag(sector); tag != 0) {
      history_.passing(sector, begun, done ? now_() : SIZE_MAX, tag);
    }
  }
  for (auto sector = std::min(size, before) / kSectorSize; sector < std::max(size, before) / kSectorSize; ++sector) {
    history_.changed(sector, begun, 0, done.has_value());
  }
  // A failed one may or may not be there after a crash.
  history_.resized(begun, done ? now_() : SIZE_MAX, size);
  return done.has_value();
}

bool Load::flush() {
  const auto begun = history_.tick();
  const auto done = image_.flush();
  if (done) history_.flushed(begun, now_());
  return done.has_value();
}

std::size_t Load::stream(Random& random, unsigned operations) {
  image_.set_copy_on_read(true);
  return what_.threads == 1 ? stream_in_steps(random, operations) : stream_beside_load(random, operations);
}

std::size_t Load::stream_in_steps(Random& random, unsigned operations) {
  std::size_t errors = 0;
  bool complete = true;
  const std::uint64_t cluster = image_.geometry().cluster_size;
  for (GuestOffset at; at.value < image_.virtual_size();) {
    const auto size = image_.virtual_size();
    const auto missing = image_.missing({at, size - at.value}, nullptr);
    if (!missing) return errors + 1;
    if (!missing->missing) {
      at += missing->length;
      continue;
    }
    const auto first = align_down(at.value, cluster);
    const auto end = std::min(align_up(at.value + random.between(1, 24) * cluster, cluster), size);
    if (!image_.populate({{first}, end - first}, nullptr)) complete = false;
    at = {end};
    if (operations != 0 && random.chance(60)) {
      --operations;
      if (!step(random, 0)) ++errors;
    }
  }
  if (!complete) return errors + 1;
  return image_.drop_backing(nullptr) ? errors : errors + 1;
}

std::size_t Load::stream_beside_load(Random& random, unsigned operations) {
  PlainExecutor background(2);
  ManualClock never_waits;
  Clock& clock = what_.clock == nullptr ? never_waits : *what_.clock;
  const auto policy = what_.may_fail ? static_cast<OnError>(random.below(3)) : OnError::report;
  Provisioner job(image_, background, clock,
                  {.on_error = policy, .flush_interval = std::chrono::milliseconds(random.between(1, 50))});
  job.start();
  std::jthread user([&job, &clock, own = random.fork()]() mutable { command(job, clock, own); });
  auto errors = run(random, operations);
  user.join();
  job.set_speed(0);
  job.resume();
  for (int tries = 0; what_.may_fail && !has_ended(job.progress().state); ++tries) {
    clock.sleep_for(std::chrono::seconds(1));
    job.resume();
    // A flush that failed on the disk fails for good: such a job would try for ever.
    if (tries == 60) job.cancel();
  }
  if (const auto ended = job.wait(); !ended && !ended.error().is(ECANCELED)) ++errors;
  return errors;
}

/// What somebody may say to a job through its socket.
void Load::command(Provisioner& job, Clock& clock, Random& random) {
  for (auto commands = random.below(8); commands != 0; --commands) {
    clock.sleep_for(std::chrono::microseconds(random.below(20'000)));
    const auto kind = random.below(100);
    if (kind < 35) {
      job.pause();
    } else if (kind < 65) {
      job.resume();
    } else if (kind < 95) {
      job.set_speed(random.chance(30) ? 0 : random.between(10'000, 10'000'000));
    } else {
      job.cancel();
    }
  }
}

Result<> stream_to_the_end(Image& image) {
  PlainExecutor background(1);
  ManualClock clock;
  Provisioner job(image, background, clock, {});
  job.start();
  return job.wait();
}

void Load::expect_readable(Sectors sectors) const {
  std::vector<std::byte> found(sectors.count * kSectorSize);
  if (!image_.read({sectors.first * kSectorSize}, found)) return;
  for (std::uint64_t index = 0; index < sectors.count; ++index) {
    Tag tag = 0;
    EXPECT_TRUE(read_sector(std::span(found).subspan(index * kSectorSize, kSectorSize), tag));
    ASSERT_TRUE(history_.readable(sectors.first + index, tag))
        << "sector " << sectors.first + index << " holds " << hex(tag);
  }
}

std::string find_problem(Image& image, const History& history, std::size_t moment) {
  const auto size = image.virtual_size();
  if (!history.size_possible(moment, size)) return concat("the virtual size is ", size);
  std::vector<std::byte> bytes(size);
  if (const auto read = image.read({0}, bytes); !read) return read.error().message();
  for (std::uint64_t sector = 0; sector < size / kSectorSize; ++sector) {
    Tag tag = 0;
    if (!read_sector(std::span(bytes).subspan(sector * kSectorSize, kSectorSize), tag)) {
      return concat("sector ", sector, " is torn");
    }
    auto problem = history.problem(sector, moment, tag);
    if (!problem.empty()) return problem;
  }
  return {};
}

}  // namespace penstock::test
