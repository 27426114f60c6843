// SPDX-License-Identifier: Apache-2.0
#include "control/client.hpp"

#include "tests/support/expect.hpp"

#include <nlohmann/json.hpp>

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <thread>

namespace penstock::control {
namespace {

constexpr const char* kGreeting = "{\"QMP\": {}}\n{\"return\": {}}\n";

/// Says a fixed text to whoever connects, takes `requests` messages, and hangs up.
class ScriptedDaemon {
 public:
  ScriptedDaemon(std::string text, unsigned requests) : text_(std::move(text)), requests_(requests) {
    if (mkdtemp(directory_.data()) == nullptr) throw std::runtime_error("mkdtemp");
    socket_ = test::must(listen_on(directory_.data(), "1"));
    thread_ = std::jthread([this] { serve(); });
  }
  ScriptedDaemon(const ScriptedDaemon&) = delete;
  ScriptedDaemon& operator=(const ScriptedDaemon&) = delete;
  ~ScriptedDaemon() {
    thread_.join();
    unlink(socket_.path.c_str());
    rmdir(directory_.data());
  }
  [[nodiscard]] const std::string& path() const { return socket_.path; }

 private:
  void serve() {
    int descriptor = -1;
    while ((descriptor = accept(socket_.descriptor.get(), nullptr, nullptr)) < 0) usleep(1000);
    const Descriptor client(descriptor);
    send(client.get(), text_.data(), text_.size(), MSG_NOSIGNAL);
    Framer framer;
    for (unsigned taken = 0; taken < requests_;) {
      std::array<char, 256> buffer;
      const ssize_t got = recv(client.get(), buffer.data(), buffer.size(), 0);
      if (got <= 0 || !framer.feed({buffer.data(), static_cast<std::size_t>(got)})) return;
      for (; framer.has_next(); ++taken) static_cast<void>(framer.next());
    }
  }

  std::string text_;
  unsigned requests_;
  std::array<char, 32> directory_{"/tmp/penstock-unit-XXXXXX"};
  ListeningSocket socket_;
  std::jthread thread_;
};

TEST(Client, SkipsEventsBeforeTheAnswer) {
  const ScriptedDaemon daemon(std::string(kGreeting) + R"({"event": "X"} {"return": [1, 2]})", 2);
  auto client = test::must(Client::connect(daemon.path()));
  EXPECT_EQ(test::must(client.execute("anything")), Json::parse("[1, 2]"));
}

TEST(Client, GivesTheDaemonsOwnWordsForAnError) {
  const ScriptedDaemon daemon(std::string(kGreeting) + R"({"error": {"class": "GenericError", "desc": "no"}})", 2);
  auto client = test::must(Client::connect(daemon.path()));
  const auto result = client.execute("anything");
  EXPECT_ERRNO(result, EREMOTEIO);
  EXPECT_EQ(result.error().message(), "no");
}

TEST(Client, ADaemonThatGoesAwayIsNoSuccess) {
  const ScriptedDaemon daemon(kGreeting, 2);
  auto client = test::must(Client::connect(daemon.path()));
  EXPECT_FALSE(client.execute("quit"));
}

TEST(Client, WhatDoesNotGreetIsNoDaemon) {
  const ScriptedDaemon daemon("{\"hello\": 1}\n", 0);
  EXPECT_ERRNO(Client::connect(daemon.path()), EPROTO);
  const ScriptedDaemon other("SSH-2.0\n", 0);
  EXPECT_ERRNO(Client::connect(other.path()), EPROTO);
}

TEST(FindControlSocket, SaysThatNoImageIsMounted) {
  const auto plain = find_control_socket("/");
  EXPECT_ERRNO(plain, EINVAL);
  EXPECT_EQ(plain.error().message(), "/: no image is mounted here by penstock");
  EXPECT_ERRNO(find_control_socket("/nosuch/path"), ENOENT);
}

}  // namespace
}  // namespace penstock::control
