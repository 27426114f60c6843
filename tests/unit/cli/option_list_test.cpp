// SPDX-License-Identifier: Apache-2.0
#include "cli/option_list.hpp"

#include <gtest/gtest.h>

namespace penstock::cli {
namespace {

using Options = std::map<std::string, std::string>;

TEST(OptionList, SplitsAtSingleCommas) {
  Options options;
  ASSERT_TRUE(add_options("cluster_size=4k,compat=1.1", options));
  EXPECT_EQ(options, (Options{{"cluster_size", "4k"}, {"compat", "1.1"}}));
}

TEST(OptionList, ADoubledCommaIsOneCommaOfTheValue) {
  Options options;
  ASSERT_TRUE(add_options("backing_file=a,,b.raw,backing_fmt=raw", options));
  EXPECT_EQ(options, (Options{{"backing_file", "a,b.raw"}, {"backing_fmt", "raw"}}));
}

TEST(OptionList, ALaterValueWins) {
  Options options;
  ASSERT_TRUE(add_options("a=1", options));
  ASSERT_TRUE(add_options("a=2,b=x=y", options));
  EXPECT_EQ(options, (Options{{"a", "2"}, {"b", "x=y"}}));
}

TEST(OptionList, AKeyAloneIsOn) {
  Options options;
  ASSERT_TRUE(add_options("lazy_refcounts,", options));
  EXPECT_EQ(options, (Options{{"lazy_refcounts", "on"}}));
}

TEST(OptionList, RefusesAnEmptyKey) {
  Options options;
  EXPECT_FALSE(add_options("", options));
  EXPECT_FALSE(add_options("=1", options));
  EXPECT_FALSE(add_options(",a=1", options));
}

TEST(OptionList, KnowsWhenHelpIsWanted) {
  EXPECT_TRUE(asks_for_help("help"));
  EXPECT_TRUE(asks_for_help("a=1,?"));
  EXPECT_FALSE(asks_for_help("a=help"));
  EXPECT_FALSE(asks_for_help("a=b,,help"));
}

}  // namespace
}  // namespace penstock::cli
