// SPDX-License-Identifier: Apache-2.0
#include "fuse/sandbox.hpp"

#include "base/text.hpp"
#include "fuse/refused_calls.hpp"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <vector>

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

namespace penstock::fuse {

namespace {

// linux/landlock.h of the oldest system that this is built on knows less than the kernels that it runs on.
constexpr unsigned kVersionQuestion = 1;
constexpr unsigned kPathBeneath = 1;
enum Access : std::uint64_t {
  kWriteFile = 1U << 1U,
  kReadFile = 1U << 2U,
  kReadDirectory = 1U << 3U,
  kRemoveFile = 1U << 5U,
};
struct RulesetAttributes {
  std::uint64_t file_system = 0;
  std::uint64_t network = 0;  // from ABI 4
  std::uint64_t scoped = 0;   // from ABI 6
};
struct [[gnu::packed]] PathRule {
  std::uint64_t allowed;
  std::int32_t parent;
};

/// All rights to files that this version of Landlock can take away.
std::uint64_t file_rights(long abi) {
  if (abi < 2) return (1ULL << 13U) - 1;
  if (abi < 3) return (1ULL << 14U) - 1;
  return abi < 5 ? (1ULL << 15U) - 1 : (1ULL << 16U) - 1;
}

void allow(int ruleset, const char* path, std::uint64_t rights) {
  const int parent = open(path, O_PATH | O_CLOEXEC);
  // What is not there needs no rule.
  if (parent < 0) return;
  const PathRule rule{rights, parent};
  syscall(SYS_landlock_add_rule, ruleset, kPathBeneath, &rule, 0U);
  close(parent);
}

/// The version of Landlock that is in force, 0: none.
long confine_files(const SandboxNeeds& needs) {
  const long abi = syscall(SYS_landlock_create_ruleset, nullptr, std::size_t{0}, kVersionQuestion);
  if (abi < 1) return 0;
  constexpr std::uint64_t kTcpBindAndConnect = 3;
  constexpr std::uint64_t kAbstractSocketsAndSignals = 3;
  RulesetAttributes attributes{.file_system = file_rights(abi)};
  std::size_t size = sizeof attributes.file_system;
  if (abi >= 4) {
    size += sizeof attributes.network;
    if (!needs.network) attributes.network = kTcpBindAndConnect;
  }
  if (abi >= 6) {
    size += sizeof attributes.scoped;
    attributes.scoped = kAbstractSocketsAndSignals;
  }
  const auto ruleset = static_cast<int>(syscall(SYS_landlock_create_ruleset, &attributes, size, 0U));
  if (ruleset < 0) return 0;
  constexpr std::uint64_t kRead = kReadFile | kReadDirectory;
  allow(ruleset, needs.control_directory.c_str(), kRemoveFile);
  allow(ruleset, "/dev/null", kReadFile | kWriteFile);
  // Libraries that load others late, and how many processors there are. Other processes' memory and environment in
  // /proc stay closed: Landlock does not let a process trace one that is confined less.
  for (const char* path :
       {"/proc", "/sys/devices/system", "/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime"}) {
    allow(ruleset, path, kRead);
  }
  if (needs.network) {
    for (const char* path : {"/etc", "/run/systemd/resolve", "/run/resolvconf"}) allow(ruleset, path, kRead);
  }
  const bool done = syscall(SYS_landlock_restrict_self, ruleset, 0U) == 0;
  close(ruleset);
  return done ? abi : 0;
}

/// All but the right to the room that a file system keeps for root, without which a disk would be full earlier than
/// before.
bool drop_capabilities() {
  constexpr std::uint32_t kKept = 1U << CAP_SYS_RESOURCE;
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  for (unsigned long number = 0; prctl(PR_CAPBSET_READ, number, 0, 0, 0) >= 0; ++number) {
    if (number != CAP_SYS_RESOURCE) prctl(PR_CAPBSET_DROP, number, 0, 0, 0);
  }
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  std::array<__user_cap_data_struct, 2> now{};
  if (syscall(SYS_capget, &header, now.data()) != 0) return false;
  std::array<__user_cap_data_struct, 2> less{};
  less[0].permitted = less[0].effective = now[0].permitted & kKept;
  return syscall(SYS_capset, &header, less.data()) == 0;
}

}  // namespace

void shed_before_opening(bool rings) {
  // Without CAP_SYS_ADMIN it would take "no new privileges", which keeps fusermount3 from mounting.
  if (geteuid() == 0) static_cast<void>(refuse_calls(Refused::before_opening, true, rings));
}

std::string enter_sandbox(const SandboxNeeds& needs) {
  tzset();  // reads a file, for times in the system's log
  std::vector<std::string> in_force;
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0) in_force.emplace_back("no new privileges");
  if (const auto abi = confine_files(needs); abi > 0) in_force.push_back(concat("landlock ", abi));
  if (drop_capabilities()) in_force.emplace_back("no capabilities");
  if (refuse_calls(Refused::while_serving, needs.network, needs.rings)) in_force.emplace_back("seccomp");
  std::string out;
  for (const std::string& part : in_force) out.append(out.empty() ? "" : ", ").append(part);
  return out.empty() ? "off" : out;
}

void become_io_flusher() {
  prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
}

}  // namespace penstock::fuse
