// SPDX-License-Identifier: Apache-2.0
// A power cut at any moment of a rebase or a commit, or a call that fails, leaves a chain that shows what it always
// showed, and on which it can be done again.
#include "image/layer_copies.hpp"
#include "image/layer.hpp"
#include "tests/crash/crash_count.hpp"
#include "tests/support/expect.hpp"
#include "tests/support/faulty_storage.hpp"
#include "tests/support/layered.hpp"
#include "tests/support/plain_executor.hpp"
#include "tests/support/random.hpp"
#include "tests/support/recording_storage.hpp"
#include "tests/support/shape.hpp"

#include "base/text.hpp"

namespace penstock::test {
namespace {

constexpr std::uint64_t kSize = 2U << 20U;
constexpr unsigned kPercent = 20;  // of all crash images

std::vector<Shape> overlay_shapes() {
  std::vector<Shape> chosen;
  for (const Shape& shape : shapes()) {
    if (shape.backing) chosen.push_back(shape);
  }
  return chosen;
}

std::shared_ptr<MemoryStorage> memory_of(const std::shared_ptr<Storage>& storage, const char* name) {
  return storage == nullptr ? nullptr : std::dynamic_pointer_cast<MemoryStorage>(storage)->copy(name);
}

std::shared_ptr<MemoryStorage> raw_disk(std::uint64_t size, Random& random) {
  auto memory = std::make_shared<MemoryStorage>();
  must(memory->write({0}, disk_contents(size, random)));
  return memory;
}

std::unique_ptr<Image> open_over(const ShapedImage& top, const std::shared_ptr<Storage>& below, bool writable) {
  Layers layers;
  layers.push_back(make_layer("top", must(top.open(writable))));
  if (below != nullptr)
    layers.push_back(make_layer("below", must(must(find_format("raw"))->open(below, {.writable = false}))));
  return make_image(std::move(layers), {.writable = writable});
}

std::vector<std::byte> contents(Image& image) {
  std::vector<std::byte> bytes(image.virtual_size());
  must(image.read({0}, bytes));
  return bytes;
}

/// Two tests of two runs each.
std::size_t crash_count() {
  return crash_images_of(overlay_shapes().size() * 4, kPercent);
}

class LayerCopies : public testing::TestWithParam<Shape> {
 protected:
  /// An overlay with data of its own and zeroes over parts of `base`.
  ShapedImage make_overlay(const std::shared_ptr<Storage>& base, Random& random) {
    auto made = ShapedImage::create(GetParam(), kSize);
    const auto image = open_over(made, base, true);
    for (unsigned change = 0; change < 12; ++change) {
      const auto at = random.below(kSize / 512) * 512;
      const auto length = std::min(kSize - at, 512 * random.between(1, 200));
      if (change % 4 == 0) {
        must(image->write_zeroes({{at}, length}, Zeroing::may_unmap));
      } else {
        std::vector<std::byte> bytes(length);
        random.fill(bytes);
        must(image->write({at}, bytes));
      }
    }
    must(image->close());
    return made;
  }

