// SPDX-License-Identifier: Apache-2.0
/// penstock mount: an image as one flat raw file.
#include "cli/command.hpp"
#include "cli/serve_image.hpp"

#include "fuse/mountpoint.hpp"
#include "fuse/sandbox.hpp"

#include <memory>

namespace penstock::cli {

namespace {

struct Flags : MountFlags {
  std::string mountpoint;
  std::string sandbox = fuse::kSandboxByDefault ? "on" : "off";
};

int run_mount(const Flags& flags) {
  return serve_image(
      "mount", flags,
      {.place = [&flags] { return fuse::find_mountpoint(flags.mountpoint); }, .sandbox = flags.sandbox == "on"});
}

}  // namespace

Command mount_command() {
  auto flags = std::make_shared<Flags>();
  Command command{.name = "mount",
                  .help = "Present an image as one flat raw file",
                  .options = mount_options(*flags),
                  .run = runs(run_mount, flags)};
  command.options.push_back({"--sandbox",
                             "on|off",
                             &flags->sandbox,
                             "Keep the daemon from files, programs and rights that it does not need (default: on)",
                             {.choices = {"on", "off"}}});
  command.options.push_back({"mountpoint",
                             "MOUNTPOINT",
                             &flags->mountpoint,
                             "A directory, or a regular file that becomes the raw file",
                             {.required = true}});
  return command;
}

}  // namespace penstock::cli
