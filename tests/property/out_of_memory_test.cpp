// SPDX-License-Identifier: Apache-2.0
// Memory runs out at the n-th allocation of a run of requests, or at the first one after it that may fail, in every
// format: the request fails and no other, what was written stays, the same request works when there is memory again,
// and the image is sound in the end.
// PENSTOCK_FAILURES sets how many failures of each kind of image; 0 tries every allocation.
#include <penstock/image.hpp>

#include "base/memory.hpp"
#include "image/layer.hpp"
#include "storage/memory_storage.hpp"
#include "tests/support/expect.hpp"
#include "tests/support/model_disk.hpp"
#include "tests/support/random.hpp"
#include "tests/support/shape.hpp"

#include <cstdlib>
#include <functional>
#include <iostream>
#include <new>

namespace {

// Of this thread: how many allocations go well before one fails; below 0: all do.
thread_local std::int64_t allocations_left = -1;
thread_local std::int64_t allocations = 0;
thread_local bool in_engine = false;

void* counted(std::size_t size) {
  allocations += in_engine;
  if (in_engine && allocations_left >= 0 && allocations_left-- == 0) {
    // As wait_for_memory() has it.
    if (!penstock::MustHaveMemory::here()) throw std::bad_alloc();
    allocations_left = 0;
  }
  void* const place = std::malloc(size == 0 ? 1 : size);
  if (place == nullptr) throw std::bad_alloc();
  return place;
}

}  // namespace

void* operator new(std::size_t size) {
  return counted(size);
}
void* operator new[](std::size_t size) {
  return counted(size);
}
void operator delete(void* place) noexcept {
  std::free(place);
}
void operator delete[](void* place) noexcept {
  std::free(place);
}
void operator delete(void* place, std::size_t) noexcept {
  std::free(place);
}
void operator delete[](void* place, std::size_t) noexcept {
  std::free(place);
}

namespace penstock {
namespace {

using test::ModelDisk;
using test::must;
using test::Random;
using test::Shape;
using test::ShapedImage;

constexpr std::uint64_t kSize = 512U << 10U;
constexpr std::byte kBaseByte{0xb5};

struct Request {
  enum class Kind : std::uint8_t { write, zero, unmap, flush, read } kind;
  GuestRange range;
  std::byte byte{};
};

std::vector<Request> some_requests(Random& random) {
  std::vector<Request> out;
  for (int i = 0; i < 14; ++i) {
    const std::uint64_t at = random.below(kSize);
    const GuestRange range{{at}, std::min(kSize - at, random.between(1, 90000))};
    constexpr std::array kKinds{Request::Kind::write, Request::Kind::write, Request::Kind::write, Request::Kind::zero,
                                Request::Kind::unmap, Request::Kind::flush, Request::Kind::read};
    out.push_back({kKinds[random.below(kKinds.size())], range, static_cast<std::byte>(random.between(1, 255))});
  }
  out.push_back({Request::Kind::flush, {}, {}});
  return out;
}

/// One image, and what must be read from it.
class Run {
 public:
  explicit Run(const Shape& shape) : image_(ShapedImage::create(shape, kSize)), model_(kSize) {
    if (shape.backing) {
      base_ = std::make_shared<MemoryStorage>("base");
      const std::vector<std::byte> bytes(kSize, kBaseByte);
      must(base_->write({0}, bytes));
      model_.write({0}, bytes);
    }
    open();
  }

  /// False when memory ran out in the middle. The model then still holds what was there before.
  bool serve(const Request& request) {
    std::vector<std::byte> bytes(request.range.length, request.byte);
    const auto served = answer([&]() -> Result<> {
      switch (request.kind) {
        case Request::Kind::write:
          return open_->write(request.range.offset, bytes);
        case Request::Kind::zero:
          return open_->write_zeroes(request.range, Zeroing::keep);
        case Request::Kind::unmap:
          return open_->write_zeroes(request.range, Zeroing::may_unmap);
        case Request::Kind::flush:
          return open_->flush();
        case Request::Kind::read:
          break;
      }
      return open_->read(request.range.offset, bytes);
    });
    if (!served) return false;
    if (request.kind == Request::Kind::write) model_.write(request.range.offset, bytes);
    if (request.kind == Request::Kind::zero || request.kind == Request::Kind::unmap) model_.zero(request.range);
    return true;
  }

