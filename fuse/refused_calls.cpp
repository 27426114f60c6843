// SPDX-License-Identifier: Apache-2.0
#include "fuse/refused_calls.hpp"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <span>
#include <vector>

namespace penstock::fuse {

namespace {

#if defined(__x86_64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#elif defined(__riscv) && __riscv_xlen == 64
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_RISCV64;
#else
constexpr std::uint32_t kArchitecture = 0;  // not known here: no filter
#endif

// Of other processes, the kernel itself, the machine.
constexpr long kNeverNeeded[] = {
    SYS_ptrace,
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_kcmp,
    SYS_perf_event_open,
    SYS_bpf,
    SYS_userfaultfd,
    SYS_add_key,
    SYS_request_key,
    SYS_keyctl,
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_kexec_load,
    SYS_reboot,
    SYS_swapon,
    SYS_swapoff,
    SYS_acct,
    SYS_quotactl,
    SYS_open_by_handle_at,
    SYS_pivot_root,
    SYS_chroot,
    SYS_unshare,
    SYS_setns,
    SYS_settimeofday,
    SYS_clock_settime,
    SYS_adjtimex,
    SYS_clock_adjtime,
    SYS_sethostname,
    SYS_setdomainname,
    SYS_syslog,
    SYS_personality,
    SYS_vhangup,
    SYS_lookup_dcookie,
    SYS_fanotify_init,
    SYS_move_pages,
    SYS_migrate_pages,
    SYS_pidfd_getfd,
    SYS_pidfd_send_signal,
#ifdef SYS_kexec_file_load
    SYS_kexec_file_load,
#endif
#if defined(__x86_64__)
    SYS_iopl,
    SYS_ioperm,
    SYS_modify_ldt,
#endif
};

// Needed where requests come over io_uring: to set up rings, and to use them, which then do nothing else.
constexpr long kMakeRings[] = {SYS_io_uring_setup};
constexpr long kUseRings[] = {SYS_io_uring_enter, SYS_io_uring_register};

// What mounting needed, and what a daemon with its files open has no use for.
constexpr long kAfterMounting[] = {
    SYS_execve,
    SYS_execveat,
    SYS_mount,
    SYS_umount2,
    SYS_open_tree,
    SYS_move_mount,
    SYS_fsopen,
    SYS_fsconfig,
    SYS_fsmount,
    SYS_fspick,
    SYS_kill,
    SYS_tkill,
    SYS_rt_sigqueueinfo,
    SYS_rt_tgsigqueueinfo,
    SYS_setuid,
    SYS_setgid,
    SYS_setreuid,
    SYS_setregid,
    SYS_setresuid,
    SYS_setresgid,
    SYS_setgroups,
    SYS_setfsuid,
    SYS_setfsgid,
    SYS_capset,
    SYS_fchmod,
    SYS_fchmodat,
    SYS_fchown,
    SYS_fchownat,
    SYS_setxattr,
    SYS_lsetxattr,
    SYS_fsetxattr,
    SYS_removexattr,
    SYS_lremovexattr,
    SYS_fremovexattr,
    SYS_linkat,
    SYS_symlinkat,
    SYS_mknodat,
    SYS_mkdirat,
    SYS_utimensat,
#ifdef SYS_mount_setattr
    SYS_mount_setattr,
#endif
#if defined(__x86_64__)
    SYS_chmod,
    SYS_chown,
    SYS_lchown,
    SYS_link,
    SYS_symlink,
    SYS_mknod,
    SYS_mkdir,
    SYS_utime,
    SYS_utimes,
    SYS_futimesat,
#endif
};

class Filter {
 public:
  Filter() {
    load(offsetof(seccomp_data, arch));
    // Another architecture's calls have other numbers.
    when(BPF_JEQ, kArchitecture, 1, 0);
    answer(SECCOMP_RET_KILL_PROCESS);
    load(offsetof(seccomp_data, nr));
#if defined(__x86_64__)
    constexpr std::uint32_t kX32 = 0x40000000;
    when(BPF_JGE, kX32, 0, 1);
    answer(refusal(ENOSYS));
#endif
  }

