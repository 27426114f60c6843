// SPDX-License-Identifier: Apache-2.0
#include "fuse/reply.hpp"

#include "base/log.hpp"
#include "base/text.hpp"

namespace penstock::fuse {

int errno_for(const Error& error, std::string_view operation) {
  switch (error.number()) {
    // The caller asked for what cannot be: nothing is wrong with the image.
    case EFBIG:
    case EINVAL:
    case ENXIO:
    case EOPNOTSUPP:
    case EPERM:
    case EROFS:
    case ENODATA:
    case ERANGE:
      return error.number();
    case ENOSPC:
    case EDQUOT:
    case ENOMEM:
      log_limited(LogLevel::error, concat(error.message(), " (", operation, ")"));
      return error.number();
    default:
      log_limited(LogLevel::error, concat(error.message(), " (", operation, ")"));
      return EIO;
  }
}

}  // namespace penstock::fuse
