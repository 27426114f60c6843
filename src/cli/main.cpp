// SPDX-License-Identifier: Apache-2.0
#include "cli/command.hpp"
#include "cli/common.hpp"
#include "cli/completion.hpp"
#include "cli/human.hpp"
#include "cli/version.hpp"

#include "base/text.hpp"

#include <fcntl.h>

#include <cerrno>
#include <csignal>
#include <exception>
#include <iostream>
#include <new>

namespace penstock::cli {

namespace {

/// The subcommand that was named, or nothing when the command line did not get that far.
std::string named_command(const CLI::App& app) {
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (command->parsed()) return command->get_name();
  }
  return {};
}

/// CLI11's messages may span lines; ours are one.
std::string one_line(std::string text) {
  while (text.ends_with('\n')) text.pop_back();
  for (char& character : text) {
    if (character == '\n') character = ' ';
  }
  return text;
}

/// A standard stream that the caller closed would become the descriptor of the next file that is opened: of an image,
/// into which messages would be written.
void open_standard_streams() {
  for (int stream = 0; stream <= 2; ++stream) {
    // The lowest free number is the one that is missing.
    if (fcntl(stream, F_GETFD) == -1 && errno == EBADF) static_cast<void>(open("/dev/null", O_RDWR));
  }
}

int print_completion(const CLI::App& app, const std::string& shell) {
  const auto script = completion_script(app, shell);
  if (!script) return usage_error("", script.error().message());
  print(*script);
  return finish_output(kSuccess);
}

int run(int count, char** arguments) {
  CLI::App app("Presents a layered disk image as one flat raw file.", "penstock");
  app.set_version_flag("--version", version_text);
  app.set_help_flag("-h,--help", "Print this help and exit");
  // For the build, which installs what it prints; in no group: not in --help.
  std::string completion_shell;
  app.add_option("--print-completion", completion_shell)->group("");
  app.require_subcommand(0, 1);
  Command chosen;
  // One line a subcommand, in the order of --help.
  add_mount(app, chosen);
  add_umount(app, chosen);
  add_status(app, chosen);
  add_stream(app, chosen);
  add_trace(app, chosen);
  add_create(app, chosen);
  add_info(app, chosen);
  add_map(app, chosen);
  add_check(app, chosen);
  add_compare(app, chosen);
  add_convert(app, chosen);
  add_rebase(app, chosen);
  add_commit(app, chosen);
  add_measure(app, chosen);
  add_resize(app, chosen);
  add_io(app, chosen);
  try {
    app.parse(count, arguments);
  } catch (const CLI::Success& asked) {  // --help, --version
    static_cast<void>(app.exit(asked));
    std::cout.flush();
    return finish_output(kSuccess);
  } catch (const CLI::ParseError& problem) {
    // CLI11 finds a command missing before it finds the word that is none.
    if (app.get_subcommands().empty() && count > 1 && arguments[1][0] != '-') {
      return usage_error("", concat("unknown command '", arguments[1], "'"));
    }
    return usage_error(named_command(app), one_line(problem.what()));
  }
  if (!completion_shell.empty()) return print_completion(app, completion_shell);
  if (!chosen.run) return usage_error("", "A subcommand is required");
  return chosen.run();
}

}  // namespace

}  // namespace penstock::cli

int main(int count, char** arguments) {
  penstock::cli::open_standard_streams();
  // A reader of our output that went away is an error to report, not a reason to die with a half-written image.
  static_cast<void>(std::signal(SIGPIPE, SIG_IGN));
  try {
    return penstock::cli::run(count, arguments);
  } catch (const std::bad_alloc&) {
    penstock::cli::print_error("out of memory");
  } catch (const std::exception& problem) {
    penstock::cli::print_error(penstock::concat("internal error: ", problem.what()));
  }
  return penstock::cli::kFailure;
}
