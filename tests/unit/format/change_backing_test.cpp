// SPDX-License-Identifier: Apache-2.0
// Naming another backing file: the same promise in every format that has them.
#include "base/endian.hpp"
#include "base/text.hpp"
#include "format/qcow2/header.hpp"
#include "tests/support/expect.hpp"
#include "tests/support/random.hpp"
#include "tests/support/recording_storage.hpp"

#include <penstock/format.hpp>

#include <gtest/gtest.h>

namespace penstock {
namespace {

using test::must;

constexpr std::uint64_t kSize = 4U << 20U;

struct Kind {
  const char* name;
  const char* format;
  std::map<std::string, std::string> options;
  friend void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.name; }
};

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> all{
      {"qcow2_v3", "qcow2", {}},
      {"qcow2_v2", "qcow2", {{"compat", "0.10"}}},
      {"qcow2_small_clusters", "qcow2", {{"cluster_size", "512"}}},
      {"qed", "qed", {}},
      {"qed_small_clusters", "qed", {{"cluster_size", "4096"}}},
      {"add_cow", "add-cow", {{"image_file", "image.raw"}}},
  };
  return all;
}

class ChangeBacking : public testing::TestWithParam<Kind> {
 protected:
  void make(const BackingReference& backing) {
    const Format& format = *must(find_format(GetParam().format));
    CreateRequest request;
    request.size = kSize;
    request.backing = backing;
    request.backing_size = backing.name.empty() ? 0 : kSize;
    request.options = GetParam().options;
    const auto plan = must(format.plan_create(request));
    must(plan->write(file_, plan->data_file().empty() ? nullptr : data_));
  }
  [[nodiscard]] Result<std::unique_ptr<FormatDriver>> open(std::shared_ptr<Storage> file, bool writable) {
    FormatOpenOptions options{.writable = writable};
    options.open_file = [this](std::string_view, bool) -> Result<std::shared_ptr<Storage>> { return data_; };
    return must(find_format(GetParam().format))->open(std::move(file), options);
  }
  void expect_clean(const std::shared_ptr<Storage>& file, const std::string& what) {
    FormatOpenOptions options;
    options.open_file = [this](std::string_view, bool) -> Result<std::shared_ptr<Storage>> { return data_; };
    const auto report = must(must(find_format(GetParam().format))->check(file, options, {}));
    EXPECT_EQ(report.corruptions, 0U) << what;
  }
  /// What the format keeps of `backing`.
  [[nodiscard]] BackingReference kept(BackingReference backing) const {
    if (GetParam().format == std::string("qed") && backing.format != "raw") backing.format.clear();
    return backing;
  }

  std::shared_ptr<MemoryStorage> file_ = std::make_shared<MemoryStorage>();
  std::shared_ptr<MemoryStorage> data_ = std::make_shared<MemoryStorage>();
};

bool same(const BackingReference& one, const BackingReference& other) {
  return one.name == other.name && one.format == other.format;
}

TEST_P(ChangeBacking, NamesTheNewFileAfterReopening) {
  make({"base.img", "raw"});
  for (const BackingReference& next :
       {BackingReference{"other.qcow2", "qcow2"}, BackingReference{std::string(200, 'n'), "raw"},
        BackingReference{"b", "qed"}, BackingReference{"b", "raw"}, BackingReference{}}) {
    {
      const auto driver = must(open(file_, true));
      ASSERT_OK(driver->change_backing(next));
      EXPECT_TRUE(same(driver->backing(), kept(next))) << next.name;
      ASSERT_OK(driver->close());
    }
    const auto driver = must(open(file_, false));
    EXPECT_TRUE(same(driver->backing(), kept(next))) << next.name;
    expect_clean(file_, next.name);
  }
}

TEST_P(ChangeBacking, CrashLeavesTheOldNameOrTheNewOne) {
  test::Random random("CrashLeavesTheOldNameOrTheNewOne");
  const std::vector<BackingReference> choices{
      {"base.img", "raw"}, {"base.qcow2", "qcow2"}, {std::string(150, 'l'), "raw"}, {"x", "qed"}, {}};
  make(choices.front());
  BackingReference now = choices.front();
  for (unsigned step = 0; step < 12; ++step) {
    const auto next = choices[random.below(choices.size())];
    const bool complete = GetParam().format == std::string("add-cow") && now.name.empty();
    if (complete && !next.name.empty()) break;  // its raw file is used alone from then on, or nothing shows through
    test::Journal journal;
    {
      const auto driver = must(open(journal.add(file_), true));
      ASSERT_OK(driver->change_backing(next));
      ASSERT_OK(driver->close());
    }
    journal.crash(random, 60, [&](const test::CrashImage& crash) {
      const auto driver = open(crash.devices.front(), false);
      EXPECT_OK(driver) << crash.what;
      if (!driver) return false;
      const auto found = (*driver)->backing();
      const bool old_or_new = same(found, kept(now)) || same(found, kept(next));
      EXPECT_TRUE(old_or_new) << crash.what << ": '" << found.name << "' of format '" << found.format << "', not '"
                              << now.name << "' nor '" << next.name << "'";
      expect_clean(crash.devices.front(), crash.what);
      return old_or_new;
    });
    now = next;
  }
}

