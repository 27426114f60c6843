// SPDX-License-Identifier: Apache-2.0
/// penstock umount: unmounts, and returns when the image is closed.
#include "cli/command.hpp"
#include "cli/common.hpp"

#include "base/text.hpp"
#include "control/client.hpp"

#include <memory>

namespace penstock::cli {

namespace {

Result<> unmount(const std::string& mountpoint) {
  const std::string socket = TRY(control::find_control_socket(mountpoint));
  auto client = control::Client::connect(socket);
  if (!client) return Failure(client.error().in(concat(mountpoint, ": cannot reach the daemon")));
  const auto done = client->execute("quit");
  if (!done) return Failure(done.error().in(mountpoint));
  return {};
}

}  // namespace

void add_umount(CLI::App& app, Command& chosen) {
  auto mountpoint = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("umount", "Unmount an image and wait until it is flushed and closed");
  command->add_option("mountpoint", *mountpoint, "Where the image is mounted")->type_name("MOUNTPOINT")->required();
  command->callback([mountpoint, &chosen] {
    chosen.run = [mountpoint] {
      const auto done = unmount(*mountpoint);
      return done ? kSuccess : report(done.error());
    };
  });
}

}  // namespace penstock::cli
