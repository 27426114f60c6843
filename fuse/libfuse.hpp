// SPDX-License-Identifier: Apache-2.0
/// The one way in which libfuse's low-level API is included.
#pragma once

#define FUSE_USE_VERSION 314
#include <fuse3/fuse_lowlevel.h>
