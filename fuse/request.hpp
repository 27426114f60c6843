// SPDX-License-Identifier: Apache-2.0
/// One request of the kernel, however it came, and the way back for its answer.
#pragma once

#include "fuse/protocol.hpp"

#include <algorithm>
#include <cstddef>
#include <span>
#include <string_view>

namespace penstock::fuse {

/// Threads: one at a time; another than the one that received it may serve it.
class Request {
 public:
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;

  [[nodiscard]] const fuse_in_header& header() const noexcept { return header_; }
  /// The operation's own structure; what the kernel did not send of it is zero. Once, before rest().
  template <typename T>
  [[nodiscard]] T take() {
    T out{};
    const auto length = std::min(sizeof out, fixed_.size());
    std::ranges::copy(fixed_.first(length), std::as_writable_bytes(std::span(&out, 1)).begin());
    if (contiguous_) rest_ = fixed_.subspan(length);
    return out;
  }
  /// What follows: a name, data to write.
  [[nodiscard]] std::span<const std::byte> rest() const noexcept {
    return contiguous_ && !rest_.data() ? fixed_ : rest_;
  }
  /// rest() up to its first zero.
  [[nodiscard]] std::string_view name() const noexcept {
    const auto bytes = rest();
    const auto end = std::ranges::find(bytes, std::byte{0});
    return {reinterpret_cast<const char*>(bytes.data()), static_cast<std::size_t>(end - bytes.begin())};
  }

  /// Whether it is better handed on than kept waiting for a disk.
  [[nodiscard]] bool must_not_wait() const noexcept { return must_not_wait_; }
  [[nodiscard]] bool answered() const noexcept { return answered_; }

  /// Page-aligned room for `size` bytes of an answer, which need not be copied from there.
  [[nodiscard]] virtual std::span<std::byte> room(std::size_t size) = 0;
  void answer(std::span<const std::byte> bytes) { finish(0, bytes); }
  template <typename T>
  void answer_with(const T& value) {
    finish(0, std::as_bytes(std::span(&value, 1)));
  }
  void succeed() { finish(0, {}); }
  void fail(int number) { finish(number, {}); }
  Request* next_handed_on = nullptr;  ///< of whoever keeps it until it is served

  /// Some requests want none.
  void leave_unanswered() noexcept { answered_ = true; }

 protected:
  Request() = default;
  ~Request() = default;

  virtual void send(int number, std::span<const std::byte> bytes) = 0;

  fuse_in_header header_{};
  std::span<const std::byte> fixed_;  ///< the structure; what follows it too, when `contiguous_`
  std::span<const std::byte> rest_;
  bool contiguous_ = true;
  bool must_not_wait_ = false;
  bool answered_ = false;

 private:
  void finish(int number, std::span<const std::byte> bytes) {
    if (answered_) return;
    answered_ = true;
    send(number, bytes);
  }
};

}  // namespace penstock::fuse
