// SPDX-License-Identifier: Apache-2.0
/// Who uses a block device, for a message that says what to do.
#pragma once

#include <optional>
#include <string>

namespace penstock::cli {

/// What holds /dev/NAME or one of its partitions exclusively: "/dev/loop3p1 is mounted at /mnt; unmount that first".
/// Nothing when nobody was found. Source: /proc/*/mountinfo, /proc/swaps, sysfs "holders".
[[nodiscard]] std::optional<std::string> holder_of_device(const std::string& name);

/// A process that has it open: "/dev/loop3 is open in dd (process 17); ...".
/// Nothing when there is none, or not to be seen. Source: /proc/*/fd.
[[nodiscard]] std::optional<std::string> opener_of_device(const std::string& name);

}  // namespace penstock::cli
