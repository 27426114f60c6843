// SPDX-License-Identifier: Apache-2.0
#include "cli/io_commands.hpp"

#include "cli/common.hpp"
#include "cli/format_details.hpp"
#include "cli/human.hpp"
#include "cli/io_transfer.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <thread>

namespace penstock::cli {

namespace {

constexpr std::uint64_t kSectorBytes = 512;

bool run_flush(IoSession& session, const std::vector<std::string>& /*words*/) {
  const auto done = session.image.flush();
  return done || io_failed("flush", done.error());
}

bool run_length(IoSession& session, const std::vector<std::string>& /*words*/) {
  print(io_size(static_cast<double>(session.image.virtual_size())) + '\n');
  return true;
}

bool run_truncate(IoSession& session, const std::vector<std::string>& words) {
  const auto arguments = parse_io_arguments(words, "m:");
  if (!arguments || arguments->operands.size() != 1) {
    return refuse("truncate [-m off] off -- truncates the current file at the given offset");
  }
  if (arguments->has('m') && arguments->flags.at('m') != "off") {
    return refuse(concat("preallocation mode '", arguments->flags.at('m'), "' is not known, only 'off'"));
  }
  const auto size = parse_io_number(arguments->operands[0]);
  if (!size) return refuse(size.error().message());
  if (!session.image.writable()) {
    print_error(concat(session.image_name, ": opened read-only"));
    return false;
  }
  if (const auto done = session.image.resize(*size); !done) {
    print_error(done.error().message());
    return false;
  }
  return true;
}

/// A run of the disk that the top layer answers for, or that it does not.
struct TopRun {
  bool allocated = false;
  std::uint64_t length = 0;
};

/// Neighbours with the same answer are joined.
Result<TopRun> top_run(Image& image, std::uint64_t offset, std::uint64_t length) {
  TopRun run;
  while (run.length < length) {
    const Extent extent = TRY(image.extent({{offset + run.length}, length - run.length}));
    const bool allocated = extent.present && extent.depth == 0;
    if (run.length != 0 && allocated != run.allocated) break;
    run.allocated = allocated;
    run.length += extent.guest.length;
  }
  return run;
}

bool run_alloc(IoSession& session, const std::vector<std::string>& words) {
  const auto offset = parse_io_number(words[1]);
  if (!offset) return refuse(offset.error().message());
  std::uint64_t length = kSectorBytes;
  if (words.size() > 2) {
    const auto value = parse_io_number(words[2]);
    if (!value) return refuse(value.error().message());
    length = *value;
  }
  const std::uint64_t size = session.image.virtual_size();
  length = std::min(length, size - std::min(*offset, size));
  std::uint64_t allocated = 0;
  for (std::uint64_t done = 0; done < length;) {
    const auto run = top_run(session.image, *offset + done, length - done);
    if (!run) return io_failed("is_allocated", run.error());
    if (run->allocated) allocated += run->length;
    done += run->length;
  }
  print(concat(allocated, '/', length, " bytes allocated at offset ", io_size(static_cast<double>(*offset)), '\n'));
  return true;
}

bool run_map(IoSession& session, const std::vector<std::string>& /*words*/) {
  const std::uint64_t size = session.image.virtual_size();
  if (size == 0) return refuse("Failed to query length: the disk is empty");
  for (std::uint64_t offset = 0; offset < size;) {
    const auto run = top_run(session.image, offset, size - offset);
    if (!run) return io_failed("Failed to get allocation status", run.error());
    print(concat(io_size(static_cast<double>(run->length)), " (", hex(run->length), ") bytes ",
                 run->allocated ? "    allocated" : "not allocated", " at offset ",
                 io_size(static_cast<double>(offset)), " (", hex(offset), ")\n"));
    offset += run->length;
  }
  return true;
}

bool run_info(IoSession& session, const std::vector<std::string>& /*words*/) {
  const auto layers = session.image.layers();
  if (!layers) return io_failed("info", layers.error());
  const LayerInfo& top = layers->front();
  print(concat("format name: ", top.format, '\n'));
  if (top.details.cluster_size != 0) {
    print(concat("cluster size: ", io_size(static_cast<double>(top.details.cluster_size)), '\n'));
  }
  print(details_text(top.details));
  return true;
}

bool run_sleep(IoSession& /*session*/, const std::vector<std::string>& words) {
  long milliseconds = 0;
  const std::string& text = words[1];
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), milliseconds);
  if (problem != std::errc() || end != text.data() + text.size() || milliseconds < 0) {
    return refuse(concat(text, " is not a valid number"));
  }
  // Whoever waits for the sleep wants to see what was done before it.
  std::fflush(stdout);
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
  return true;
}

