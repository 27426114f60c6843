// SPDX-License-Identifier: Apache-2.0
/// Unix sockets in the user's private runtime directory.
#pragma once

#include <penstock/error.hpp>

#include <string>

namespace penstock::control {

/// A file descriptor that is closed with its owner.
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
  int release() noexcept {
    const int number = number_;
    number_ = -1;
    return number;
  }
  void reset() noexcept;

 private:
  int number_ = -1;
};

/// The directory for control sockets: /run/penstock for root, else $XDG_RUNTIME_DIR/penstock, else
/// /tmp/penstock-UID. Made with mode 0700 when missing. Errors: EPERM when somebody else owns it or may write to it.
[[nodiscard]] Result<std::string> runtime_directory();

struct ListeningSocket {
  Descriptor descriptor;  ///< non-blocking
  std::string path;       ///< absolute
};
/// Listens on a new socket `DIRECTORY/NAME.sock` and removes the sockets of dead daemons found beside it.
[[nodiscard]] Result<ListeningSocket> listen_on(const std::string& directory, const std::string& name);

[[nodiscard]] Result<Descriptor> connect_to(const std::string& path);

/// Whether the process at the other end runs as this user or as root. Source: unix(7), SO_PEERCRED.
[[nodiscard]] bool is_same_user(int socket);

}  // namespace penstock::control
