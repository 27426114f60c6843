// SPDX-License-Identifier: Apache-2.0
#include "control/server.hpp"

#include "control/client.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <thread>

namespace penstock::control {
namespace {

/// A server on a thread of its own, in a runtime directory of its own where that can be chosen.
class ServerTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NE(mkdtemp(directory_), nullptr);
    setenv("XDG_RUNTIME_DIR", directory_, 1);
    auto made = Server::open("test");
    ASSERT_TRUE(made) << made.error().message();
    server_ = *std::move(made);
    server_->on_command("echo", [](const Json& arguments) -> Result<Json> { return arguments; });
    server_->on_command("fail", [](const Json&) -> Result<Json> { return fail(EIO, "it broke"); });
    server_->on_quit([this]() -> Result<> {
      if (busy_) return fail(EBUSY, "busy");
      server_->stop();
      return {};
    });
    thread_ = std::jthread([this] { server_->run(); });
  }
  void TearDown() override {
    if (server_) {
      server_->stop();
      thread_.join();
      server_->finish(Json::object());
      EXPECT_NE(access(server_->path().c_str(), F_OK), 0) << "the socket is left behind";
      server_.reset();
    }
    rmdir((std::string(directory_) + "/penstock").c_str());
    rmdir(directory_);
  }

  Client connect() {
    auto client = Client::connect(server_->path());
    if (!client) throw std::runtime_error(client.error().message());
    return *std::move(client);
  }
  /// Sends raw bytes and gives what comes back within a moment, greeting included.
  std::string talk(const std::string& bytes) {
    const auto socket = connect_to(server_->path());
    if (!socket) throw std::runtime_error(socket.error().message());
    // May be cut short: the server hangs up on what is too long.
    EXPECT_GT(send(socket->get(), bytes.data(), bytes.size(), MSG_NOSIGNAL), 0);
    shutdown(socket->get(), SHUT_WR);
    std::string out;
    char buffer[4096];
    for (ssize_t got = 0; (got = recv(socket->get(), buffer, sizeof buffer, 0)) > 0;) {
      out.append(buffer, static_cast<std::size_t>(got));
    }
    return out;
  }

  std::unique_ptr<Server> server_;
  std::atomic<bool> busy_{false};
  std::jthread thread_;

 private:
  char directory_[32] = "/tmp/penstock-unit-XXXXXX";
};

TEST_F(ServerTest, TheSocketIsPrivate) {
  struct stat attributes{};
  ASSERT_EQ(stat(server_->path().c_str(), &attributes), 0);
  EXPECT_EQ(attributes.st_mode & 0777U, 0600U);
}

TEST_F(ServerTest, AnswersCommandsOfSeveralClients) {
  auto one = connect();
  auto other = connect();
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(one.execute("echo", {{"i", i}}), (Json{{"i", i}}));
    EXPECT_EQ(other.execute("echo", {{"i", -i}}), (Json{{"i", -i}}));
  }
}

TEST_F(ServerTest, ErrorsCarryTheirReason) {
  auto client = connect();
  const auto result = client.execute("fail");
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message(), "it broke");
  ASSERT_FALSE(client.execute("no-such-command"));
  EXPECT_TRUE(client.execute("echo")) << "the connection outlives errors";
}

TEST_F(ServerTest, UnknownCommandsAreCommandNotFound) {
  const auto said = talk(R"({"execute":"qmp_capabilities"}{"execute":"frob","id":5})");
  EXPECT_NE(said.find(R"({"error":{"class":"CommandNotFound")"), std::string::npos) << said;
  EXPECT_NE(said.find(R"("id":5)"), std::string::npos) << said;
}

TEST_F(ServerTest, NothingButNegotiationIsUnderstoodFirst) {
  const auto said = talk(R"({"execute":"echo"})");
  EXPECT_EQ(said.rfind("{\"QMP\"", 0), 0U) << said;
  EXPECT_NE(said.find("CommandNotFound"), std::string::npos) << said;
}

TEST_F(ServerTest, RubbishIsAnsweredAndDoesNotHarmOthers) {
  for (const char* rubbish :
       {"hello\n", "{]}\n", "{\"execute\": 5}", "{\"execute\": \"echo\", \"arguments\": 3}", "{\"exec\": \"echo\"}",
        "{}", "[]\n", "{\"execute\":\"echo\",\"extra\":1}", "\"\n", "{\"a\": \"\xff\xfe\"}"}) {
    EXPECT_NE(talk(rubbish).find("\"error\""), std::string::npos) << rubbish;
  }
  EXPECT_NE(talk(std::string(100000, '[') + "\n").find("\"error\""), std::string::npos);
  EXPECT_NE(talk("{\"a\":\"" + std::string(1U << 20U, 'x')).find("\"error\""), std::string::npos);
  EXPECT_TRUE(connect().execute("echo"));
}

TEST_F(ServerTest, RefusesMoreClientsThanItHasRoomFor) {
  std::vector<Client> clients;
  for (std::size_t i = 0; i < Server::kClientsMax; ++i) clients.push_back(connect());
  const auto refused = Client::connect(server_->path());
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message().find("connections are open"), std::string::npos) << refused.error().message();
  clients.pop_back();
  auto next = Client::connect(server_->path());
  for (int tries = 0; tries < 500 && !next; ++tries) {
    usleep(10000);
    next = Client::connect(server_->path());
  }
  EXPECT_TRUE(next) << next.error().message();
}

TEST_F(ServerTest, AClientThatDoesNotReadIsDroppedAndHoldsUpNobody) {
  const auto socket = connect_to(server_->path());
  ASSERT_TRUE(socket);
  fcntl(socket->get(), F_SETFL, O_NONBLOCK);
  const std::string flood = R"({"execute":"qmp_capabilities"})" +
                            std::string(R"({"execute":"echo","arguments":{"x":")") + std::string(30000, 'x') + "\"}}";
  bool dropped = false;
  for (int i = 0; i < 5000 && !dropped; ++i) {
    dropped = send(socket->get(), flood.data(), flood.size(), MSG_NOSIGNAL) < 0 && errno != EAGAIN;
    if (i % 100 == 0) usleep(1000);
  }
  EXPECT_TRUE(connect().execute("echo"));
}

TEST_F(ServerTest, QuitIsRefusedWhileBusyAndChangesNothing) {
  busy_ = true;
  auto client = connect();
  const auto result = client.execute("quit");
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message(), "busy");
  EXPECT_TRUE(client.execute("echo"));
}

TEST_F(ServerTest, TheAnswerToQuitWaitsForTheOutcome) {
  auto client = connect();
  Result<Json> answered = Json();
  std::jthread asking([&] { answered = client.execute("quit"); });
  thread_.join();  // run() has returned, and the answer is still out
  server_->finish(fail(EIO, "the last flush failed"));
  asking.join();
  ASSERT_FALSE(answered);
  EXPECT_EQ(answered.error().message(), "the last flush failed");
  server_.reset();
}

}  // namespace
}  // namespace penstock::control
