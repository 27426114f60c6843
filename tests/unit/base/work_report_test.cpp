// SPDX-License-Identifier: Apache-2.0
#include "base/work_report.hpp"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace penstock {
namespace {

TEST(WorkReport, OnlyTheInnermostListenerOfTheThreadHears) {
  tell_work(1, 10);  // nobody listens
  std::vector<std::uint64_t> outer;
  std::vector<std::uint64_t> inner;
  {
    const WorkListener first([&outer](std::uint64_t done, std::uint64_t) { outer.push_back(done); });
    tell_work(2, 10);
    {
      const WorkListener second([&inner](std::uint64_t done, std::uint64_t) { inner.push_back(done); });
      tell_work(3, 10);
      std::thread([] { tell_work(4, 10); }).join();
    }
    tell_work(5, 10);
  }
  tell_work(6, 10);
  EXPECT_EQ(outer, (std::vector<std::uint64_t>{2, 5}));
  EXPECT_EQ(inner, (std::vector<std::uint64_t>{3}));
}

}  // namespace
}  // namespace penstock