  /// With EPERM. Comes after all others.
  void refuse(std::span<const long> calls) {
    for (const long call : calls) refused_.push_back(static_cast<std::uint32_t>(call));
  }
  void refuse(long call, unsigned number) {
    when(BPF_JEQ, static_cast<std::uint32_t>(call), 0, 1);
    answer(refusal(number));
  }
  /// Refuses `call` when its first argument has any of `bits`.
  void refuse_bits(long call, std::uint32_t bits) {
    when(BPF_JEQ, static_cast<std::uint32_t>(call), 0, 4);
    load(offsetof(seccomp_data, args));  // the low half, little-endian
    when(BPF_JSET, bits, 0, 1);
    answer(refusal(EPERM));
    answer(SECCOMP_RET_ALLOW);
  }
  /// Refuses `call` unless its first argument is `value`.
  void refuse_unless(long call, std::uint32_t value) {
    when(BPF_JEQ, static_cast<std::uint32_t>(call), 0, 4);
    load(offsetof(seccomp_data, args));
    when(BPF_JEQ, value, 1, 0);
    answer(refusal(EACCES));
    answer(SECCOMP_RET_ALLOW);
  }
  bool install() {
    std::ranges::sort(refused_);
    search(refused_);
    sock_fprog program{.len = static_cast<unsigned short>(code_.size()), .filter = code_.data()};
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) == 0;
  }

 private:
  /// In a few steps: the kernel tries a new filter with every call that there is, and a mount waits for that.
  void search(std::span<const std::uint32_t> calls) {
    constexpr std::size_t kFew = 4;
    if (calls.size() <= kFew) {
      for (const std::uint32_t call : calls) {
        when(BPF_JEQ, call, 0, 1);
        answer(refusal(EPERM));
      }
      return answer(SECCOMP_RET_ALLOW);
    }
    const auto half = calls.size() / 2;
    when(BPF_JGE, calls[half], 0, 1);
    const auto jump = code_.size();
    add(BPF_JMP | BPF_JA, 0, 0, 0);
    search(calls.first(half));
    code_[jump].k = static_cast<std::uint32_t>(code_.size() - jump - 1);
    search(calls.subspan(half));
  }
  static std::uint32_t refusal(unsigned number) { return SECCOMP_RET_ERRNO | number; }
  void load(std::size_t offset) { add(BPF_LD | BPF_W | BPF_ABS, 0, 0, static_cast<std::uint32_t>(offset)); }
  /// Goes on `yes` instructions behind the next when the comparison holds, else `no`.
  void when(std::uint16_t comparison, std::uint32_t value, std::uint8_t yes, std::uint8_t no) {
    add(static_cast<std::uint16_t>(BPF_JMP | BPF_K | comparison), yes, no, value);
  }
  void answer(std::uint32_t value) { add(BPF_RET | BPF_K, 0, 0, value); }
  void add(std::uint16_t code, std::uint8_t yes, std::uint8_t no, std::uint32_t value) {
    code_.push_back({.code = code, .jt = yes, .jf = no, .k = value});
  }

  std::vector<sock_filter> code_;
  std::vector<std::uint32_t> refused_;
};

}  // namespace

bool refuse_calls(Refused which, bool network, bool rings) {
  if (kArchitecture == 0) return false;
  constexpr std::uint32_t kNamespaces =
      CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWCGROUP;
  Filter filter;
  filter.refuse(kNeverNeeded);
  if (!rings || which == Refused::while_serving) filter.refuse(kMakeRings);
  if (!rings) filter.refuse(kUseRings);
  filter.refuse_bits(SYS_clone, kNamespaces);
  // Its flags lie in memory, where a filter cannot look; the C library goes back to clone().
  filter.refuse(SYS_clone3, ENOSYS);
  if (which == Refused::while_serving) {
    filter.refuse(kAfterMounting);
    if (!network) filter.refuse_unless(SYS_socket, AF_UNIX);
  }
  return filter.install();
}

}  // namespace penstock::fuse
