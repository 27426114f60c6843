// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/storage.hpp>

namespace penstock {

/// Has the host begin to store what was written to `range`, so that a later flush() finds less to wait for. A hint:
/// nothing is durable by it, and where the storage is no file of the host nothing happens. May wait where the disk has
/// more to do than it takes. Source: sync_file_range(2).
void begin_write_back(const Storage& storage, HostRange range) noexcept;

}  // namespace penstock
