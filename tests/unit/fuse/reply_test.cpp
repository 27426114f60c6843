// SPDX-License-Identifier: Apache-2.0
#include "fuse/reply.hpp"

#include <gtest/gtest.h>

namespace penstock::fuse {
namespace {

TEST(ErrnoFor, DamageAndInternalErrorsAreEio) {
  for (const int number : {EUCLEAN, EBADF, EAGAIN, EIO, ENOENT, EACCES, ETIMEDOUT}) {
    EXPECT_EQ(errno_for(Error(number, "x"), "read"), EIO) << number;
  }
}

TEST(ErrnoFor, WhatAFileWouldAnswerStays) {
  for (const int number : {ENOSPC, EFBIG, EINVAL, EROFS, EPERM, EOPNOTSUPP, ENXIO, ENOMEM, EDQUOT}) {
    EXPECT_EQ(errno_for(Error(number, "x"), "write"), number);
  }
}

}  // namespace
}  // namespace penstock::fuse