const std::array<IoCommand, 12>& commands() {
  static const std::array<IoCommand, 12> all{{
      {"alloc", "", 1, 2, "offset [count]", "checks if offset is allocated in the file",
       " Counts the bytes that the image itself answers for, without its backing file.\n", run_alloc},
      kDiscardCommand,
      {"flush", "f", 0, 0, "", "flush all in-core file state to disk", "", run_flush},
      {"help", "?", 0, 1, "[command]", "help for one or all commands", "", nullptr},
      {"info", "i", 0, 0, "", "prints information about the current file", "", run_info},
      {"length", "l", 0, 0, "", "gets the length of the current file", "", run_length},
      {"map", "", 0, 0, "", "prints the allocated areas of a file", "", run_map},
      {"quit", "q", 0, 0, "", "exit the program", "", nullptr},
      kReadCommand,
      {"sleep", "", 1, 1, "", "waits for the given value in milliseconds", "", run_sleep},
      {"truncate", "t", 1, 3, "[-m off] off", "truncates the current file at the given offset", "", run_truncate},
      kWriteCommand,
  }};
  return all;
}

const IoCommand* find_command(std::string_view name) {
  const auto found = std::find_if(commands().begin(), commands().end(), [name](const IoCommand& command) {
    return command.name == name || (!command.short_name.empty() && command.short_name == name);
  });
  return found == commands().end() ? nullptr : &*found;
}

bool run_help(const std::vector<std::string>& words) {
  if (words.size() == 1) {
    for (const IoCommand& command : commands()) print(usage_line(command) + '\n');
    print("\nUse 'help commandname' for extended help.\n");
    return true;
  }
  const IoCommand* command = find_command(words[1]);
  if (command == nullptr) return refuse(concat("command ", words[1], " not found"));
  print(usage_line(*command) + '\n');
  if (!command->details.empty()) print(concat('\n', command->details, '\n'));
  return true;
}

/// Null when the number of words is right.
std::string wrong_count(const IoCommand& command, const std::vector<std::string>& words) {
  const int given = static_cast<int>(words.size()) - 1;
  if (given >= command.words_min && (command.words_max < 0 || given <= command.words_max)) return {};
  const std::string expected = command.words_max < 0 ? concat("at least ", command.words_min)
                               : command.words_min == command.words_max
                                   ? std::to_string(command.words_min)
                                   : concat("between ", command.words_min, " and ", command.words_max);
  return concat("bad argument count ", given, " to ", words.front(), ", expected ", expected, " arguments\n");
}

}  // namespace

IoOutcome run_io_line(IoSession& session, std::string_view line) {
  const std::vector<std::string> words = split_words(line);
  if (words.empty()) return IoOutcome::done;
  const IoCommand* command = find_command(words.front());
  const std::string problem = command == nullptr ? concat("command \"", printable(words.front()), "\" not found\n")
                                                 : wrong_count(*command, words);
  if (!problem.empty()) {
    std::fflush(stdout);
    std::fputs(problem.c_str(), stderr);
    return IoOutcome::failed;
  }
  if (command->name == "quit") return IoOutcome::quit;
  const bool done = command->name == "help" ? run_help(words) : command->run(session, words);
  return done ? IoOutcome::done : IoOutcome::failed;
}

}  // namespace penstock::cli