  /// The overlay on storages whose every change is written down.
  ShapedImage recorded(const ShapedImage& made, Journal& journal) {
    const auto file = journal.add(memory_of(made.file, "top"));
    const auto data = made.data == nullptr ? nullptr : journal.add(memory_of(made.data, "data"));
    return made.with(file, data);
  }
  [[nodiscard]] static ShapedImage left(const ShapedImage& made, const CrashImage& crash) {
    return made.with(crash.devices[0], made.data == nullptr ? nullptr : crash.devices[1]);
  }
  /// The end of `rebase`: on `next` from then on, or alone.
  static Result<> rebase(const ShapedImage& made, const std::shared_ptr<Storage>& base,
                         const std::shared_ptr<Storage>& next, unsigned slots) {
    Layers layers;
    layers.push_back(make_layer("top", TRY(made.open(true))));
    layers.push_back(make_layer("base", TRY(raw_layer(base, false))));
    const auto image = make_image(std::move(layers), {.writable = true});
    const auto other = next == nullptr ? nullptr : make_image(TRY(raw_layer(next, false)), "next", false);
    PlainExecutor executor(slots);
    TRY(store_differences(*image, other.get(), 2, executor, {}));
    TRY(image->change_backing(next == nullptr ? BackingReference{} : BackingReference{"next", "raw"}));
    return image->close();
  }
  static Result<> commit(const ShapedImage& top, const std::shared_ptr<Storage>& below, unsigned slots) {
    Layers layers;
    layers.push_back(make_layer("top", TRY(top.open(true))));
    const auto upper = make_image(std::move(layers), {.writable = true});
    const auto target = make_image(TRY(raw_layer(below, true)), "base", true);
    PlainExecutor executor(slots);
    TRY(copy_down(*upper, *target, kSize, executor, {}));
    if (const auto emptied = upper->make_empty(); !emptied && !emptied.error().is(EOPNOTSUPP)) return emptied;
    TRY(upper->close());
    return target->close();
  }
  static Result<std::unique_ptr<FormatDriver>> raw_layer(const std::shared_ptr<Storage>& storage, bool writable) {
    return must(find_format("raw"))->open(storage, {.writable = writable});
  }
  /// A successor of `base`: much in common, and some of it gone.
  static std::shared_ptr<MemoryStorage> successor(const std::shared_ptr<MemoryStorage>& base, Random& random) {
    auto next = raw_disk(kSize / 4 * 3, random);
    std::vector<std::byte> shared(kSize / 2);
    must(base->read({0}, shared));
    must(next->write({0}, shared));
    must(next->write_zeroes({{4096}, 200000}, Zeroing::may_unmap));
    return next;
  }
  /// Until `run` says that there was no such call: every one at first, then some.
  static void for_failing_calls(Random& random, const std::function<bool(std::uint64_t call)>& run) {
    for (std::uint64_t call = 0; run(call) && !HasFailure();) call += call < 12 ? 1 : random.between(1, 24);
  }
  static void expect_sound(const ShapedImage& image, const std::string& what) {
    if (image.shape.options.contains("lazy_refcounts")) must(must(image.open(true))->close());
    const auto report = image.check();
    EXPECT_TRUE(!report || report->corruptions == 0) << what;
  }
};

TEST_P(LayerCopies, RebaseShowsTheSameAtEveryMoment) {
  Random random("RebaseShowsTheSameAtEveryMoment");
  const auto base = raw_disk(kSize, random);
  for (const bool alone : {false, true}) {
    const auto next = alone ? nullptr : successor(base, random);
    const auto made = make_overlay(base, random);
    const auto expected = contents(*open_over(made, base, false));
    Journal journal;
    must(rebase(recorded(made, journal), base, next, 2));
    journal.crash(random, crash_count(), [&](const CrashImage& crash) {
      count_crash_image();
      const auto after = left(made, crash);
      const auto name = must(after.open(false))->backing().name;
      const auto below = name == "base" ? base : name == "next" ? next : nullptr;
      EXPECT_EQ(contents(*open_over(after, below, false)), expected) << crash.what << ", on '" << name << "'";
      expect_sound(after, crash.what);
      return !HasFailure();
    });
    if (HasFailure()) return;
  }
}

TEST_P(LayerCopies, CommitShowsTheSameAtEveryMoment) {
  Random random("CommitShowsTheSameAtEveryMoment");
  for (const std::uint64_t base_size : {kSize, kSize / 2}) {
    const auto base = raw_disk(base_size, random);
    const auto made = make_overlay(base, random);
    const auto expected = contents(*open_over(made, base, false));
    Journal journal;
    const auto top = recorded(made, journal);
    const auto below = journal.add(base->copy("base"));
    must(commit(top, below, 2));
    EXPECT_EQ(contents(*open_over(top, below, false)), expected);
    journal.crash(random, crash_count(), [&](const CrashImage& crash) {
      count_crash_image();
      const auto after = left(made, crash);
      EXPECT_EQ(contents(*open_over(after, crash.devices.back(), false)), expected) << crash.what;
      expect_sound(after, crash.what);
      return !HasFailure();
    });
    if (HasFailure()) return;
  }
}

TEST_P(LayerCopies, RebaseThatFailsShowsTheSameAndCanBeDoneAgain) {
  Random random("RebaseThatFails");
  const auto base = raw_disk(kSize, random);
  const auto next = successor(base, random);
  const auto made = make_overlay(base, random);
  const auto expected = contents(*open_over(made, base, false));
  for_failing_calls(random, [&](std::uint64_t call) {
    SCOPED_TRACE(concat("call ", call, " fails"));
    const auto memories = made.with(memory_of(made.file, "top"), memory_of(made.data, "data"));
    const auto disk = std::make_shared<FaultyStorage>(memories.file);
    disk->arm({.after = call, .effect = static_cast<FaultyStorage::Effect>(random.below(3))});
    const auto done = rebase(made.with(disk, memories.data), base, next, 1);
    if (!disk->fired()) return false;
    const auto name = must(memories.open(false))->backing().name;
    EXPECT_TRUE(!done || name == "next");
    EXPECT_EQ(contents(*open_over(memories, name == "base" ? base : next, false)), expected);
    expect_sound(memories, "after the failure");
    if (name == "base") {
      EXPECT_OK(rebase(memories, base, next, 1));
    }
    EXPECT_EQ(contents(*open_over(memories, next, false)), expected);
    return true;
  });
}

TEST_P(LayerCopies, CommitThatFailsShowsTheSameAndCanBeDoneAgain) {
  Random random("CommitThatFails");
  const auto base = raw_disk(kSize / 2, random);
  const auto made = make_overlay(base, random);
  const auto expected = contents(*open_over(made, base, false));
  for (const bool of_base : {false, true}) {
    for_failing_calls(random, [&](std::uint64_t call) {
      SCOPED_TRACE(concat("call ", call, of_base ? " of the base" : " of the overlay", " fails"));
      const auto memories = made.with(memory_of(made.file, "top"), memory_of(made.data, "data"));
      const auto below = base->copy("base");
      const auto disk = std::make_shared<FaultyStorage>(of_base ? below : memories.file);
      disk->arm({.after = call, .effect = static_cast<FaultyStorage::Effect>(random.below(3))});
      const auto done = of_base ? commit(memories, disk, 1) : commit(made.with(disk, memories.data), below, 1);
      if (!disk->fired()) return false;
      EXPECT_EQ(contents(*open_over(memories, below, false)), expected) << "done: " << done.has_value();
      expect_sound(memories, "after the failure");
      EXPECT_OK(commit(memories, below, 1));
      EXPECT_EQ(contents(*open_over(memories, below, false)), expected);
      return true;
    });
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, LayerCopies, testing::ValuesIn(overlay_shapes()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace penstock::test
