// SPDX-License-Identifier: Apache-2.0
#include "fuse/mount_options.hpp"

#include "base/text.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <iterator>

namespace penstock::fuse {

namespace {

/// Handed to the kernel, by libfuse (3.14), which knows no others that would change anything here.
constexpr std::array<std::string_view, 4> kKernelWords{"noexec", "noatime", "sync", "dirsync"};
/// Without effect: nosuid, nodev and default_permissions are always on, FUSE keeps no access times and has no mandatory
/// locks, no link is in the view, and the rest is for mount(8) and systemd, which read it from fstab(5).
constexpr std::array<std::string_view, 28> kIgnoredWords{"nosuid",      "nodev",       "default_permissions",
                                                         "exec",        "atime",       "relatime",
                                                         "norelatime",  "strictatime", "nostrictatime",
                                                         "diratime",    "nodiratime",  "async",
                                                         "defaults",    "auto",        "noauto",
                                                         "nofail",      "_netdev",     "nouser",
                                                         "lazytime",    "nolazytime",  "symfollow",
                                                         "nosymfollow", "mand",        "nomand",
                                                         "iversion",    "noiversion",  "silent",
                                                         "loud"};

struct Word {
  std::string name;
  std::optional<std::string> value;
};

std::vector<Word> split(std::string_view list) {
  std::vector<Word> words;
  Word word;
  bool escaped = false;
  const auto finish = [&] {
    if (!word.name.empty() || word.value) words.push_back(word);
    word = {};
  };
  for (const char character : list) {
    if (!escaped && character == '\\') {
      escaped = true;
      continue;
    }
    if (!escaped && character == ',') {
      finish();
    } else if (!escaped && character == '=' && !word.value) {
      word.value.emplace();
    } else {
      (word.value ? *word.value : word.name).push_back(character);
    }
    escaped = false;
  }
  finish();
  return words;
}

Failure bad_value(const Word& word, std::string_view wanted) {
  return fail(EINVAL,
              concat("mount option '", word.name, word.value ? "=" : "", word.value.value_or(""), "': ", wanted));
}

Result<std::uint32_t> number(const Word& word, int base, std::uint32_t from, std::uint32_t to) {
  const auto wanted = [&] {
    if (base == 8) return bad_value(word, "an octal number from 0 to 777 is needed");
    return bad_value(word, concat("a number from ", from, " to ", to, " is needed"));
  };
  if (!word.value || word.value->empty()) return wanted();
  const std::string& text = *word.value;
  std::uint32_t value = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (problem != std::errc() || end != text.data() + text.size() || value < from || value > to) return wanted();
  return value;
}

Result<std::string> text_of(const Word& word) {
  if (!word.value || word.value->empty()) return bad_value(word, "a value is needed");
  return *word.value;
}

template <std::size_t size>
bool is_one_of(const std::array<std::string_view, size>& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

/// Words without a value. Gives whether the word is one of them.
bool apply_flag(const std::string& name, MountOptions& options) {
  if (name == "ro" || name == "rw") {
    options.read_only = name == "ro";
  } else if (name == "allow_other") {
    options.allow_other = true;
  } else if (name == "allow_root") {
    options.allow_root = true;
  } else if (name == "auto_unmount") {
    options.auto_unmount = true;
  } else if (name == "writeback") {
    options.writeback = true;
  } else if (name == "io_uring" || name == "no_io_uring") {
    options.io_uring = name == "io_uring";
  } else if (name == "passthrough" || name == "no_passthrough") {
    options.passthrough = name == "passthrough";
  } else if (is_one_of(kKernelWords, name)) {
    options.kernel.push_back(name);
  } else {
    return is_one_of(kIgnoredWords, name) || name.starts_with("x-");
  }
  return true;
}

Result<> apply(const Word& word, MountOptions& options) {
  // UINT32_MAX is "no user" to chown(2).
  constexpr std::uint32_t kIdMax = UINT32_MAX - 1;
  const std::string& name = word.name;
  if (name == "uid") {
    options.uid = TRY(number(word, 10, 0, kIdMax));
  } else if (name == "gid") {
    options.gid = TRY(number(word, 10, 0, kIdMax));
  } else if (name == "mode") {
    options.mode = TRY(number(word, 8, 0, 0777));
  } else if (name == "umask") {
    options.mode = 0666U & ~TRY(number(word, 8, 0, 0777));
  } else if (name == "max_read") {
    options.max_read = TRY(number(word, 10, kTransferMin, kTransferMax));
  } else if (name == "max_write") {
    options.max_write = TRY(number(word, 10, kTransferMin, kTransferMax));
  } else if (name == "fsname") {
    options.fsname = TRY(text_of(word));
  } else if (name == "subtype") {
    options.subtype = TRY(text_of(word));
  } else if (word.value && !name.starts_with("x-")) {
    MountOptions unused;
    return bad_value(word, apply_flag(name, unused) ? "takes no value" : "unknown mount option");
  } else if (!apply_flag(name, options)) {
    return bad_value(word, "unknown mount option");
  }
  return {};
}

}  // namespace

Result<> parse_mount_options(std::string_view list, MountOptions& options) {
  for (const Word& word : split(list)) TRY(apply(word, options));
  return {};
}

bool allows_other_users(std::string_view fuse_conf) {
  constexpr std::string_view kBlank = " \t\r";
  while (!fuse_conf.empty()) {
    std::string_view line = fuse_conf.substr(0, fuse_conf.find('\n'));
    fuse_conf.remove_prefix(std::min(line.size() + 1, fuse_conf.size()));
    line = line.substr(0, line.find('#'));
    const auto first = line.find_first_not_of(kBlank);
    if (first == std::string_view::npos) continue;
    line = line.substr(first, line.find_last_not_of(kBlank) - first + 1);
    if (line == "user_allow_other") return true;
  }
  return false;
}

Result<> check_mount_options(const MountOptions& options) {
  if (options.auto_unmount && !options.allow_other && geteuid() != 0) {
    // fusermount3 looks at the mount as root to see whether the daemon is gone, and is not let in.
    return fail(EPERM, "mount option 'auto_unmount' works only for root, or together with 'allow_other'; leave it out");
  }
  if ((!options.allow_other && !options.allow_root) || geteuid() == 0) return {};
  std::ifstream file("/etc/fuse.conf");
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (allows_other_users(text)) return {};
  return fail(EPERM, concat("mount option '", options.allow_other ? "allow_other" : "allow_root",
                            "' is only for root while /etc/fuse.conf has no line 'user_allow_other'; add it there or "
                            "leave the option out"));
}

}  // namespace penstock::fuse
