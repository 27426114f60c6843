// SPDX-License-Identifier: Apache-2.0
#include <penstock/error.hpp>

#include <system_error>

namespace penstock {

Failure system_failure(std::string_view what) {
  return system_failure(what, errno);
}

Failure system_failure(std::string_view what, int number) {
  std::string message(what);
  message.append(": ").append(std::generic_category().message(number));
  return fail(number, std::move(message));
}

}  // namespace penstock
