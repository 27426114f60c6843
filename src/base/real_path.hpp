// SPDX-License-Identifier: Apache-2.0
/// realpath(3) with the memory taken care of.
#pragma once

#include <penstock/error.hpp>

#include <cstdlib>
#include <memory>
#include <string>

namespace penstock {

/// Absolute, without symbolic links, "." and "..". Errors: the system's, with `path` in front.
[[nodiscard]] inline Result<std::string> real_path(const std::string& path) {
  const std::unique_ptr<char, void (*)(void*)> resolved(realpath(path.c_str(), nullptr), std::free);
  if (!resolved) return system_failure(path);
  return std::string(resolved.get());
}

}  // namespace penstock
