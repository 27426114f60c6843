// SPDX-License-Identifier: Apache-2.0
/// The bytes of QMP: JSON objects one after the other, and the shapes of greeting, answer and error.
/// Source: QEMU's docs/interop/qmp-spec.
#pragma once

#include <penstock/error.hpp>

#include "base/json.hpp"

#include <cstddef>
#include <deque>
#include <string>
#include <string_view>

namespace penstock::control {

inline constexpr std::size_t kMessageBytesMax = 1U << 20U;
inline constexpr unsigned kNestingMax = 64;

/// Cuts a stream of bytes into JSON objects. Line ends between them are not needed: several QMP clients send none.
/// Units: bytes. Threads: one at a time. Memory: at most `message_bytes_max`.
class Framer {
 public:
  explicit Framer(std::size_t message_bytes_max = kMessageBytesMax) : message_bytes_max_(message_bytes_max) {}

  /// Takes in more bytes. Each complete message, or each line that does not begin with '{', becomes ready for next().
  /// Errors: EMSGSIZE for a message that is too long or nested too deeply; the stream cannot be followed any further.
  [[nodiscard]] Result<> feed(std::string_view bytes);
  /// The oldest complete message; empty when there is none.
  [[nodiscard]] std::string next();
  [[nodiscard]] bool has_next() const noexcept { return !ready_.empty(); }

 private:
  void finish();

  std::size_t message_bytes_max_;
  std::string message_;
  std::deque<std::string> ready_;
  unsigned depth_ = 0;
  bool in_string_ = false;
  bool escaped_ = false;
};

/// One line, with its line end; invalid UTF-8 (file names may be any bytes) is replaced.
[[nodiscard]] std::string to_line(const Json& message);

[[nodiscard]] Json greeting(std::string_view version);
/// `id` is the request's, null: none.
[[nodiscard]] Json answer(Json result, const Json& id);
[[nodiscard]] Json failure(std::string_view error_class, std::string_view description, const Json& id);

}  // namespace penstock::control
