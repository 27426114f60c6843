// SPDX-License-Identifier: Apache-2.0
/// The QMP server of a daemon.
#pragma once

#include "base/descriptor.hpp"
#include "base/mutex.hpp"
#include "control/protocol.hpp"
#include "control/socket.hpp"

#include <poll.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace penstock::control {

/// What a command does: gets `arguments` (an object), gives the value of "return". Errors: ENXIO is told as
/// DeviceNotActive, all others as GenericError.
using Handler = std::function<Result<Json>(const Json& arguments)>;

/// Listens on a Unix socket and answers commands one after the other.
///
/// A connection: greeting -> only qmp_capabilities is understood -> commands -> closed by either side.
/// `quit` is special: when its handler succeeds, the answer waits until finish() says how the end went.
///
/// Threads: run() on one thread; stop() and post() from any; everything else before run() or after it has returned.
/// Memory: kClientsMax connections with bounded input and output each.
/// Errors: what a client does wrong is told to the client, or ends its connection.
class Server {
 public:
  static constexpr std::size_t kClientsMax = 16;

  /// Makes the socket, named after this process, in the user's runtime directory.
  [[nodiscard]] static Result<std::unique_ptr<Server>> open(std::string version);
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server();

  [[nodiscard]] const std::string& path() const noexcept { return socket_.path; }
  void on_command(std::string name, Handler handler);
  void on_quit(std::function<Result<>()> handler) { quit_ = std::move(handler); }
  /// Calls `ready` on the server's thread when `descriptor` can be read.
  void watch(int descriptor, std::function<void()> ready) { watched_.emplace_back(descriptor, std::move(ready)); }

  /// Sends an event to every client that has negotiated. Any thread, also before run(); after it, without effect.
  void post(const Json& event);

  /// Serves until stop().
  void run();
  void stop();
  /// Tells those who asked to quit how it went (the value of "return", or an error), and removes the socket.
  void finish(const Result<Json>& outcome);

 private:
  struct Client;

  Server(ListeningSocket socket, Descriptor wake, std::string version);
  void serve(const std::vector<pollfd>& waiting);
  void accept_client();
  void serve_input(Client& client);
  void handle(Client& client, const std::string& message);
  [[nodiscard]] Json execute(Client& client, const std::string& command, const Json& arguments, const Json& id);
  void wake();
  void send_events();
  static void send(Client& client, const Json& message);
  static void send(Client& client, const std::string& line);
  static void send_pending(Client& client);

  ListeningSocket socket_;
  Descriptor wake_;  ///< eventfd(2), written by stop() and post()
  std::atomic<bool> stopping_{false};
  Mutex events_mutex_;
  std::vector<std::string> events_ GUARDED_BY(events_mutex_);  ///< as they are sent
  bool crowded_ = false;                                       ///< no descriptor was left for a new client
  std::string version_;
  std::map<std::string, Handler> handlers_;
  std::function<Result<>()> quit_;
  std::vector<std::pair<int, std::function<void()>>> watched_;
  std::vector<std::unique_ptr<Client>> clients_;
};

}  // namespace penstock::control
