// SPDX-License-Identifier: Apache-2.0
/// What a subcommand is, as data: what it takes, where that goes, and what to run. parser.cpp makes a parser of it,
/// completion_model.cpp what shells offer.
#pragma once

#include <penstock/error.hpp>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace penstock::cli {

/// What the value of an option must be, and what else the option wants.
struct OptionRules {
  std::vector<std::string> choices = {};  ///< one of these
  /// Turns the value into what is stored. Errors: the value is wrong. `choices` only tell then what there is.
  std::function<Result<std::string>(const std::string& value)> convert = {};
  std::pair<unsigned, unsigned> bounds = {0, 0};  ///< of a number, both included; {0, 0}: any
  bool required = false;
  std::string needs = {};                  ///< an option that must be given, too: "--wait"
  std::vector<std::string> excludes = {};  ///< options that must not be given, too
  /// Of an argument: a word that stands before it when the command's first word is `first_word`, as the SPEED of
  /// "stream speed SPEED MOUNTPOINT". Both are stored in the order in which they stand.
  std::string first_word = {};
  std::string value_before = {};
};

/// An option, or an argument that goes by its place. What is not given leaves its target alone.
struct Option {
  std::string names;  ///< "-f,--format"; of an argument a word without dashes, for messages
  std::string value;  ///< what --help calls the value; by that shells know what to offer, too: "FILE". Empty: a flag
  /// A list takes one value each time that the option is given.
  std::variant<bool*, unsigned*, std::string*, std::vector<std::string>*> target;
  std::string help;
  OptionRules rules = {};

  [[nodiscard]] bool is_argument() const { return !names.starts_with('-'); }
  [[nodiscard]] bool is_flag() const { return value.empty(); }
};

/// Of the names of an option, each by itself, in their order: "-f", "--format".
[[nodiscard]] std::vector<std::string> flags_of(std::string_view names);

struct Command {
  std::string name;
  std::string help;
  std::vector<Option> options;  ///< and arguments, each kind in the order of --help
  std::function<int()> run;     ///< once the command line was understood; gives the exit status
  /// Where words go that are neither; null: they are errors.
  std::vector<std::string>* left_over = nullptr;
};

/// `run` of a command whose options are in `flags`, which live as long as it does.
template <typename Flags>
[[nodiscard]] std::function<int()> runs(int (*run)(const Flags&), std::shared_ptr<Flags> flags) {
  return [run, flags = std::move(flags)] { return run(*flags); };
}

// One line a subcommand, in the order in which `penstock --help` lists them; the same order as in main.cpp.
[[nodiscard]] Command mount_command();
[[nodiscard]] Command umount_command();
[[nodiscard]] Command attach_command();
[[nodiscard]] Command detach_command();
[[nodiscard]] Command status_command();
[[nodiscard]] Command stream_command();
[[nodiscard]] Command trace_command();
[[nodiscard]] Command create_command();
[[nodiscard]] Command info_command();
[[nodiscard]] Command map_command();
[[nodiscard]] Command check_command();
[[nodiscard]] Command compare_command();
[[nodiscard]] Command convert_command();
[[nodiscard]] Command rebase_command();
[[nodiscard]] Command commit_command();
[[nodiscard]] Command measure_command();
[[nodiscard]] Command resize_command();
[[nodiscard]] Command io_command();

}  // namespace penstock::cli
