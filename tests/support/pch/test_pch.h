// SPDX-License-Identifier: Apache-2.0
/// What most tests include, parsed once. Each file still includes what it uses, so that it compiles without this one.
#include <penstock/image.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>
