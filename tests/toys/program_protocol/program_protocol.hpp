// SPDX-License-Identifier: Apache-2.0
/// "program:SIZE,COMMAND": the first SIZE bytes of what a shell command writes to its standard output.
#pragma once

#include "storage/protocol.hpp"

namespace penstock::toys {

extern const Protocol kProgramProtocol;

}  // namespace penstock::toys
