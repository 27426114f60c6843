// SPDX-License-Identifier: Apache-2.0
/// Results in tests: the message of an error is the message of the failure.
#pragma once

#include <penstock/error.hpp>

#include <gtest/gtest.h>

#include <stdexcept>

namespace penstock::test {

template <typename T>
[[nodiscard]] testing::AssertionResult succeeded(const Result<T>& result) {
  if (result) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "errno " << result.error().number() << ": " << result.error().message();
}

template <typename T>
[[nodiscard]] testing::AssertionResult failed_with(const Result<T>& result, int number) {
  if (result) return testing::AssertionFailure() << "it succeeded";
  if (result.error().is(number)) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "errno " << result.error().number() << ": " << result.error().message();
}

/// The value, or an exception that ends the test with the message.
template <typename T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message());
  if constexpr (!std::is_void_v<T>) return *std::move(result);
}

}  // namespace penstock::test

/// `expression` gives a Result that holds a value.
#define EXPECT_OK(expression) EXPECT_TRUE(::penstock::test::succeeded(expression))
#define ASSERT_OK(expression) ASSERT_TRUE(::penstock::test::succeeded(expression))
/// `expression` gives a Result that holds an error with this errno.
#define EXPECT_ERRNO(expression, number) EXPECT_TRUE(::penstock::test::failed_with(expression, number))
