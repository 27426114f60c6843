// SPDX-License-Identifier: Apache-2.0
#include "control/client.hpp"

#include "base/real_path.hpp"
#include "base/text.hpp"

#include <nlohmann/json.hpp>

#include <poll.h>
#include <sys/socket.h>
#include <sys/xattr.h>

#include <algorithm>
#include <array>
#include <climits>
#include <optional>

namespace penstock::control {

Result<std::string> find_control_socket(const std::string& mountpoint) {
  // A shell that stood in the directory before the mount sees what is below it as ".": the path is what is meant.
  const auto path = real_path(mountpoint);
  std::array<char, PATH_MAX> value;
  const ssize_t length =
      getxattr(path.value_or(mountpoint).c_str(), "user.penstock.control", value.data(), value.size());
  if (length > 0) return std::string(value.data(), static_cast<std::size_t>(length));
  if (length == 0 || errno == ENODATA || errno == EOPNOTSUPP) {
    return fail(EINVAL, concat(mountpoint, ": no image is mounted here by penstock"));
  }
  if (errno == ENOTCONN) {
    return fail(ENOTCONN, concat(mountpoint, ": the daemon is gone; run 'umount ", mountpoint, "' or 'fusermount3 -u ",
                                 mountpoint, "'"));
  }
  if (errno == EACCES || errno == EPERM) {
    return fail(errno,
                concat(mountpoint, ": belongs to another user: run this as that user; if it keeps its owner out, ",
                       "'umount ", mountpoint, "' or 'fusermount3 -u ", mountpoint, "' ends it"));
  }
  return system_failure(mountpoint);
}

namespace {

constexpr std::chrono::milliseconds kLongestPoll{std::chrono::hours(1)};

/// The daemon's own words, where it says no.
std::optional<Error> refusal_in(const Json& message) {
  const auto error = message.find("error");
  if (error == message.end() || !error->is_object()) return std::nullopt;
  return Error(EREMOTEIO, error->value("desc", "the daemon gave no reason"));
}

}  // namespace

Result<Client> Client::connect(const std::string& socket_path) {
  Client client(TRY(connect_to(socket_path)));
  const Json first = TRY(client.receive());
  if (const auto refused = refusal_in(first)) return Failure(*refused);
  if (!first.is_object() || !first.contains("QMP")) {
    return fail(EPROTO, concat(socket_path, ": does not greet as QMP does"));
  }
  TRY(client.execute("qmp_capabilities"));
  return client;
}

Result<Json> Client::execute(const std::string& command) {
  return execute(command, Json::object());
}

Result<Json> Client::execute(const std::string& command, const Json& arguments) {
  Json request = {{"execute", command}};
  if (!arguments.empty()) request["arguments"] = arguments;
  std::string line = to_line(request);
  while (!line.empty()) {
    const ssize_t sent = ::send(descriptor_.get(), line.data(), line.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return system_failure("cannot send to the daemon");
    line.erase(0, static_cast<std::size_t>(sent));
  }
  for (;;) {
    Json message = TRY(receive());
    if (const auto result = message.find("return"); result != message.end()) return *result;
    if (const auto refused = refusal_in(message)) return Failure(*refused);
  }
}

Result<> Client::wait_for_input() const {
  if (!deadline_) return {};
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(*deadline_ - std::chrono::steady_clock::now());
    pollfd waiting{.fd = descriptor_.get(), .events = POLLIN, .revents = 0};
    const int ready = left.count() <= 0 ? 0 : poll(&waiting, 1, static_cast<int>(std::min(left, kLongestPoll).count()));
    if (ready > 0) return {};
    if (ready < 0 && errno != EINTR) return system_failure("cannot hear from the daemon");
    if (left.count() <= 0) return fail(ETIMEDOUT, "the daemon has not answered in time");
  }
}

Result<Json> Client::receive() {
  while (!framer_.has_next()) {
    TRY(wait_for_input());
    std::array<char, 4096> buffer;
    const ssize_t got = ::recv(descriptor_.get(), buffer.data(), buffer.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return system_failure("cannot hear from the daemon");
    if (got == 0) return fail(EPIPE, "the daemon went away without an answer");
    TRY(framer_.feed({buffer.data(), static_cast<std::size_t>(got)}));
  }
  Json message = Json::parse(framer_.next(), nullptr, false);
  if (message.is_discarded() || !message.is_object()) return fail(EPROTO, "the daemon's answer is not JSON");
  return message;
}

}  // namespace penstock::control
