// SPDX-License-Identifier: Apache-2.0
// A compressed cluster, deflate or zstd: refused, or the whole cluster. What our own packing makes is unpacked again.
#include "tests/fuzz/fuzz.hpp"

#include "format/qcow2/compressed.hpp"

#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace penstock;
  fuzz::Input input(data, size);
  const auto choice = input.number(1);
  const auto type = static_cast<std::uint8_t>(choice & 1U);
  const std::size_t cluster_size = 512ULL << (choice >> 1U) % 8U;
  const auto packed = input.rest();
  std::vector<std::byte> cluster(cluster_size);
  if (fuzz::told(qcow2::unpack_cluster(type, packed, cluster))) {
    const auto again = qcow2::pack_cluster(type, cluster);
    if (fuzz::told(again) && *again) {
      std::vector<std::byte> found(cluster_size);
      fuzz::demand(qcow2::unpack_cluster(type, **again, found).has_value() && found == cluster,
                   "what was packed is unpacked");
    }
  }
  return 0;
}
