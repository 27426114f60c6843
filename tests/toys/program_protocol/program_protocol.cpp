// SPDX-License-Identifier: Apache-2.0
#include "tests/toys/program_protocol/program_protocol.hpp"

#include "base/descriptor.hpp"
#include "base/patient_wait.hpp"
#include "base/text.hpp"
#include "base/thread_room.hpp"
#include "storage/json_name.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstring>
#include <thread>
#include <vector>

namespace penstock::toys {

namespace {

constexpr std::array<std::string_view, 1> kJsonDrivers{"program"};

struct Command {
  std::uint64_t size = 0;
  std::string text;
};

Result<Command> parse_command(const std::string& address) {
  Command command;
  const auto [behind, problem] = std::from_chars(address.data(), address.data() + address.size(), command.size);
  if (problem != std::errc() || behind == address.data() + address.size() || *behind != ',') {
    return fail(EINVAL, "a program is named as program:SIZE,COMMAND");
  }
  command.text.assign(behind + 1, address.data() + address.size());
  return command;
}

/// What came is kept, so that any of it can be read again. The caller's thread fetches at first, a thread of this once
/// start() allows one. Threads: any call beside any other.
class ProgramStorage final : public Storage {
 public:
  ProgramStorage(std::string name, std::uint64_t size, pid_t program, Descriptor output)
      : name_(std::move(name)),
        size_(size),
        program_(program),
        output_(std::move(output)),
        facts_{.waits = Waits::network, .identity = name_} {}
  ~ProgramStorage() override {
    ends_ = true;
    if (fetcher_.joinable()) fetcher_.join();
    kill(-program_, SIGKILL);
    waitpid(program_, nullptr, 0);
  }

  [[nodiscard]] const std::string& name() const noexcept override { return name_; }
  [[nodiscard]] const StorageFacts& facts() const noexcept override { return facts_; }
  [[nodiscard]] Result<std::uint64_t> size() override { return size_; }
  [[nodiscard]] Result<> start() override {
    return or_no_thread([this] { fetcher_ = std::thread([this] { fetch_all(); }); });
  }

  [[nodiscard]] Result<> read(HostOffset offset, std::span<std::byte> out) override {
    const auto inside = HostRange{offset, out.size()}.intersection({{0}, size_});
    std::memset(out.data() + inside.length, 0, out.size() - inside.length);
    PatientWait wait(WaitFor::bytes);
    const MutexLock lock(mutex_);
    while (came_.size() < inside.end().value && !over_) {
      if (fetcher_.joinable()) {
        TRY(wait.on(more_, mutex_));
      } else {
        TRY(Wait::check(WaitFor::bytes));
        fetch_some();
      }
    }
    if (came_.size() < inside.end().value) {
      return fail(EIO, concat("read of ", out.size(), " bytes at ", hex(offset.value), ": the program ended after ",
                              came_.size(), " bytes"));
    }
    if (!inside.empty()) std::memcpy(out.data(), came_.data() + offset.value, inside.length);
    return {};
  }

 private:
  void fetch_all() {
    while (!ends_) {
      pollfd wanted{.fd = output_.get(), .events = POLLIN, .revents = 0};
      if (poll(&wanted, 1, 50) <= 0) continue;
      const MutexLock lock(mutex_);
      fetch_some();
      more_.notify_all();
      if (over_) return;
    }
  }
  void fetch_some() REQUIRES(mutex_) {
    std::array<std::byte, 65536> piece;
    const ssize_t got = ::read(output_.get(), piece.data(), piece.size());
    over_ = got <= 0;
    if (!over_) came_.insert(came_.end(), piece.data(), piece.data() + got);
  }

  const std::string name_;
  const std::uint64_t size_;
  const pid_t program_;
  const Descriptor output_;
  const StorageFacts facts_;
  std::atomic<bool> ends_{false};
  Mutex mutex_;
  ConditionVariable more_;
  std::vector<std::byte> came_ GUARDED_BY(mutex_);
  bool over_ GUARDED_BY(mutex_) = false;
  std::thread fetcher_;
};

Result<std::string> parse(std::string_view rest) {
  static_cast<void>(TRY(parse_command(std::string(rest))));
  return std::string(rest);
}

Result<std::string> from_json(JsonKeys& keys) {
  const auto size = TRY(keys.take_number("size"));
  return concat(size.value_or(0), ",", TRY(keys.need_text("command")));
}

/// Beside a program there is nothing.
std::string resolve(const std::string& /*image*/, std::string_view relative) {
  return std::string(relative);
}

Result<std::shared_ptr<Storage>> open(const std::string& address, const StorageOptions& options) {
  if (options.writable) return fail(EROFS, "what a program writes can only be read");
  const auto command = TRY(parse_command(address));
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return system_failure("cannot make a pipe");
  Descriptor output(ends[0]);
  const Descriptor input(ends[1]);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, input.get(), STDOUT_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  std::array<std::string, 3> words{"sh", "-c", command.text};
  std::array<char*, 4> arguments{words[0].data(), words[1].data(), words[2].data(), nullptr};
  pid_t program = 0;
  const int problem = posix_spawnp(&program, "sh", &actions, &attributes, arguments.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (problem != 0) return system_failure("cannot start the program", problem);
  return std::make_shared<ProgramStorage>(concat("program:", address), command.size, program, std::move(output));
}

Result<std::string> identify(const std::string& address) {
  return concat("program:", address);
}

}  // namespace

constinit const Protocol kProgramProtocol{.name = "program",
                                          .json_drivers = kJsonDrivers,
                                          .parse = parse,
                                          .from_json = from_json,
                                          .resolve = resolve,
                                          .open = open,
                                          .identify = identify};

}  // namespace penstock::toys
