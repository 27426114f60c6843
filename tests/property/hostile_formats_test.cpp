// SPDX-License-Identifier: Apache-2.0
// Images whose headers and tables were damaged at random, in every format: no request crashes, hangs or takes memory
// without bound, what fails says why, and files other than the image keep their bytes.
// PENSTOCK_MUTATIONS sets how many of each format; 10000 are for a run by hand.
#include <penstock/image.hpp>

#include "image/layer.hpp"
#include "storage/memory_storage.hpp"
#include "tests/support/expect.hpp"
#include "tests/support/mutator.hpp"
#include "tests/support/shape.hpp"

#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <ctime>
#include <iostream>
#include <new>

namespace {

std::atomic<std::size_t> live_bytes{0};
std::atomic<std::size_t> peak_bytes{0};

void* counted(std::size_t size) {
  void* const place = std::malloc(size == 0 ? 1 : size);
  if (place == nullptr) throw std::bad_alloc();
  const std::size_t now = live_bytes.fetch_add(malloc_usable_size(place)) + malloc_usable_size(place);
  for (std::size_t peak = peak_bytes; now > peak && !peak_bytes.compare_exchange_weak(peak, now);) {
  }
  return place;
}

void uncounted(void* place) {
  if (place == nullptr) return;
  live_bytes.fetch_sub(malloc_usable_size(place));
  std::free(place);
}

}  // namespace

// The memory that the engine asks for, whatever sanitizer stands between.
void* operator new(std::size_t size) {
  return counted(size);
}
void* operator new[](std::size_t size) {
  return counted(size);
}
void operator delete(void* place) noexcept {
  uncounted(place);
}
void operator delete[](void* place) noexcept {
  uncounted(place);
}
void operator delete(void* place, std::size_t) noexcept {
  uncounted(place);
}
void operator delete[](void* place, std::size_t) noexcept {
  uncounted(place);
}

namespace penstock {
namespace {

using test::must;
using test::Random;
using test::Shape;
using test::ShapedImage;
using Memory = std::shared_ptr<MemoryStorage>;

constexpr std::uint64_t kSize = 1U << 20U;
constexpr std::byte kBackingByte{0xb5};
constexpr std::size_t kMemoryMax = 256U << 20U;
constexpr double kSecondsMax = 10;

/// Of the whole process: what else the machine does must not decide.
double processor_seconds() {
  return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
}

unsigned rounds() {
  const char* const text = std::getenv("PENSTOCK_MUTATIONS");
  return text == nullptr ? 1000 : static_cast<unsigned>(std::strtoul(text, nullptr, 10));
}

/// A failure is allowed anywhere, but it must say one clear line.
template <typename T>
bool told(const Result<T>& result) {
  if (result) return true;
  EXPECT_FALSE(result.error().message().empty());
  EXPECT_EQ(result.error().message().find('\n'), std::string::npos) << result.error().message();
  EXPECT_NE(result.error().number(), 0) << result.error().message();
  return false;
}

class Subject {
 public:
  Subject(const Shape& shape, Random& random) : image_(ShapedImage::create(shape, kSize)) {
    if (shape.backing) {
      base_ = std::make_shared<MemoryStorage>("base");
      must(base_->write({0}, std::vector<std::byte>(kSize, kBackingByte)));
    }
    const auto image = must(open(image_, true));
    cluster_ = image->geometry().cluster_size;
    for (int i = 0; i < 12; ++i) change(*image, random);
    const std::vector<std::byte> packable(std::min<std::uint64_t>(cluster_, kSize), test::kGuestByte);
    static_cast<void>(image->write_compressed({kSize - packable.size()}, packable));
    must(image->close());
    words_ = test::metadata_words(*image_.file);
  }

  /// Answers what the files take that it made, which is memory here only.
  std::uint64_t damage_and_use(Random& random) const {
    const Memory file = memory(image_.file).copy();
    const Memory data = image_.data == nullptr ? nullptr : memory(image_.data).copy("data");
    test::mutate(*file, words_, cluster_, random);
    if (data != nullptr && random.chance(5)) must(data->truncate(random.next() >> random.between(1, 63)));
    const ShapedImage damaged = image_.with(file, data);
    use(damaged, false, random);
    check(damaged, Repair::none);
    use(damaged, true, random);
    check(damaged, Repair::all);
    check(damaged, Repair::none);
    use(damaged, true, random);
    expect_base_kept();
    return must(file->allocated_bytes()) + (data == nullptr ? 0 : must(data->allocated_bytes()));
  }

  [[nodiscard]] const Shape& shape() const { return image_.shape; }

 private:
  static MemoryStorage& memory(const std::shared_ptr<Storage>& storage) {
    return dynamic_cast<MemoryStorage&>(*storage);
  }

