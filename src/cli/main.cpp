// SPDX-License-Identifier: Apache-2.0
#include "cli/command.hpp"
#include "cli/common.hpp"
#include "cli/completion.hpp"
#include "cli/human.hpp"
#include "cli/mount_helper.hpp"
#include "cli/version.hpp"

#include "base/text.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <exception>
#include <iostream>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

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

/// `words`: without the program's name. Gives the exit status when that is all that there is to do.
std::optional<int> parse(CLI::App& app, std::vector<std::string> words) {
  const std::string first = words.empty() ? "" : words.front();
  try {
    std::reverse(words.begin(), words.end());  // as CLI11 wants them
    app.parse(std::move(words));
  } catch (const CLI::Success& asked) {  // --help, --version
    static_cast<void>(app.exit(asked));
    std::cout.flush();
    return finish_output(kSuccess);
  } catch (const CLI::ParseError& problem) {
    // CLI11 finds a command missing before it finds the word that is none.
    if (app.get_subcommands().empty() && !first.empty() && first[0] != '-') {
      return usage_error("", concat("unknown command '", first, "'"));
    }
    return usage_error(named_command(app), one_line(problem.what()));
  }
  return std::nullopt;
}

/// Of the flags of `penstock mount`.
FlagKind kind_of_mount_flag(const CLI::App& app, const std::string& name) {
  const CLI::Option* const flag = app.get_subcommand("mount")->get_option_no_throw(concat("--", name));
  if (flag == nullptr) return FlagKind::none;
  return flag->get_items_expected_max() > 0 ? FlagKind::value : FlagKind::plain;
}

/// All, in the order of --help, or the one that was named: setting up the others takes longer than many a command.
void add_commands(CLI::App& app, Command& chosen, std::string_view named) {
  using Add = void (*)(CLI::App&, Command&);
  constexpr std::pair<std::string_view, Add> kCommands[] = {
      {"mount", add_mount},     {"umount", add_umount}, {"attach", add_attach}, {"detach", add_detach},
      {"status", add_status},   {"stream", add_stream}, {"trace", add_trace},   {"create", add_create},
      {"info", add_info},       {"map", add_map},       {"check", add_check},   {"compare", add_compare},
      {"convert", add_convert}, {"rebase", add_rebase}, {"commit", add_commit}, {"measure", add_measure},
      {"resize", add_resize},   {"io", add_io},
  };
  for (const auto& [name, add] : kCommands) {
    if (name == named) return add(app, chosen);
  }
  for (const auto& [name, add] : kCommands) add(app, chosen);
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
  std::vector<std::string> words(arguments, arguments + count);
  const HelperRole role = helper_role(count > 0 ? words.front() : "");
  if (count > 0) words.erase(words.begin());
  add_commands(app, chosen, role == HelperRole::mount ? "mount" : words.empty() ? "" : words.front());
  if (role == HelperRole::umount) return run_umount_helper(words);
  if (role == HelperRole::mount) {
    const auto call = read_mount_call(words, [&app](const std::string& name) { return kind_of_mount_flag(app, name); });
    if (!call) {
      print_error(call.error().message());
      return mount_exit_status(kUsage);
    }
    if (call->fake || (call->no_fail && access(call->image.c_str(), F_OK) != 0 && errno == ENOENT)) return kSuccess;
    words = call->arguments;
  }
  std::optional<int> status = parse(app, std::move(words));
  if (!status && !completion_shell.empty()) status = print_completion(app, completion_shell);
  if (!status && !chosen.run) status = usage_error("", "A subcommand is required");
  if (!status) status = chosen.run();
  return role == HelperRole::mount ? mount_exit_status(*status) : *status;
}

}  // namespace

}  // namespace penstock::cli

int main(int count, char** arguments) {
  penstock::cli::open_standard_streams();
  // A reader of our output that went away is an error to report, not a reason to die with a half-written image.
  static_cast<void>(std::signal(SIGPIPE, SIG_IGN));
  // Nor is a limit of the size of files: a write beyond it fails with EFBIG then.
  static_cast<void>(std::signal(SIGXFSZ, SIG_IGN));
  try {
    return penstock::cli::run(count, arguments);
  } catch (const std::bad_alloc&) {
    penstock::cli::print_error("out of memory");
  } catch (const std::system_error& problem) {
    // Nothing but the start of a thread throws this.
    penstock::cli::print_error(penstock::concat("cannot start a thread: ", problem.code().message(),
                                                "; is the limit of processes (ulimit -u) too low?"));
  } catch (const std::exception& problem) {
    penstock::cli::print_error(penstock::concat("internal error: ", problem.what()));
  }
  return penstock::cli::kFailure;
}
