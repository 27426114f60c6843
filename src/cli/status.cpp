// SPDX-License-Identifier: Apache-2.0
/// penstock status: what the daemon of a mounted image says about itself.
#include "cli/command.hpp"
#include "cli/common.hpp"
#include "cli/human.hpp"
#include "cli/json_text.hpp"

#include "base/text.hpp"
#include "control/client.hpp"

#include <memory>

namespace penstock::cli {

namespace {

struct Flags {
  std::string mountpoint;
  bool json = false;
};

Result<Json> ask(const std::string& mountpoint) {
  const std::string socket = TRY(control::find_control_socket(mountpoint));
  auto client = control::Client::connect(socket);
  if (!client) return Failure(client.error().in(concat(mountpoint, ": cannot reach the daemon")));
  auto status = client->execute("query-penstock");
  if (!status) return Failure(status.error().in(mountpoint));
  return status;
}

std::string size_of(const Json& object, const char* key) {
  return human_size(object.value(key, std::uint64_t{0}));
}

std::string text_of(const Json& object, const char* key) {
  return printable(object.value(key, ""));
}

std::string describe(const Json& status) {
  std::string out = concat(
      "image: ", text_of(status, "image"), "\nfile format: ", text_of(status, "format"),
      "\nvirtual size: ", size_of(status, "virtual-size"), " (", status.value("virtual-size", std::uint64_t{0}),
      " bytes)\ndisk size: ", size_of(status, "actual-size"), "\nraw file: ", text_of(status, "view"),
      "\naccess: ", status.value("read-only", false) ? "read-only" : "read-write",
      status.value("resizable", false) ? ", resizable" : "", "\ndiscard: ", text_of(status, "discard"),
      "\ndetect zeroes: ", text_of(status, "detect-zeroes"), "\nthreads: ", status.value("threads", std::uint64_t{0}),
      "\ncache memory: ", size_of(status, "cache-bytes"), " of ", size_of(status, "cache-bytes-max"),
      "\nprocess: ", status.value("pid", std::uint64_t{0}), "\ncontrol socket: ", text_of(status, "control"),
      "\nlayers, from the top down:\n");
  for (const Json& layer : status.value("layers", Json::array())) {
    out += concat("    ", text_of(layer, "filename"), " (", text_of(layer, "format"), ", virtual size ",
                  size_of(layer, "virtual-size"), ", disk size ", size_of(layer, "actual-size"), ")\n");
  }
  return out;
}

int run_status(const Flags& flags) {
  const auto status = ask(flags.mountpoint);
  if (!status) return report(status.error());
  print(flags.json ? json_text(*status) : describe(*status));
  return finish_output(kSuccess);
}

}  // namespace

void add_status(CLI::App& app, Command& chosen) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand("status", "Show what a mounted image is made of and how it is served");
  command->add_flag("--json", flags->json, "Print JSON");
  command->add_option("mountpoint", flags->mountpoint, "Where the image is mounted")
      ->type_name("MOUNTPOINT")
      ->required();
  command->callback([flags, &chosen] { chosen.run = [flags] { return run_status(*flags); }; });
}

}  // namespace penstock::cli
