// SPDX-License-Identifier: Apache-2.0
// The crash check can fail: an engine that writes in a wrong order, as this program's can be told to, is caught. What
// it takes is told, so that the number of crash images of the other programs can be judged.
#include "base/broken_order.hpp"
#include "tests/crash/recorded_run.hpp"
#include "tests/support/expect.hpp"

namespace penstock::test {
namespace {

constexpr unsigned kOperations = 120;
constexpr std::size_t kImagesOfOneRun = 150;
constexpr unsigned kRunsMax = 12;

struct Broken {
  const char* name;
  Order order;
  const char* image;  ///< of cases()
  friend void PrintTo(const Broken& broken, std::ostream* out) { *out << broken.name; }
};

class BrokenOrder : public testing::TestWithParam<Broken> {
 protected:
  ~BrokenOrder() override { broken_order = Order::kept; }

  static const Case& image() {
    for (const Case& item : cases()) {
      if (item.shape.name == GetParam().image) return item;
    }
    throw std::logic_error("no such image");
  }
  /// Crash images up to the first with a problem; 0 when all of them are good.
  static std::size_t images_to_be_caught(Random& random, unsigned runs) {
    std::size_t number = 0;
    bool caught = false;
    for (unsigned run = 0; run < runs && !caught; ++run) {
      const RecordedRun recorded(image(), Start::make(image()), random,
                                 {.operations = kOperations, .wrap = {}, .heal = {}});
      recorded.journal().crash(random, kImagesOfOneRun, [&](const CrashImage& crash) {
        ++number;
        const auto problem = recorded.examine(crash, {});
        caught = !problem.empty();
        if (caught) std::printf("%s: caught by crash image %zu: %s\n", GetParam().name, number, problem.c_str());
        return !caught;
      });
    }
    return caught ? number : 0;
  }
};

TEST_P(BrokenOrder, IsCaughtByACrashAndTheRightOneIsNot) {
  Random random("BrokenOrder");
  EXPECT_EQ(images_to_be_caught(random, 1), 0U) << "the order is kept";
  broken_order = GetParam().order;
  EXPECT_NE(images_to_be_caught(random, kRunsMax), 0U);
}

INSTANTIATE_TEST_SUITE_P(
    Every, BrokenOrder,
    testing::Values(Broken{"refcount_after_table", Order::refcount_after_table, "v3_512"},
                    Broken{"refcount_after_table_v2", Order::refcount_after_table, "v2_backing"},
                    Broken{"table_before_data", Order::table_before_data, "v3_backing"},
                    Broken{"table_before_data_extended_l2", Order::table_before_data, "extended_l2"},
                    Broken{"table_before_data_qed", Order::table_before_data, "qed_backing"},
                    Broken{"bit_before_data", Order::bit_before_data, "add_cow_backing"},
                    Broken{"bit_before_data_streaming", Order::bit_before_data, "add_cow_backing_streaming"},
                    Broken{"finalise_before_flush", Order::finalise_before_flush, "v3_backing_streaming"},
                    Broken{"finalise_before_flush_qed", Order::finalise_before_flush, "qed_backing_streaming"},
                    Broken{"finalise_before_flush_add_cow", Order::finalise_before_flush, "add_cow_backing_streaming"}),
    [](const auto& param) { return param.param.name; });

}  // namespace
}  // namespace penstock::test
