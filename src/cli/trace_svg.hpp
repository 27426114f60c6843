// SPDX-License-Identifier: Apache-2.0
/// A trace as a picture.
#pragma once

#include "cli/trace_file.hpp"

#include <string>
#include <vector>

namespace penstock::cli {

/// Three diagrams below each other: where on the disk requests went, over time; how many there were a second; and how
/// long they took. add() all records, then svg(). Memory and the length of the picture do not depend on their number.
class TracePicture {
 public:
  /// `summary` must live as long.
  explicit TracePicture(const TraceSummary& summary);

  void add(const fuse::TraceRecord& record);
  /// A whole XML document. `name`: of the image; any bytes.
  [[nodiscard]] std::string svg(std::string_view name) const;

 private:
  static constexpr unsigned kColumns = 240;
  static constexpr unsigned kRows = 100;
  static constexpr unsigned kSeconds = 120;  ///< columns of the second diagram

  [[nodiscard]] std::string pattern_svg() const;
  [[nodiscard]] std::string rates_svg() const;
  [[nodiscard]] std::string latencies_svg() const;
  [[nodiscard]] std::string time_axis_svg(unsigned y) const;
  [[nodiscard]] std::string legend_svg() const;
  [[nodiscard]] double part_of_time(std::uint64_t nanoseconds) const;

  const TraceSummary& summary_;
  std::vector<std::vector<std::uint32_t>> cells_;  ///< by kind: requests that touched a cell
  std::vector<std::vector<std::uint32_t>> rates_;  ///< by kind: requests in a column of time
};

}  // namespace penstock::cli
