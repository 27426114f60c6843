// SPDX-License-Identifier: Apache-2.0
/// What nearly every file includes, parsed once for each library. Each file still includes what it uses: the package is
/// built without this one (-Db_pch=false). No header of CLI11 or of the JSON library: few files want those, and all
/// would have to load them.
#include <penstock/format.hpp>
#include <penstock/image.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <variant>
#include <vector>
