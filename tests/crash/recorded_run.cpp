// SPDX-License-Identifier: Apache-2.0
#include "tests/crash/recorded_run.hpp"
#include "image/layer.hpp"

#include "base/text.hpp"
#include "tests/support/expect.hpp"
#include "tests/support/layered.hpp"
#include "tests/support/process.hpp"
#include "tests/support/temporary_directory.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>

namespace penstock::test {

namespace {

std::shared_ptr<MemoryStorage> copy_of(const std::shared_ptr<Storage>& storage, const char* name) {
  return storage == nullptr ? nullptr : std::dynamic_pointer_cast<MemoryStorage>(storage)->copy(name);
}

/// Counts may be behind until the repair that a writable open begins with.
bool lazy(const Shape& shape) {
  return shape.options.contains("lazy_refcounts");
}

}  // namespace

RecordedRun::RecordedRun(const Case& what, Start start, Random& random, const RunOptions& options)
    : what_(what),
      start_(std::move(start)),
      // What the load works on is a copy: the journal and the start keep what was there before.
      memory_(copy_of(start_.image.file, "image")),
      data_(copy_of(start_.image.data, "data")),
      history_(what.size_max() / kSectorSize, what.size, what.first_change) {
  const auto recorded = [&](const std::shared_ptr<MemoryStorage>& memory) -> std::shared_ptr<Storage> {
    if (memory == nullptr) return nullptr;
    auto storage = journal_.add(memory);
    return options.wrap ? options.wrap(std::move(storage)) : storage;
  };
  {
    Load(what, *must(start_.open(start_.image, false)), history_, {}).take_start();
  }
  const auto file = recorded(memory_);
  const auto data = recorded(data_);
  const auto open = [&] { return start_.open(start_.image.with(file, data), true, what.detect_zeroes); };
  auto image = open();
  if (!image) {
    ++errors_;
    const bool well = options.heal && options.heal();
    if (options.heal) image = open();
    if (!image && well) ++late_errors_;
  }
  if (image) use(**image, random, options);
}

void RecordedRun::use(Image& image, Random& random, const RunOptions& options) {
  Load load(what_, image, history_, [this] { return journal_.position(); });
  auto operations = options.operations / what_.threads;
  if (what_.streams) {
    errors_ += load.run(random, operations / 4);
    errors_ += load.stream(random, operations / 2);
    operations /= 4;
  }
  errors_ += load.run(random, operations);
  const bool well = options.heal && options.heal();
  const auto before = errors_;
  if (options.heal) errors_ += load.run(random, 10);
  if (random.chance(50) && !load.flush()) ++errors_;
  // A close that goes well says that all is durable, whatever went wrong before.
  const auto begun = history_.tick();
  if (image.close()) {
    history_.flushed(begun, journal_.position());
  } else {
    ++errors_;
  }
  if (well) late_errors_ += errors_ - before;
}

ShapedImage RecordedRun::dead(const CrashImage& crash) const {
  return start_.image.with(crash.devices[0], data_ == nullptr ? nullptr : crash.devices[1]);
}

std::string RecordedRun::examine(const CrashImage& crash, const Scrutiny& scrutiny) const {
  const auto left = dead(crash);
  if (scrutiny.by_qemu && !lazy(what_.shape)) {
    if (auto problem = ask_qemu(left); !problem.empty()) return problem;
  }
  if (lazy(what_.shape)) {
    const auto repaired = left.open(true);
    if (!repaired) return "repair: " + repaired.error().message();
    if (const auto closed = (*repaired)->close(); !closed) return "repair: " + closed.error().message();
  }
  if (auto problem = examine_check(left); !problem.empty()) return problem;
  {
    auto image = start_.open(left, false);
    if (!image) return "open: " + image.error().message();
    if (auto problem = find_problem(**image, history_, crash.moment); !problem.empty()) return problem;
  }
  if (!scrutiny.use_on) return {};
  if (what_.streams) {
    const auto copy = left.with(copy_of(left.file, "image"), copy_of(left.data, "data"));
    if (auto problem = examine_streaming_on(copy); !problem.empty()) return problem;
  }
  return examine_writing_on(left);
}

std::string RecordedRun::examine_left() const {
  const auto image = left();
  return examine(
      {.moment = SIZE_MAX - 1, .what = {}, .devices = {copy_of(image.file, "image"), copy_of(image.data, "data")}}, {});
}

std::string RecordedRun::examine_clean_end() const {
  const auto report = left().check();
  if (!report) return "check: " + report.error().message();
  if (report->leaks == 0) return {};
  return concat(report->leaks, " leaks in an image that was closed cleanly: ", left().findings());
}

std::string RecordedRun::examine_check(const ShapedImage& left) const {
  const auto report = left.check();
  if (!report) return "check: " + report.error().message();
  if (report->corruptions == 0 && report->check_errors == 0) return {};
  return concat("check: ", report->corruptions, " corruptions, ", report->check_errors, " errors: ", left.findings());
}

/// The image can be used as if nothing had happened.
std::string RecordedRun::examine_writing_on(const ShapedImage& left) const {
  auto image = start_.open(left, true);
  if (!image) return "writable open: " + image.error().message();
  Case alone = what_;
  alone.threads = 1;
  alone.base_size = what_.backing_size();
  alone.size = (*image)->virtual_size();
  History history(alone.size_max() / kSectorSize, alone.size);
  Load load(alone, **image, history, [] { return std::size_t{0}; });
  load.take_start();
  Random random(alone.size);
  if (load.run(random, 30) != 0) return "writing on failed";
  if (const auto closed = (*image)->close(); !closed) return "close: " + closed.error().message();
  auto problem = examine_check(left);
  return problem.empty() ? problem : "after writing on: " + problem;
}

/// What was not copied up before the crash still can be, and the end shows what the crash image showed.
std::string RecordedRun::examine_streaming_on(const ShapedImage& left) const {
  std::vector<std::byte> shown;
  {
    auto image = start_.open(left, true);
    if (!image) return "open to stream on: " + image.error().message();
    shown.resize((*image)->virtual_size());
    must((*image)->read({0}, shown));
    if (const auto done = stream_to_the_end(**image); !done) return "streaming on: " + done.error().message();
    if (const auto closed = (*image)->close(); !closed) return "close: " + closed.error().message();
  }
  if (auto problem = examine_check(left); !problem.empty()) return "after streaming on: " + problem;
  auto driver = left.open(false);
  if (!driver) return "open what was streamed: " + driver.error().message();
  if (!(*driver)->backing().name.empty()) return "streamed to its end, it still has a backing file";
  const auto alone = make_image(std::move(*driver), "image", false);
  std::vector<std::byte> now(alone->virtual_size());
  must(alone->read({0}, now));
  return now == shown ? "" : "streaming on changed what the disk shows";
}

/// The reference implementation's opinion of an image left behind.
std::string RecordedRun::ask_qemu(const ShapedImage& left) const {
  if (!have_program("qemu-img") || what_.shape.format == "add-cow") return {};  // no other tool reads it
  // QEMU makes such QED images and then cannot open them.
  if (what_.shape.options.contains("table_size")) return {};
  const TemporaryDirectory directory;
  save_file(*left.file, directory.file("image"));
  if (left.data != nullptr) save_file(*left.data, directory.file("data"));
  if (start_.backing != nullptr) save_file(*start_.backing, directory.file("base"));
  const auto enter = "cd '" + directory.path().string() + "' && ";
  const auto checked = run(enter + "qemu-img check image");
  if (checked.status != 0 && checked.status != 3) return checked.output;  // 3: leaks
  if (what_.contents != Contents::snapshot) return {};
  const auto compared = run(enter + "qemu-img convert -q -f qcow2 -l one -O raw image now");
  if (compared.status != 0) return compared.output;
  std::ifstream now(directory.file("now"), std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(now), {}};
  const auto first = std::as_bytes(std::span(bytes));
  const auto original = must(start_.open(start_.image, false));
  std::vector<std::byte> before(original->virtual_size());
  must(original->read({0}, before));
  // qemu-img gives it the size that the disk has now.
  const auto length = std::min(first.size(), before.size());
  return std::ranges::equal(first.first(length), std::span(before).first(length)) ? "" : "the snapshot has changed";
}

}  // namespace penstock::test
