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

}  // namespace

void add_mount(CLI::App& app, Command& chosen) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand("mount", "Present an image as one flat raw file");
  add_mount_flags(*command, *flags);
  command
      ->add_option("--sandbox", flags->sandbox,
                   "Keep the daemon from files, programs and rights that it does not need (default: on)")
      ->type_name("on|off")
      ->check(CLI::IsMember({"on", "off"}));
  command->add_option("mountpoint", flags->mountpoint, "A directory, or a regular file that becomes the raw file")
      ->type_name("MOUNTPOINT")
      ->required();
  command->callback([flags, &chosen] {
    chosen.run = [flags] {
      return serve_image(
          "mount", *flags,
          {.place = [flags] { return fuse::find_mountpoint(flags->mountpoint); }, .sandbox = flags->sandbox == "on"});
    };
  });
}

}  // namespace penstock::cli
