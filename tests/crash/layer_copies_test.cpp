// SPDX-License-Identifier: Apache-2.0
// A power cut at any moment of a rebase or a commit leaves a chain that shows what it always showed.
#include "image/layer_copies.hpp"
#include "tests/crash/crash_count.hpp"
#include "tests/support/expect.hpp"
#include "tests/support/layered.hpp"
#include "tests/support/random.hpp"
#include "tests/support/recording_storage.hpp"
#include "tests/support/shape.hpp"

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
  std::vector<Image::Layer> layers;
  layers.push_back({"top", must(top.open(writable))});
  if (below != nullptr) layers.push_back({"below", must(must(find_format("raw"))->open(below, {.writable = false}))});
  return Image::from_layers(std::move(layers), {.writable = writable});
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
    auto next = alone ? nullptr : raw_disk(kSize / 4 * 3, random);
    if (next != nullptr) {
      // Much in common, as a base and its successor have.
      std::vector<std::byte> shared(kSize / 2);
      must(base->read({0}, shared));
      must(next->write({0}, shared));
      must(next->write_zeroes({{4096}, 200000}, Zeroing::may_unmap));
    }
    const auto made = make_overlay(base, random);
    const auto expected = contents(*open_over(made, base, false));
    Journal journal;
    {
      const auto image = open_over(recorded(made, journal), base, true);
      const auto other =
          alone ? nullptr : Image::from_driver(must(must(find_format("raw"))->open(next, {})), "next", false);
      const auto executor = make_request_executor(2);
      must(store_differences(*image, other.get(), 2, *executor, {}));
      must(image->change_backing(alone ? BackingReference{} : BackingReference{"next", "raw"}));
      must(image->close());
    }
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
    {
      std::vector<Image::Layer> layers;
      layers.push_back({"top", must(top.open(true))});
      const auto upper = Image::from_layers(std::move(layers), {.writable = true});
      const auto target =
          Image::from_driver(must(must(find_format("raw"))->open(below, {.writable = true})), "base", true);
      const auto executor = make_request_executor(2);
      must(copy_down(*upper, *target, kSize, *executor, {}));
      const auto emptied = upper->make_empty();
      EXPECT_TRUE(emptied || emptied.error().is(EOPNOTSUPP));
      must(upper->close());
      must(target->close());
      EXPECT_EQ(contents(*open_over(top, below, false)), expected);
    }
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

INSTANTIATE_TEST_SUITE_P(Shapes, LayerCopies, testing::ValuesIn(overlay_shapes()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace penstock::test
