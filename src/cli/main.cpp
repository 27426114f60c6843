// SPDX-License-Identifier: Apache-2.0
#include "cli/command.hpp"
#include "cli/common.hpp"
#include "cli/completion.hpp"
#include "cli/human.hpp"
#include "cli/mount_helper.hpp"
#include "cli/parser.hpp"

#include "base/text.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <exception>
#include <new>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace penstock::cli {

namespace {

/// A standard stream that the caller closed would become the descriptor of the next file that is opened: of an image,
/// into which messages would be written.
void open_standard_streams() {
  for (int stream = 0; stream <= 2; ++stream) {
    // The lowest free number is the one that is missing.
    if (fcntl(stream, F_GETFD) == -1 && errno == EBADF) static_cast<void>(open("/dev/null", O_RDWR));
  }
}

int print_completion(const std::vector<Command>& commands, const std::string& shell) {
  const auto script = completion_script(commands, shell);
  if (!script) return usage_error("", script.error().message());
  print(*script);
  return finish_output(kSuccess);
}

/// All, in the order of --help, or only the one that was named: setting up the others takes longer than many a command.
std::vector<Command> commands_for(std::string_view named) {
  constexpr std::pair<std::string_view, Command (*)()> kCommands[] = {
      {"mount", mount_command},     {"umount", umount_command}, {"attach", attach_command},
      {"detach", detach_command},   {"status", status_command}, {"stream", stream_command},
      {"trace", trace_command},     {"create", create_command}, {"info", info_command},
      {"map", map_command},         {"check", check_command},   {"compare", compare_command},
      {"convert", convert_command}, {"rebase", rebase_command}, {"commit", commit_command},
      {"measure", measure_command}, {"resize", resize_command}, {"io", io_command},
  };
  for (const auto& [name, make] : kCommands) {
    if (name == named) return {make()};
  }
  std::vector<Command> all;
  for (const auto& [name, make] : kCommands) all.push_back(make());
  return all;
}

/// Of the flags of `penstock mount`; `name` is without its dashes.
FlagKind kind_of_mount_flag(const Command& mount, const std::string& name) {
  const std::string flag = concat("--", name);
  for (const Option& option : mount.options) {
    if (option.names == flag || option.names.ends_with(concat(',', flag))) {
      return option.is_flag() ? FlagKind::plain : FlagKind::value;
    }
  }
  return FlagKind::none;
}

int run(const std::vector<Command>& commands, std::vector<std::string> words) {
  const ParsedLine line = parse(commands, std::move(words));
  if (line.status) return *line.status;
  if (line.command != nullptr) return line.command->run();
  return print_completion(commands, line.completion_shell);
}

int run(int count, char** arguments) {
  std::vector<std::string> words(arguments, arguments + count);
  const HelperRole role = helper_role(count > 0 ? words.front() : "");
  if (count > 0) words.erase(words.begin());
  if (role == HelperRole::umount) return run_umount_helper(words);
  if (role == HelperRole::none) return run(commands_for(words.empty() ? "" : words.front()), std::move(words));
  const std::vector<Command> commands = commands_for("mount");
  const auto call =
      read_mount_call(words, [&](const std::string& name) { return kind_of_mount_flag(commands.front(), name); });
  if (!call) {
    print_error(call.error().message());
    return mount_exit_status(kUsage);
  }
  if (call->fake || (call->no_fail && access(call->image.c_str(), F_OK) != 0 && errno == ENOENT)) return kSuccess;
  return mount_exit_status(run(commands, call->arguments));
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
