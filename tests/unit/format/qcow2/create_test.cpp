// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/create.hpp"

#include "format/qcow2/check.hpp"
#include "format/qcow2/format.hpp"
#include "storage/memory_storage.hpp"
#include "tests/support/expect.hpp"
#include "tests/support/recording_storage.hpp"

namespace penstock::qcow2 {
namespace {

using test::must;
using Options = std::map<std::string, std::string>;

CreateRequest request_of(std::uint64_t size, Options options, BackingReference backing = {}) {
  CreateRequest request;
  request.size = size;
  request.options = std::move(options);
  request.backing = std::move(backing);
  return request;
}

struct Made {
  std::shared_ptr<MemoryStorage> image = std::make_shared<MemoryStorage>("image");
  std::shared_ptr<MemoryStorage> data;
};

Made make(const CreateRequest& request) {
  const auto plan = must(plan_create(request));
  Made made;
  if (!plan->data_file().empty()) made.data = std::make_shared<MemoryStorage>("data");
  must(plan->write(made.image, made.data));
  return made;
}

TEST(Qcow2Create, SummaryIsThatOfQemuImg) {
  EXPECT_EQ(must(plan_create(request_of(1U << 30U, {})))->summary(),
            "cluster_size=65536 extended_l2=off compression_type=zlib size=1073741824 lazy_refcounts=off "
            "refcount_bits=16");
  EXPECT_EQ(must(plan_create(request_of(
                     1U << 30U,
                     {{"compat", "1.1"}, {"lazy_refcounts", "on"}, {"refcount_bits", "1"}, {"cluster_size", "4k"}})))
                ->summary(),
            "cluster_size=4096 extended_l2=off compression_type=zlib size=1073741824 compat=1.1 lazy_refcounts=on "
            "refcount_bits=1");
  EXPECT_EQ(must(plan_create(request_of(1U << 20U, {{"cluster_size", "128k"}}, {"a b,c=d", "raw"})))->summary(),
            "cluster_size=131072 extended_l2=off compression_type=zlib size=1048576 backing_file=a b,,c=d "
            "backing_fmt=raw lazy_refcounts=off refcount_bits=16");
  EXPECT_EQ(must(plan_create(request_of(16U << 20U, {{"data_file", "d.raw"}, {"data_file_raw", "on"}})))->summary(),
            "cluster_size=65536 extended_l2=off compression_type=zlib size=16777216 data_file=d.raw data_file_raw=on "
            "lazy_refcounts=off refcount_bits=16");
}

TEST(Qcow2Create, ImpossibleRequestsAreRefusedBeforeAnyFileIsTouched) {
  struct Case {
    Options options;
    int error;
    std::uint64_t size = 1U << 30U;
    BackingReference backing = {};
  };
  const Case cases[] = {
      {{{"compat", "2"}}, EINVAL},
      {{{"compat", "0.10"}, {"lazy_refcounts", "on"}}, EINVAL},
      {{{"compat", "v2"}, {"refcount_bits", "8"}}, EINVAL},
      {{{"compat", "v2"}, {"extended_l2", "on"}}, EINVAL},
      {{{"compat", "v2"}, {"compression_type", "zstd"}}, EINVAL},
      {{{"compat", "v2"}, {"data_file", "d"}}, EINVAL},
      {{{"cluster_size", "1000"}}, EINVAL},
      {{{"cluster_size", "256"}}, EINVAL},
      {{{"cluster_size", "4M"}}, EINVAL},
      {{{"cluster_size", "xyz"}}, EINVAL},
      {{{"cluster_size", "18446744073709551615k"}}, EINVAL},
      {{{"refcount_bits", "0"}}, EINVAL},
      {{{"refcount_bits", "3"}}, EINVAL},
      {{{"refcount_bits", "128"}}, EINVAL},
      {{{"refcount_bits", "16x"}}, EINVAL},
      {{{"extended_l2", "on"}, {"cluster_size", "8k"}}, EINVAL},
      {{{"compression_type", "lz4"}}, EINVAL},
      {{{"preallocation", "bad"}}, EINVAL},
      {{{"lazy_refcounts", "maybe"}}, EINVAL},
      {{{"data_file_raw", "on"}}, EINVAL},
      {{{"data_file", "d"}, {"data_file_raw", "on"}}, EINVAL, 1U << 20U, {"base", "raw"}},
      {{{"preallocation", "metadata"}}, EINVAL, 1U << 20U, {"base", "raw"}},
      {{{"backing_file", "other"}}, EINVAL, 1U << 20U, {"base", "raw"}},
      {{{"backing_fmt", "raw"}}, EINVAL},
      {{{"nonsense", "1"}}, EINVAL},
      {{{"encrypt.format", "luks"}}, ENOTSUP},
      {{{"encryption", "on"}}, ENOTSUP},
      {{{"cluster_size", "512"}}, EFBIG, 129ULL << 30U},
      {{}, EFBIG, 3ULL << 50U},
      {{}, EINVAL, 1U << 20U, {std::string(1024, 'b'), "raw"}},
      {{{"cluster_size", "512"}}, ENOSPC, 1U << 20U, {std::string(500, 'b'), "raw"}},
  };
  for (const Case& one : cases) {
    const auto plan = plan_create(request_of(one.size, one.options, one.backing));
    EXPECT_ERRNO(plan, one.error) << (one.options.empty() ? "size or backing" : one.options.begin()->first);
  }
}

class EveryKind : public testing::TestWithParam<Options> {};

TEST_P(EveryKind, IsCleanAndOpens) {
  for (const std::uint64_t size : {std::uint64_t{0}, std::uint64_t{512}, std::uint64_t{(5U << 20U) + 512}}) {
    const Made made = make(request_of(size, GetParam()));
    const CheckReport report = must(check(made.image, {}, {}));
    EXPECT_EQ(report.corruptions + report.leaks + report.check_errors, 0U) << size;
    FormatOpenOptions open{.writable = true};
    open.open_file = [&](std::string_view, bool) -> Result<std::shared_ptr<Storage>> { return made.data; };
    const auto driver = must(kFormat.open(made.image, open));
    EXPECT_EQ(driver->virtual_size(), size);
    if (size != 0) {
      const Mapping mapping = must(driver->map({{0}, size}));
      EXPECT_EQ(mapping.kind == MappingKind::data,
                (GetParam().contains("preallocation") || GetParam().contains("data_file_raw")) &&
                    !GetParam().contains("extended_l2"));
    }
    if (made.data != nullptr) {
      EXPECT_EQ(must(made.data->size()), size);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, EveryKind,
    testing::Values(Options{}, Options{{"compat", "0.10"}}, Options{{"cluster_size", "512"}, {"refcount_bits", "64"}},
                    Options{{"cluster_size", "512"}, {"refcount_bits", "1"}, {"preallocation", "metadata"}},
                    Options{{"cluster_size", "512"}, {"refcount_bits", "64"}, {"preallocation", "metadata"}},
                    Options{{"cluster_size", "1k"}, {"refcount_bits", "2"}, {"preallocation", "falloc"}},
                    Options{{"refcount_bits", "4"}, {"preallocation", "full"}}, Options{{"cluster_size", "2M"}},
                    Options{{"refcount_bits", "8"}, {"compression_type", "zstd"}},
                    Options{{"refcount_bits", "32"}, {"lazy_refcounts", "on"}}, Options{{"extended_l2", "on"}},
                    Options{{"extended_l2", "on"}, {"preallocation", "metadata"}, {"cluster_size", "16k"}},
                    Options{{"data_file", "d"}}, Options{{"data_file", "d"}, {"data_file_raw", "on"}}));

TEST(Qcow2Create, LargestL1IsCountedByMoreThanOneRefcountBlock) {
  const Made made = make(request_of(128ULL << 30U, {{"cluster_size", "512"}}));
  const CheckReport report = must(check(made.image, {}, {}));
  EXPECT_EQ(report.corruptions + report.leaks + report.check_errors, 0U);
}

TEST(Qcow2Create, CrashLeavesNoImageOrAllOfIt) {
  test::Random random("Qcow2Create");
  for (const auto& options : {Options{}, Options{{"cluster_size", "4k"}, {"preallocation", "metadata"}},
                              Options{{"cluster_size", "512"}, {"refcount_bits", "64"}}}) {
    const BackingReference backing =
        options.empty() ? BackingReference{"a backing file with a long name", "qcow2"} : BackingReference{};
    const auto request = request_of(1U << 20U, options, backing);
    const auto image = std::make_shared<MemoryStorage>();
    test::Journal journal;
    must(must(plan_create(request))->write(journal.add(image), nullptr));
    std::size_t whole = 0;
    journal.crash(random, 100, [&](const test::CrashImage& crash) {
      const auto header = read_header(*crash.devices[0], HeaderUse::write);
      if (!header) {
        EXPECT_ERRNO(header, EINVAL) << crash.what;
        EXPECT_EQ(header.error().message(), "not in qcow2 format") << crash.what;
        return true;
      }
      ++whole;
      EXPECT_EQ(header->backing_name, backing.name) << crash.what;
      EXPECT_EQ(header->size, request.size) << crash.what;
      const CheckReport report = must(check(crash.devices[0], {}, {}));
      EXPECT_EQ(report.corruptions + report.leaks + report.check_errors, 0U) << crash.what;
      return true;
    });
    EXPECT_GT(whole, 0U);
  }
}

}  // namespace
}  // namespace penstock::qcow2
