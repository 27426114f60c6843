// SPDX-License-Identifier: Apache-2.0
/// Result to errno, here alone.
#pragma once

#include "fuse/request.hpp"

#include <penstock/error.hpp>

#include <string_view>

namespace penstock::fuse {

/// What the caller of read(2), write(2), ... sees for `error`. What a file on ext4 would never answer (EUCLEAN for a
/// damaged image, EBADF, EAGAIN, ...) becomes EIO. Logs damage and host failures, rate-limited; `operation` names the
/// request.
[[nodiscard]] int errno_for(const Error& error, std::string_view operation);

/// Answers with the error.
inline void reply_error(Request& request, const Error& error, std::string_view operation) {
  request.fail(errno_for(error, operation));
}

/// Answers success or the error.
inline void reply(Request& request, const Result<>& result, std::string_view operation) {
  if (!result) return reply_error(request, result.error(), operation);
  request.succeed();
}

}  // namespace penstock::fuse
