// SPDX-License-Identifier: Apache-2.0
/// Whether the file system that was just mounted answers.
#pragma once

#include <penstock/error.hpp>

#include <memory>
#include <string>

#include <sys/types.h>

namespace penstock::fuse {

/// Asks for the attributes of the view, as anybody else would, from a process of its own. No thread of the daemon may
/// ask: if the daemon died meanwhile, it would wait for the end of that thread, which waits for an answer of the
/// daemon, for ever, with the image locked.
class FirstLook {
 public:
  /// The process is made before the mount, so that it has nothing that belongs to the connection with the kernel, which
  /// must end with the daemon. The calling thread must be the only one.
  [[nodiscard]] static Result<std::unique_ptr<FirstLook>> prepare(const std::string& path);
  FirstLook(const FirstLook&) = delete;
  FirstLook& operator=(const FirstLook&) = delete;
  ~FirstLook();

  /// Looks, and waits for the answer, which comes when requests are served or when the mount has ended. Once.
  [[nodiscard]] Result<> take();

 private:
  FirstLook(int socket, pid_t child, std::string path) : socket_(socket), child_(child), path_(std::move(path)) {}
  [[noreturn]] static void look(const char* path, int socket);

  const int socket_;
  const pid_t child_;
  const std::string path_;
};

}  // namespace penstock::fuse
