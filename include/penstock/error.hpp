// SPDX-License-Identifier: Apache-2.0
/// Failures as values: an errno for the kernel and one line for the person.
#pragma once

#include <cerrno>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace penstock {

/// Why a call failed.
/// The message says who, where and what, without a final full stop; each layer puts its name in front with in().
/// Threads: a value like any other.
class [[nodiscard]] Error {
 public:
  /// `number` is an errno value (errno(3)), `message` one line without a line break.
  Error(int number, std::string message) : number_(number), message_(std::move(message)) {}

  /// The call would have had to wait, which whoever runs the thread forbids for now (penstock/wait.hpp). It has done
  /// nothing, and nobody is told: no text, so that it costs nothing.
  [[nodiscard]] static Error would_wait() noexcept {
    Error error(EAGAIN, {});
    error.would_wait_ = true;
    return error;
  }
  [[nodiscard]] bool is_would_wait() const noexcept { return would_wait_; }

  [[nodiscard]] int number() const noexcept { return number_; }
  [[nodiscard]] const std::string& message() const noexcept { return message_; }
  [[nodiscard]] bool is(int number) const noexcept { return number_ == number; }

  /// The same error with "who: " in front.
  [[nodiscard]] Error in(std::string_view who) const {
    if (would_wait_) return *this;
    std::string longer(who);
    longer.append(": ").append(message_);
    return {number_, std::move(longer)};
  }

 private:
  int number_;
  bool would_wait_ = false;
  std::string message_;
};

/// A value, or why there is none.
template <typename T = void>
using Result = std::expected<T, Error>;

/// An Error on its way into a Result.
using Failure = std::unexpected<Error>;

/// A failure with this errno and message, to be returned from a function that gives a Result.
[[nodiscard]] inline Failure fail(int number, std::string message) {
  return Failure(Error(number, std::move(message)));
}

/// The image breaks a rule of its format; a guest sees EIO.
[[nodiscard]] inline Failure corrupt(std::string message) {
  return fail(EUCLEAN, std::move(message));
}

/// The format or the host cannot do this; nothing was changed and the caller may take another way.
[[nodiscard]] inline Failure unsupported(std::string message) {
  return fail(EOPNOTSUPP, std::move(message));
}

/// The errno of a failed system call, spelled out as strerror(3) does.
[[nodiscard]] Failure system_failure(std::string_view what);
[[nodiscard]] Failure system_failure(std::string_view what, int number);

}  // namespace penstock

#define PENSTOCK_JOIN_(a, b) a##b
#define PENSTOCK_JOIN(a, b) PENSTOCK_JOIN_(a, b)
#define PENSTOCK_TRY(result, expression)                                \
  __extension__({                                                       \
    auto result = (expression);                                         \
    if (!result) return ::penstock::Failure(std::move(result).error()); \
    *std::move(result);                                                 \
  })
/// The value of a Result, or leaves the function with its error.
#define TRY(expression) PENSTOCK_TRY(PENSTOCK_JOIN(try_result_, __COUNTER__), expression)
