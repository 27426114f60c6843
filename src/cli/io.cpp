// SPDX-License-Identifier: Apache-2.0
/// penstock io: reads and writes an image by commands, in qemu-io's language.
#include "cli/command.hpp"
#include "cli/common.hpp"
#include "cli/image_flags.hpp"
#include "cli/io_commands.hpp"

#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

namespace penstock::cli {

namespace {

struct Flags {
  std::string image;
  std::string format;
  std::string discard = "unmap";
  std::vector<std::string> commands;
  bool read_only = false;
  bool force_share = false;
};

/// One pass over the commands of -c; false when any failed.
bool run_given(IoSession& session, const std::vector<std::string>& commands) {
  bool all_done = true;
  for (const std::string& line : commands) {
    const IoOutcome outcome = run_io_line(session, line);
    if (outcome == IoOutcome::quit) break;
    all_done = all_done && outcome == IoOutcome::done;
  }
  return all_done;
}

/// Commands from standard input, with a prompt where a person types them.
bool run_typed(IoSession& session) {
  const bool prompt = isatty(STDIN_FILENO) == 1;
  bool all_done = true;
  for (std::string line;;) {
    if (prompt) std::fputs("penstock-io> ", stdout);
    std::fflush(stdout);
    if (!std::getline(std::cin, line)) break;
    const IoOutcome outcome = run_io_line(session, line);
    if (outcome == IoOutcome::quit) break;
    all_done = all_done && outcome == IoOutcome::done;
  }
  return all_done;
}

int run_io(const Flags& flags) {
  ImageOptions options;
  options.format = flags.format;
  options.writable = !flags.read_only;
  options.lock = !flags.force_share;
  const auto image = Image::open(flags.image, options);
  if (!image) return report(image.error());
  const bool ignore = flags.discard == "ignore" || flags.discard == "off";
  IoSession session{
      .image = **image, .image_name = flags.image, .discard = ignore ? DiscardMode::ignore : DiscardMode::unmap};
  const bool all_done = flags.commands.empty() ? run_typed(session) : run_given(session, flags.commands);
  std::fflush(stdout);
  // What was written is only safe once the image is closed: a failure here is a failure of the whole run.
  if (const auto closed = (*image)->close(); !closed) return report(closed.error());
  return finish_output(all_done ? kSuccess : kFailure);
}

}  // namespace

Command io_command() {
  auto flags = std::make_shared<Flags>();
  return {.name = "io",
          .help = "Read and write an image by commands, as qemu-io does",
          .options =
              {
                  format_option(flags->format),
                  {"-r,--read-only", "", &flags->read_only, "Open the image read-only"},
                  {"-d,--discard",
                   "MODE",
                   &flags->discard,
                   "What discards do: unmap (or on), the default, or ignore (or off)",
                   {.choices = {"ignore", "off", "unmap", "on"}}},
                  {"-c,--cmd", "COMMAND", &flags->commands, "Run this command; may be given many times"},
                  share_option(flags->force_share),
                  image_argument(flags->image),
              },
          .run = runs(run_io, flags)};
}

}  // namespace penstock::cli