  bool close() {
    const bool closed = answer([&] { return open_->close(); });
    open_.reset();
    return closed;
  }
  void open() {
    Layers layers;
    layers.push_back(make_layer("top", must(image_.open(true))));
    if (base_ != nullptr) layers.push_back(make_layer("base", must(must(find_format("raw"))->open(base_, {}))));
    open_ = make_image(std::move(layers), {.writable = true, .cache_bytes = 1U << 20U});
  }

  /// What lies outside `failed` must be as the model has it, and be it after the image was closed and opened, too.
  void expect_kept(GuestRange failed) {
    std::vector<std::byte> found(kSize);
    must(open_->read({0}, found));
    for (const GuestRange part :
         {GuestRange{{0}, failed.offset.value}, GuestRange{failed.end(), kSize - failed.end().value}}) {
      const auto bytes = std::span(found).subspan(part.offset.value, part.length);
      ASSERT_EQ(model_.difference(part.offset, bytes), "");
    }
  }
  void expect_sound() const {
    if (image_.format().check == nullptr) return;
    const auto report = must(image_.check());
    ASSERT_EQ(report.corruptions + report.check_errors, 0U);
  }

 private:
  static bool answer(const std::function<Result<>()>& call) {
    try {
      in_engine = true;
      const auto done = call();
      in_engine = false;
      if (!done && !done.error().is(ENOMEM)) throw std::runtime_error(done.error().message());
      return done.has_value();
    } catch (const std::bad_alloc&) {
      in_engine = false;
      return false;
    }
  }

  ShapedImage image_;
  std::shared_ptr<MemoryStorage> base_;
  ModelDisk model_;
  std::unique_ptr<Image> open_;
};

std::int64_t allocations_of(const Shape& shape, const std::vector<Request>& requests) {
  Run run(shape);
  const auto before = allocations;
  for (const Request& request : requests) run.serve(request);
  run.close();
  return allocations - before;
}

/// Answers whether the failure came in a request (and not in closing).
void fail_at(std::int64_t number, const Shape& shape, const std::vector<Request>& requests) {
  Run run(shape);
  allocations_left = number;
  for (const Request& request : requests) {
    if (run.serve(request)) continue;
    run.expect_kept(request.range);
    if (testing::Test::HasFatalFailure()) return;
    ASSERT_TRUE(run.serve(request)) << "the request does not work with memory again";
  }
  run.expect_kept({});
  if (testing::Test::HasFatalFailure()) return;
  run.close();
  allocations_left = -1;
  run.expect_sound();
  run.open();
  run.expect_kept({});
}

class OutOfMemory : public testing::TestWithParam<Shape> {};

TEST_P(OutOfMemory, FailsTheRequestAndNothingElse) {
  Random random("OutOfMemory." + GetParam().name);
  const char* const text = std::getenv("PENSTOCK_FAILURES");
  const std::uint64_t wanted = text == nullptr ? 60 : std::strtoull(text, nullptr, 10);
  const auto requests = some_requests(random);
  const auto all = static_cast<std::uint64_t>(allocations_of(GetParam(), requests));
  const std::uint64_t failures = wanted == 0 ? all : std::min(wanted, all);
  for (std::uint64_t i = 0; i < failures; ++i) {
    const std::uint64_t number = failures == all ? i : random.below(all);
    SCOPED_TRACE("allocation " + std::to_string(number) + " of " + std::to_string(all));
    fail_at(static_cast<std::int64_t>(number), GetParam(), requests);
    if (HasFatalFailure()) return;
  }
  std::cout << failures << " of " << all << " allocations failed\n";
}

INSTANTIATE_TEST_SUITE_P(EveryFormat, OutOfMemory, testing::ValuesIn(test::shapes()),
                         [](const auto& shape) { return shape.param.name; });

}  // namespace
}  // namespace penstock