TEST_P(ChangeBacking, AutoStartIsRememberedUntilTheBackingFileGoes) {
  make({"base.img", "raw"});
  for (const AutoStart start : {AutoStart{true, true}, AutoStart{true, false}, AutoStart{}, AutoStart{true, true}}) {
    {
      const auto driver = must(open(file_, true));
      ASSERT_OK(driver->set_auto_start(start));
      ASSERT_OK(driver->close());
    }
    EXPECT_EQ(must(open(file_, false))->auto_start(), start);
  }
  {
    const auto driver = must(open(file_, true));
    ASSERT_OK(driver->change_backing({"other", "raw"}));
    EXPECT_EQ(driver->auto_start(), (AutoStart{true, true}));
    ASSERT_OK(driver->change_backing({}));
    ASSERT_OK(driver->close());
  }
  EXPECT_EQ(must(open(file_, false))->auto_start(), AutoStart{});
  expect_clean(file_, "after the drop");
}

TEST_P(ChangeBacking, NameWithoutRoomChangesNothing) {
  make({"base.img", "raw"});
  const auto driver = must(open(file_, true));
  EXPECT_FALSE(driver->change_backing({std::string(100000, 'n'), "raw"}));
  EXPECT_EQ(driver->backing().name, "base.img");
  ASSERT_OK(driver->close());
  EXPECT_EQ(must(open(file_, false))->backing().name, "base.img");
}

INSTANTIATE_TEST_SUITE_P(Formats, ChangeBacking, testing::ValuesIn(kinds()),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(ChangeBackingOfQcow2, ForeignExtensionsAndFieldsSurvive) {
  const Format& format = *must(find_format("qcow2"));
  auto file = std::make_shared<MemoryStorage>();
  CreateRequest request{.size = kSize, .backing = {"base.img", "raw"}, .backing_size = kSize};
  must(must(format.plan_create(request))->write(file, nullptr));
  auto header = must(qcow2::read_header(*file, qcow2::HeaderUse::read));
  header.header_length = 120;
  header.unknown_fields.assign(15, std::byte{0});
  header.unknown_fields[10] = std::byte{0x5a};
  header.extensions.push_back({0x12345678, std::vector<std::byte>(13, std::byte{0x77})});
  must(file->write({0}, must(qcow2::encode_header(header))));
  {
    const auto driver = must(format.open(file, {.writable = true}));
    must(driver->change_backing({"a-much-longer-name-than-before.qcow2", "qcow2"}));
    must(driver->set_auto_start({true, false}));
    must(driver->change_backing({}));
    must(driver->close());
  }
  const auto after = must(qcow2::read_header(*file, qcow2::HeaderUse::read));
  EXPECT_EQ(after.unknown_fields, header.unknown_fields);
  const auto found = std::ranges::find(after.extensions, 0x12345678U, &qcow2::Extension::type);
  ASSERT_NE(found, after.extensions.end());
  EXPECT_EQ(found->data, header.extensions.back().data);
  EXPECT_TRUE(after.backing_name.empty());
}

TEST(ChangeBackingOfAddCow, CompleteRawFileIsMarkedAsSuch) {
  const Format& format = *must(find_format("add-cow"));
  auto file = std::make_shared<MemoryStorage>();
  auto data = std::make_shared<MemoryStorage>();
  CreateRequest request{.size = kSize, .backing = {"base.img", "raw"}, .backing_size = kSize};
  request.options = {{"image_file", "image.raw"}};
  must(must(format.plan_create(request))->write(file, data));
  FormatOpenOptions options{.writable = true};
  options.open_file = [&](std::string_view, bool) -> Result<std::shared_ptr<Storage>> { return data; };
  {
    const auto driver = must(format.open(file, options));
    must(driver->publish(must(driver->reserve({{0}, kSize}))));
    must(driver->change_backing({}));
    EXPECT_TRUE(driver->capabilities().always_in_place);
    EXPECT_EQ(must(driver->map({{0}, kSize})).length, kSize);
    must(driver->close());
  }
  EXPECT_TRUE(must(format.open(file, options))->capabilities().always_in_place);
  EXPECT_EQ(must(format.check(file, options, {})).corruptions, 0U);
}

}  // namespace
}  // namespace penstock
