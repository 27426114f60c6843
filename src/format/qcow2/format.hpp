// SPDX-License-Identifier: Apache-2.0
/// qcow2 as the table of formats knows it.
#pragma once

#include <penstock/format.hpp>

namespace penstock::qcow2 {

extern const Format kFormat;

}  // namespace penstock::qcow2
