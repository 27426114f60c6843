// SPDX-License-Identifier: Apache-2.0
/// penstock attach: an image as a block device.
///
/// The process that serves the image makes the loop device too, before it lets the command return: so a failure, or ^C,
/// at any moment ends with the one process that can undo all of it.
#include "cli/attach_place.hpp"
#include "cli/command.hpp"
#include "cli/common.hpp"
#include "cli/human.hpp"
#include "cli/loop_device.hpp"
#include "cli/serve_image.hpp"
#include "cli/size.hpp"

#include "base/text.hpp"

#include <unistd.h>

#include <cstdio>
#include <memory>
#include <optional>
#include <string>

namespace penstock::cli {

namespace {

struct Flags : MountFlags {
  unsigned sector_size = 0;
};

/// What one attachment is made of, to be undone in any order and as often as anybody asks.
class Attachment {
 public:
  explicit Attachment(const Flags& flags) : flags_(flags) {}

  Result<fuse::Mountpoint> place() {
    place_ = TRY(AttachPlace::make(flags_.image));
    auto found = fuse::find_mountpoint(place_->view());
    if (!found) undo();
    return found;
  }

  Result<> ready(const std::string& view) {
    AttachedLoop loop = TRY(attach_loop(view, {.read_only = is_read_only(view), .sector_size = flags_.sector_size}));
    device_ = loop.device;
    for (const std::string& warning : loop.warnings) print_error(warning);
    print(concat(device_, '\n'));
    return std::fflush(stdout) == 0 ? Result<>() : system_failure("standard output");
  }

  /// Whatever was written to a device that nobody uses reaches the image. One in use is cut off, as a disk is.
  void let_go() {
    const auto name = loop_name(device_);
    if (device_.empty() || !name) return;
    auto held = HeldLoop::hold(*name);
    if (!held || !held->flush()) return;
    static_cast<void>(held->detach(std::chrono::seconds(5)));
  }

  void undo() {
    if (!device_.empty()) release_loop(device_, place_->view());
    device_.clear();
    if (place_) place_->remove();
  }

 private:
  /// Root may open any file for writing; the mount knows.
  static bool is_read_only(const std::string& view) { return access(view.c_str(), W_OK) != 0; }

  const Flags& flags_;
  std::optional<AttachPlace> place_;
  std::string device_;
};

/// 4k is 4096.
Result<std::string> sector_size(const std::string& text) {
  const auto size = parse_size(text);
  if (!size || (*size != 512 && *size != 1024 && *size != 2048 && *size != 4096)) {
    return fail(EINVAL, concat("'", text, "' is not 512, 1024, 2048 or 4096"));
  }
  return std::to_string(*size);
}

int run_attach(const Flags& flags) {
  if (geteuid() != 0) {
    print_error("attach: loop devices are for root; run it as root, or use 'penstock mount', which gives a file");
    return kFailure;
  }
  Attachment attachment(flags);
  return serve_image("attach", flags,
                     {.place = [&attachment] { return attachment.place(); },
                      .ready = [&attachment](const std::string& view) { return attachment.ready(view); },
                      .let_go = [&attachment] { attachment.let_go(); },
                      .undo = [&attachment] { attachment.undo(); }});
}

}  // namespace

Command attach_command() {
  auto flags = std::make_shared<Flags>();
  Command command{.name = "attach",
                  .help = "Present an image as a block device, /dev/loopN, and print its name",
                  .options = mount_options(*flags),
                  .run = runs(run_attach, flags)};
  command.options.push_back(
      {"--sector-size",
       "N",
       &flags->sector_size,
       "Logical block size of the device in bytes (default: what the partition table was made for, or 512)",
       {.choices = {"512", "1024", "2048", "4096"}, .convert = sector_size}});
  return command;
}

}  // namespace penstock::cli
