// SPDX-License-Identifier: Apache-2.0
/// A file descriptor with an owner.
#pragma once

#include <unistd.h>

#include <utility>

namespace penstock {

/// Closed when it goes out of scope. Empty: -1. Source: close(2).
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(other.release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    if (this != &other) {
      reset();
      number_ = other.release();
    }
    return *this;
  }
  ~Descriptor() { reset(); }

  [[nodiscard]] int get() const noexcept { return number_; }
  [[nodiscard]] explicit operator bool() const noexcept { return number_ >= 0; }
  int release() noexcept { return std::exchange(number_, -1); }
  void reset() noexcept {
    if (const int number = release(); number >= 0) ::close(number);
  }

 private:
  int number_ = -1;
};

}  // namespace penstock