  [[nodiscard]] Result<std::unique_ptr<Image>> open(const ShapedImage& image, bool writable) const {
    Layers layers;
    layers.push_back(make_layer("top", TRY(image.open(writable))));
    if (base_ != nullptr) {
      const ShapedImage base{{.name = "base", .format = "raw"}, base_, nullptr};
      layers.push_back(make_layer("base", TRY(base.open(false))));
    }
    return make_image(std::move(layers), {.writable = writable, .cache_bytes = 8U << 20U});
  }

  static GuestRange some_range(const Image& image, Random& random) {
    const std::uint64_t size = image.virtual_size();
    if (size == 0) return {};
    // Mostly where something was; sometimes anywhere, and at the end.
    std::uint64_t at = random.below(std::min(size, kSize));
    if (random.chance(20)) at = random.below(size);
    if (random.chance(10)) at = size - std::min<std::uint64_t>(size, random.between(1, 100000));
    return {{at}, std::min(size - at, random.between(1, 150000))};
  }

  static void change(Image& image, Random& random) {
    const GuestRange range = some_range(image, random);
    switch (random.below(6)) {
      case 0:
        told(image.write_zeroes(range, random.chance(50) ? Zeroing::keep : Zeroing::may_unmap));
        break;
      case 1:
        told(image.discard(range));
        break;
      case 2:
        told(image.flush());
        break;
      default:
        told(image.write(range.offset, std::vector<std::byte>(range.length, test::kGuestByte)));
    }
  }

  static void map_whole(Image& image) {
    constexpr unsigned kExtentsMax = 2000;
    GuestRange rest{{0}, image.virtual_size()};
    for (unsigned i = 0; i < kExtentsMax && !rest.empty(); ++i) {
      const auto extent = image.extent(rest);
      // A damaged place is passed over, as qemu-img's callers would.
      std::uint64_t length = std::min<std::uint64_t>(rest.length, 65536);
      if (told(extent)) length = extent->guest.length;
      ASSERT_GT(length, 0U);
      ASSERT_LE(length, rest.length);
      rest = {rest.offset + length, rest.length - length};
    }
  }

  void use(const ShapedImage& damaged, bool writable, Random& random) const {
    auto driver = damaged.open(false);
    if (told(driver)) told((*driver)->info());
    const auto opened = open(damaged, writable);
    if (!told(opened)) return;
    Image& image = **opened;
    map_whole(image);
    for (int i = 0; i < 6; ++i) {
      const GuestRange range = some_range(image, random);
      std::vector<std::byte> bytes(range.length);
      told(image.read(range.offset, bytes));
    }
    for (int i = 0; writable && i < 6; ++i) change(image, random);
    told(image.layers());
    told(image.flush());
    told(image.close());
  }

  static void check(const ShapedImage& damaged, Repair repair) {
    const auto report = damaged.check(repair);
    told(report);
  }

  void expect_base_kept() const {
    if (base_ == nullptr) return;
    ASSERT_EQ(must(base_->size()), kSize);
    std::vector<std::byte> bytes(kSize);
    must(base_->read({0}, bytes));
    ASSERT_TRUE(std::ranges::all_of(bytes, [](std::byte byte) { return byte == kBackingByte; }));
  }

  ShapedImage image_;
  std::shared_ptr<MemoryStorage> base_;
  std::uint64_t cluster_ = 0;
  std::vector<std::uint64_t> words_;
};

void run(std::string_view format) {
  Random random("HostileFormats");
  std::vector<std::unique_ptr<Subject>> subjects;
  for (const Shape& shape : test::shapes()) {
    if (shape.format == format) subjects.push_back(std::make_unique<Subject>(shape, random));
  }
  ASSERT_FALSE(subjects.empty());
  double slowest = 0;
  std::size_t most = 0;
  for (unsigned round = 0; round < rounds(); ++round) {
    const Subject& subject = *subjects[round % subjects.size()];
    Random own = random.fork();
    SCOPED_TRACE(subject.shape().name + ", round " + std::to_string(round));
    const std::size_t before = live_bytes;
    peak_bytes = before;
    const double start = processor_seconds();
    const std::uint64_t files = subject.damage_and_use(own) * 9 / 8;
    const double seconds = processor_seconds() - start;
    slowest = std::max(slowest, seconds);
    most = std::max(most, peak_bytes - std::min<std::size_t>(before + files, peak_bytes));
    ASSERT_LT(seconds, kSecondsMax);
    ASSERT_LT(most, kMemoryMax);
    if (testing::Test::HasFailure()) return;
  }
  std::cout << format << ": " << rounds() << " images, the slowest took " << slowest << " s of processor, the largest "
            << (most >> 20U) << " MiB\n";
}

TEST(HostileFormats, RawImagesAreUsedWithoutHarm) {
  run("raw");
}
TEST(HostileFormats, Qcow2ImagesAreUsedWithoutHarm) {
  run("qcow2");
}
TEST(HostileFormats, QedImagesAreUsedWithoutHarm) {
  run("qed");
}
TEST(HostileFormats, AddCowImagesAreUsedWithoutHarm) {
  run("add-cow");
}

}  // namespace
}  // namespace penstock
