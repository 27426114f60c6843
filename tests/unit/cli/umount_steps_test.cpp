// SPDX-License-Identifier: Apache-2.0
#include "cli/umount_steps.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace penstock::cli {
namespace {

StatusFacts mounted(std::size_t layers, const std::string& state) {
  StatusFacts facts{.format = "add-cow", .map = true};
  facts.layers.resize(layers);
  if (!state.empty()) facts.job = JobFacts{.state = state};
  return facts;
}

TEST(FirstStep, StartsAJobOnlyWhereThereIsSomethingToCopy) {
  EXPECT_EQ(first_step(mounted(1, "")), FirstStep::none);
  EXPECT_EQ(first_step(mounted(2, "")), FirstStep::start);
  EXPECT_EQ(first_step(mounted(2, "failed")), FirstStep::start);
  EXPECT_EQ(first_step(mounted(2, "cancelled")), FirstStep::start);
  EXPECT_EQ(first_step(mounted(2, "done")), FirstStep::none) << "the base was to stay";
  StatusFacts read_only = mounted(2, "");
  read_only.read_only = true;
  EXPECT_EQ(first_step(read_only), FirstStep::none);
}

TEST(FirstStep, WaitsForAJobAndResumesAPausedOne) {
  for (const char* state : {"running", "waiting", "finishing"}) {
    EXPECT_EQ(first_step(mounted(2, state)), FirstStep::wait) << state;
  }
  EXPECT_EQ(first_step(mounted(2, "paused")), FirstStep::resume);
}

TEST(DiscardMap, IsForCompletedAddCowImagesOnly) {
  StatusFacts complete = mounted(1, "done");
  complete.finalised = true;
  EXPECT_EQ(why_map_stays(complete, false), "");
  EXPECT_EQ(why_map_stays(complete, true), "");
  complete.format = "qcow2";
  complete.map = false;
  EXPECT_NE(why_map_stays(complete, false), "");
  EXPECT_NE(why_map_stays(complete, true), "");
}

TEST(DiscardMap, IsRefusedWhileTheMapIsNeeded) {
  EXPECT_NE(why_map_stays(mounted(2, ""), false), "");
  EXPECT_NE(why_map_stays(mounted(2, "running"), false), "");
  EXPECT_EQ(why_map_stays(mounted(2, "running"), true), "") << "it may be completed";
  EXPECT_EQ(why_map_stays(mounted(2, ""), true), "");
  EXPECT_NE(why_map_stays(mounted(1, ""), true), "") << "not completed by this mount";
  StatusFacts on_base = mounted(2, "running");
  on_base.job->base = "/srv/base.img";
  EXPECT_NE(why_map_stays(on_base, true), "");
  StatusFacts read_only = mounted(2, "");
  read_only.read_only = true;
  EXPECT_NE(why_map_stays(read_only, true), "");
}

TEST(Ending, IsReadFromTheAnswer) {
  const auto ending = ending_of(Json{{"outcome", "complete"}, {"message", "a\nb"}});
  ASSERT_TRUE(ending);
  EXPECT_EQ(ending->outcome, "complete");
  EXPECT_EQ(ending->message, "a\\x0ab");
  EXPECT_EQ(ending_of(Json::object())->message, "");
  EXPECT_FALSE(ending_of(Json::array()));
}

}  // namespace
}  // namespace penstock::cli
