// SPDX-License-Identifier: Apache-2.0
#include "cli/io_text.hpp"

#include "cli/human.hpp"
#include "cli/size.hpp"

#include "base/text.hpp"

#include <cerrno>
#include <cstddef>
#include <cstdlib>

namespace penstock::cli {

namespace {

std::string time_text(std::chrono::nanoseconds time, bool with_hours) {
  const auto seconds = static_cast<unsigned long long>(std::chrono::duration_cast<std::chrono::seconds>(time).count());
  const auto hundredths = static_cast<unsigned>(time.count() / 10'000'000 % 100);
  const auto minutes = static_cast<unsigned>(seconds / 60 % 60);
  const auto rest = static_cast<unsigned>(seconds % 60);
  if (with_hours || seconds >= 3600)
    return printf_text("%llu:%02u:%02u.%02u", seconds / 3600, minutes, rest, hundredths);
  if (seconds >= 60) return printf_text("%02u:%02u.%02u", minutes, rest, hundredths);
  return printf_text("%02u.%02u sec", rest, hundredths);
}

/// The flags of one word that starts with a hyphen.
class FlagParser {
 public:
  FlagParser(const std::vector<std::string>& words, std::string_view known) : words_(words), known_(known) {}

  /// Takes the flags of words_[at] and gives the index of the next word.
  Result<std::size_t> take(std::size_t at, IoArguments& out) const {
    const std::string& word = words_[at];
    for (std::size_t position = 1; position < word.size(); ++position) {
      const char flag = word[position];
      const auto found = flag == ':' ? std::string_view::npos : known_.find(flag);
      if (found == std::string_view::npos) return fail(EINVAL, complaint("invalid option", flag));
      const bool takes_value = known_.substr(found + 1).starts_with(':');
      if (!takes_value) {
        out.flags[flag].clear();
        continue;
      }
      if (position + 1 < word.size()) {
        out.flags[flag] = word.substr(position + 1);
        return at + 1;
      }
      if (at + 1 == words_.size()) return fail(EINVAL, complaint("option requires an argument", flag));
      out.flags[flag] = words_[at + 1];
      return at + 2;
    }
    return at + 1;
  }

 private:
  [[nodiscard]] std::string complaint(std::string_view what, char flag) const {
    return concat(words_.front(), ": ", what, " -- '", flag, '\'');
  }

  const std::vector<std::string>& words_;
  std::string_view known_;
};

}  // namespace

std::vector<std::string> split_words(std::string_view line) {
  std::vector<std::string> words;
  while (!line.empty()) {
    const auto space = line.find(' ');
    const auto word = line.substr(0, space);
    if (!word.empty()) words.emplace_back(word);
    line.remove_prefix(space == std::string_view::npos ? line.size() : space + 1);
  }
  return words;
}

Result<IoArguments> parse_io_arguments(const std::vector<std::string>& words, std::string_view known) {
  IoArguments out;
  const FlagParser parser(words, known);
  for (std::size_t at = 1; at < words.size();) {
    if (words[at] == "--") {
      out.operands.insert(out.operands.end(), words.begin() + static_cast<std::ptrdiff_t>(at) + 1, words.end());
      break;
    }
    if (words[at].size() > 1 && words[at].front() == '-') {
      at = TRY(parser.take(at, out));
    } else {
      out.operands.push_back(words[at++]);
    }
  }
  return out;
}

Result<std::uint64_t> parse_io_number(std::string_view text) {
  auto number = parse_size(text);
  if (number) return number;
  if (number.error().is(ERANGE)) return fail(ERANGE, concat("Parsing error: argument too large -- ", text));
  return fail(EINVAL, concat("Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- ", text));
}

Result<std::byte> parse_pattern(std::string_view text) {
  const std::string terminated(text);
  char* end = nullptr;
  errno = 0;
  constexpr int kAnyBase = 0;
  const long value = std::strtol(terminated.c_str(), &end, kAnyBase);
  if (terminated.empty() || *end != '\0' || errno != 0 || value < 0 || value > 255) {
    return fail(EINVAL, concat(text, " is not a valid pattern byte"));
  }
  return static_cast<std::byte>(value);
}

std::string report_text(const IoReport& report, bool parsable) {
  const double seconds = std::chrono::duration<double>(report.time).count();
  const double bytes_per_second = static_cast<double>(report.done) / seconds;
  const double operations_per_second = 1.0 / seconds;
  const std::string time = time_text(report.time, parsable);
  if (parsable) {
    return printf_text("%llu,1,%s,%.3f,%.3f\n", static_cast<unsigned long long>(report.done), time.c_str(),
                       bytes_per_second, operations_per_second);
  }
  return concat(report.verb, ' ', report.done, '/', report.asked, " bytes at offset ", report.offset, '\n') +
         printf_text("%s, 1 ops; %s (%s/sec and %.4f ops/sec)\n", io_size(static_cast<double>(report.done)).c_str(),
                     time.c_str(), io_size(bytes_per_second).c_str(), operations_per_second);
}

}  // namespace penstock::cli
