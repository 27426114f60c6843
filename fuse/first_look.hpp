// SPDX-License-Identifier: Apache-2.0
/// Whether the file system that was just mounted answers.
#pragma once

#include <penstock/error.hpp>

#include "base/descriptor.hpp"

#include <memory>
#include <string>

namespace penstock::fuse {

/// Asks for the attributes of the view, as anybody else would, from a process beside the daemon. No thread of the
/// daemon may ask: if the daemon died meanwhile, it would wait for the end of that thread, which waits for an answer of
/// the daemon, for ever, with the image locked.
class FirstLook {
 public:
  /// `socket`: to look_when_told(). The path is told now, before the daemon shuts itself in.
  [[nodiscard]] static Result<std::unique_ptr<FirstLook>> prepare(Descriptor socket, const std::string& path);
  FirstLook(const FirstLook&) = delete;
  FirstLook& operator=(const FirstLook&) = delete;

  /// Looks, and waits for the answer, which comes when requests are served or when the mount has ended. Once.
  [[nodiscard]] Result<> take();

 private:
  FirstLook(Descriptor socket, std::string path) : socket_(std::move(socket)), path_(std::move(path)) {}

  const Descriptor socket_;
  const std::string path_;
};

/// The other end's work, in the process beside the daemon, which has nothing that belongs to the connection with the
/// kernel: that must end with the daemon. Looks once, at the path that it is told first.
void look_when_told(int socket) noexcept;

}  // namespace penstock::fuse
