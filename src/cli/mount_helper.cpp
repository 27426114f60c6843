// SPDX-License-Identifier: Apache-2.0
#include "cli/mount_helper.hpp"

#include "cli/common.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <array>

namespace penstock::cli {

namespace {

/// mount(8) "EXIT STATUS".
constexpr int kMountUsage = 1;
constexpr int kMountFailure = 32;

/// For mount(8), who may mount, and systemd, who mounts when.
constexpr std::array<std::string_view, 18> kForOthers{"defaults", "auto",   "noauto", "nofail",  "_netdev", "user",
                                                      "users",    "nouser", "owner",  "noowner", "group",   "nogroup",
                                                      "comment",  "silent", "loud",   "helper",  "uhelper", "_rnetdev"};
/// Flags that make no sense as a mount option.
constexpr std::array<std::string_view, 4> kNoOptions{"help", "foreground", "options", "read-only"};

template <std::size_t size>
bool is_one_of(const std::array<std::string_view, size>& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

/// At commas that no backslash stands before; the backslashes stay.
std::vector<std::string> split_list(std::string_view list) {
  std::vector<std::string> out(1);
  for (std::size_t at = 0; at < list.size(); ++at) {
    if (list[at] == ',') {
      out.emplace_back();
      continue;
    }
    out.back().push_back(list[at]);
    if (list[at] == '\\' && at + 1 < list.size()) out.back().push_back(list[++at]);
  }
  std::erase(out, "");
  return out;
}

std::string without_backslashes(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '\\' && at + 1 < text.size()) ++at;
    out.push_back(text[at]);
  }
  return out;
}

/// The last one counts, as everywhere with mount(8): what follows -o overrides fstab.
void add_flag(MountCall& call, const std::string& flag, const std::string& value) {
  const std::string word = concat("--", flag);
  std::erase_if(call.arguments,
                [&word](const std::string& before) { return before == word || before.starts_with(word + '='); });
  call.arguments.push_back(word + value);
}

/// Adds one mount option to the flags, or to what -o hands on.
Result<> add_option(const std::string& option, const FlagLookup& lookup, const std::string& mountpoint, MountCall& call,
                    std::string& handed_on) {
  const auto equals = option.find('=');
  const std::string name = option.substr(0, equals);
  if (name == "nofail") call.no_fail = true;
  if (is_one_of(kForOthers, name) || name.starts_with("x-") || name.starts_with("X-")) return {};
  if (name == "remount") {
    return fail(EINVAL, concat(mountpoint, ": a mounted image cannot be remounted; unmount it and mount it again"));
  }
  if (option == "discard" || option == "nodiscard") {
    add_flag(call, "discard", option == "discard" ? "=unmap" : "=ignore");
    return {};
  }
  std::string flag = name;
  std::replace(flag.begin(), flag.end(), '_', '-');
  const FlagKind kind = is_one_of(kNoOptions, flag) ? FlagKind::none : lookup(flag);
  if (kind == FlagKind::none) {
    handed_on += concat(handed_on.empty() ? "" : ",", option);
    return {};
  }
  // The command line would take the next word for an empty value.
  const bool has_value = equals != std::string::npos && equals + 1 != option.size();
  if (kind == FlagKind::value ? !has_value : equals != std::string::npos) {
    return fail(EINVAL,
                concat("mount option '", option, "': ", kind == FlagKind::value ? "needs a" : "takes no", " value"));
  }
  const std::string value = equals == std::string::npos ? "" : without_backslashes(option.substr(equals));
  add_flag(call, flag, value);
  return {};
}

/// The value of a flag such as -o, from the same word or the next one.
Result<std::string> value_of(const std::vector<std::string>& words, std::size_t& at) {
  if (words[at].size() > 2) return words[at].substr(2);
  if (at + 1 == words.size()) return fail(EINVAL, concat("'", words[at], "' needs a value"));
  return words[++at];
}

}  // namespace

HelperRole helper_role(std::string_view program) {
  const std::string_view name = program.substr(program.rfind('/') + 1);
  if (name == "mount.penstock" || name == "mount.fuse.penstock") return HelperRole::mount;
  if (name == "umount.penstock" || name == "umount.fuse.penstock") return HelperRole::umount;
  return HelperRole::none;
}

Result<MountCall> read_mount_call(const std::vector<std::string>& words, const FlagLookup& lookup) {
  MountCall call{.arguments = {"mount"}};
  std::vector<std::string> places;
  std::string handed_on;
  for (std::size_t at = 0; at < words.size(); ++at) {
    const std::string& word = words[at];
    if (word.size() < 2 || word[0] != '-' || places.size() < 2) {
      // mount(8) puts both names first, whatever they look like.
      if (places.size() == 2) return fail(EINVAL, concat("'", word, "' is one name too many"));
      places.push_back(word);
    } else if (word.starts_with("-o")) {
      for (const std::string& option : split_list(TRY(value_of(words, at)))) {
        TRY(add_option(option, lookup, places[1], call, handed_on));
      }
    } else if (word.starts_with("-t")) {
      TRY(value_of(words, at));
    } else if (word.find_first_not_of("sfnvrw", 1) == std::string::npos) {
      // Sloppy, fake, without mtab, verbose, read-only, read-write.
      if (word.find('f') != std::string::npos) call.fake = true;
      if (word.find('r') != std::string::npos) call.arguments.emplace_back("--read-only");
    } else {
      return fail(EINVAL, concat("unknown flag '", word, "'"));
    }
  }
  if (places.size() < 2) return fail(EINVAL, "usage: mount -t penstock IMAGE MOUNTPOINT [-o OPTION,...]");
  if (!handed_on.empty()) call.arguments.insert(call.arguments.end(), {"-o", handed_on});
  call.image = places[0];
  call.arguments.insert(call.arguments.end(), {"--", places[0], places[1]});
  return call;
}

int mount_exit_status(int status) {
  if (status == kSuccess) return status;
  return status == kUsage ? kMountUsage : kMountFailure;
}

}  // namespace penstock::cli
