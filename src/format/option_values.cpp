// SPDX-License-Identifier: Apache-2.0
#include "format/option_values.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <charconv>

namespace penstock {

namespace {

std::string lower_case(std::string text) {
  for (char& character : text) {
    if (character >= 'A' && character <= 'Z') character = static_cast<char>(character - 'A' + 'a');
  }
  return text;
}

Result<std::string> one_answer(const OptionMap& options, const char* name, const std::string& given) {
  const std::string text = option_text(options, name, given);
  if (given.empty() || text == given) return text;
  return fail(EINVAL,
              concat("the backing file is given twice, as '", printable(given), "' and '", printable(text), "'"));
}

}  // namespace

std::string option_text(const OptionMap& options, const char* name, std::string_view otherwise) {
  const auto found = options.find(name);
  return found == options.end() ? std::string(otherwise) : found->second;
}

Result<bool> option_switch(const OptionMap& options, const char* name) {
  const std::string text = option_text(options, name, "off");
  if (text == "on" || text == "yes" || text == "true" || text == "y") return true;
  if (text == "off" || text == "no" || text == "false" || text == "n") return false;
  return fail(EINVAL, concat("option '", name, "' expects 'on' or 'off', not '", printable(text), "'"));
}

Result<std::uint64_t> option_size(const OptionMap& options, const char* name, std::uint64_t otherwise) {
  const auto found = options.find(name);
  if (found == options.end()) return otherwise;
  const std::string& text = found->second;
  std::uint64_t number = 0;
  // As QEMU reads sizes: hexadecimal ones have no suffix.
  const bool hexadecimal = text.starts_with("0x") || text.starts_with("0X");
  const auto [end, problem] =
      std::from_chars(text.data() + (hexadecimal ? 2 : 0), text.data() + text.size(), number, hexadecimal ? 16 : 10);
  const std::string suffix = lower_case({end, text.data() + text.size()});
  constexpr std::string_view kSuffixes = "bkmgtpe";
  const auto power = suffix.empty() ? 0 : kSuffixes.find(suffix.front());
  const auto shift = static_cast<unsigned>(power * 10);
  if (problem != std::errc() || suffix.size() > (hexadecimal ? 0U : 1U) || power == std::string_view::npos ||
      number > (UINT64_MAX >> shift)) {
    return fail(EINVAL,
                concat("option '", name, "' expects a size such as 65536, 64k or 2M, not '", printable(text), "'"));
  }
  return number << shift;
}

Result<std::uint64_t> option_number(const OptionMap& options, const char* name, std::uint64_t otherwise) {
  const auto found = options.find(name);
  if (found == options.end()) return otherwise;
  std::uint64_t number = 0;
  const std::string& text = found->second;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (problem != std::errc() || end != text.data() + text.size()) {
    return fail(EINVAL, concat("option '", name, "' expects a number, not '", printable(text), "'"));
  }
  return number;
}

Result<BackingReference> option_backing(const CreateRequest& request) {
  BackingReference backing;
  backing.name = TRY(one_answer(request.options, "backing_file", request.backing.name));
  backing.format = TRY(one_answer(request.options, "backing_fmt", request.backing.format));
  return backing;
}

Result<> refuse_unknown_options(std::string_view format, const OptionMap& options,
                                std::span<const CreateOption> known) {
  for (const auto& [name, value] : options) {
    if (std::ranges::find(known, std::string_view(name), &CreateOption::name) == known.end()) {
      return fail(EINVAL, concat(format, " has no option '", printable(name), "'"));
    }
  }
  return {};
}

}  // namespace penstock
