// SPDX-License-Identifier: Apache-2.0
#include "control/server.hpp"

#include "base/log.hpp"
#include "base/text.hpp"

#include <nlohmann/json.hpp>

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <new>
#include <utility>

namespace penstock::control {

namespace {

constexpr std::size_t kOutputBytesMax = 4U << 20U;
constexpr std::size_t kClientMessageBytesMax = 64U << 10U;
constexpr std::size_t kEventsMax = 1000;
constexpr int kCrowdedMilliseconds = 100;

}  // namespace

struct Server::Client {
  Descriptor descriptor;
  Framer framer;
  std::string output;
  bool negotiated = false;
  bool quits = false;
  bool closing = false;  ///< as soon as the output is sent
  Json quit_id;
};

Result<std::unique_ptr<Server>> Server::open(std::string version) {
  const std::string directory = TRY(runtime_directory());
  auto socket = TRY(listen_on(directory, concat(getpid())));
  Descriptor wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) {
    const auto problem = system_failure("cannot make an event descriptor");
    unlink(socket.path.c_str());
    return problem;
  }
  return std::unique_ptr<Server>(new Server(std::move(socket), std::move(wake), std::move(version)));
}

Server::Server(ListeningSocket socket, Descriptor wake, std::string version)
    : socket_(std::move(socket)), wake_(std::move(wake)), version_(std::move(version)) {}

Server::~Server() {
  if (socket_.descriptor) unlink(socket_.path.c_str());
}

void Server::on_command(std::string name, Handler handler) {
  handlers_[std::move(name)] = std::move(handler);
}

void Server::run() {
  for (;;) {
    // Who cannot be let in stays at the door, and would wake us at once again.
    const bool deaf = std::exchange(crowded_, false);
    const auto at_door = static_cast<short>(deaf ? 0 : POLLIN);
    std::vector<pollfd> waiting{{wake_.get(), POLLIN, 0}, {socket_.descriptor.get(), at_door, 0}};
    for (const auto& [descriptor, ready] : watched_) waiting.push_back({descriptor, POLLIN, 0});
    for (const auto& client : clients_) {
      const bool sends = !client->output.empty();
      waiting.push_back({client->descriptor.get(), static_cast<short>(sends ? POLLIN | POLLOUT : POLLIN), 0});
    }
    if (poll(waiting.data(), waiting.size(), deaf ? kCrowdedMilliseconds : -1) < 0) {
      // No memory, or a limit on descriptors below what is open: nothing can be done but to try again.
      if (errno != EINTR) usleep(kCrowdedMilliseconds * 1000);
      continue;
    }
    if (stopping_) return;
    // A thread that ends by an exception takes the mount with it.
    try {
      serve(waiting);
    } catch (const std::bad_alloc&) {
      clients_.clear();
      log_limited(LogLevel::error, "control socket: no memory; its connections are closed");
    }
  }
}

void Server::serve(const std::vector<pollfd>& waiting) {
  const std::size_t first_client = 2 + watched_.size();
  if (waiting[0].revents != 0) send_events();
  const std::size_t known_clients = clients_.size();
  for (std::size_t i = 0; i < known_clients; ++i) {
    Client& client = *clients_[i];
    const short events = waiting[first_client + i].revents;
    if ((events & POLLOUT) != 0) send_pending(client);
    if ((events & (POLLIN | POLLHUP | POLLERR)) != 0) serve_input(client);
  }
  for (std::size_t i = 0; i < watched_.size(); ++i) {
    if (waiting[2 + i].revents != 0) watched_[i].second();
  }
  if (waiting[1].revents != 0) accept_client();
  std::erase_if(clients_,
                [](const auto& client) { return !client->descriptor || (client->closing && client->output.empty()); });
}

void Server::stop() {
  stopping_ = true;
  wake();
}

void Server::wake() {
  const std::uint64_t one = 1;
  // Fails only when the counter is full, and then run() wakes anyway.
  static_cast<void>(!write(wake_.get(), &one, sizeof one));
}

void Server::post(const Json& event) {
  std::string line = to_line(event);
  {
    const MutexLock lock(events_mutex_);
    // Nobody has fetched them for long: what is new says more than what is old.
    if (events_.size() >= kEventsMax) events_.erase(events_.begin());
    events_.push_back(std::move(line));
  }
  wake();
}

void Server::send_events() {
  std::uint64_t count = 0;
  static_cast<void>(!read(wake_.get(), &count, sizeof count));
  std::vector<std::string> events;
  {
    const MutexLock lock(events_mutex_);
    events.swap(events_);
  }
  for (const auto& event : events) {
    for (const auto& client : clients_) {
      if (client->negotiated && client->descriptor) send(*client, event);
    }
  }
}

void Server::finish(const Result<Json>& outcome) {
  send_events();
  for (const auto& client : clients_) {
    if (!client->quits || !client->descriptor) continue;
    // Back to blocking: this answer is the reason why the client waits.
    fcntl(client->descriptor.get(), F_SETFL, 0);
    const timeval limit{5, 0};
    setsockopt(client->descriptor.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    send(*client, outcome ? answer(*outcome, client->quit_id)
                          : failure("GenericError", outcome.error().message(), client->quit_id));
  }
  clients_.clear();
  unlink(socket_.path.c_str());
  socket_.descriptor.reset();
}

void Server::accept_client() {
  Descriptor descriptor(accept4(socket_.descriptor.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  crowded_ = !descriptor && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM);
  if (!descriptor) return;
  if (!is_same_user(descriptor.get())) return;
  if (clients_.size() >= kClientsMax) {
    const auto line = to_line(failure("GenericError", concat("already ", kClientsMax, " connections are open"), {}));
    static_cast<void>(::send(descriptor.get(), line.data(), line.size(), MSG_NOSIGNAL));
    return;
  }
  auto client = std::make_unique<Client>();
  client->framer = Framer(kClientMessageBytesMax);
  client->descriptor = std::move(descriptor);
  send(*client, greeting(version_));
  clients_.push_back(std::move(client));
}

void Server::serve_input(Client& client) {
  if (client.closing || !client.descriptor) return;
  std::array<char, 4096> buffer;
  const ssize_t got = ::recv(client.descriptor.get(), buffer.data(), buffer.size(), 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) return client.descriptor.reset();
  const auto taken = client.framer.feed({buffer.data(), static_cast<std::size_t>(got)});
  while (client.framer.has_next() && client.descriptor && !client.closing) handle(client, client.framer.next());
  if (!taken && client.descriptor) {
    send(client, failure("GenericError", taken.error().message(), {}));
    client.closing = true;
  }
}

void Server::handle(Client& client, const std::string& message) {
  const Json request = Json::parse(message, nullptr, false);
  if (request.is_discarded()) return send(client, failure("GenericError", "the message is not JSON", {}));
  if (!request.is_object()) return send(client, failure("GenericError", "the message is not an object", {}));
  const Json id = request.value("id", Json());
  for (const auto& [key, value] : request.items()) {
    if (key != "execute" && key != "arguments" && key != "id") {
      return send(client, failure("GenericError", concat("unexpected member '", key, "'"), id));
    }
  }
  const auto command = request.find("execute");
  if (command == request.end() || !command->is_string()) {
    return send(client, failure("GenericError", "the member 'execute' is missing or no string", id));
  }
  const Json arguments = request.value("arguments", Json::object());
  if (!arguments.is_object()) {
    return send(client, failure("GenericError", "the member 'arguments' is not an object", id));
  }
  const Json reply = execute(client, command->get<std::string>(), arguments, id);
  if (!reply.is_null()) send(client, reply);
}

Json Server::execute(Client& client, const std::string& command, const Json& arguments, const Json& id) {
  const auto not_found = [&id](const std::string& description) { return failure("CommandNotFound", description, id); };
  if (command == "qmp_capabilities") {
    if (client.negotiated) return not_found("capabilities are negotiated already");
    client.negotiated = true;
    return answer(Json::object(), id);
  }
  if (!client.negotiated) return not_found("expecting capabilities negotiation with 'qmp_capabilities'");
  if (command == "query-commands") {
    Json names = Json::array({{{"name", "qmp_capabilities"}}, {{"name", "query-commands"}}, {{"name", "quit"}}});
    for (const auto& [name, handler] : handlers_) names.push_back({{"name", name}});
    return answer(std::move(names), id);
  }
  if (command == "quit" && quit_) {
    if (const auto done = quit_(); !done) return failure("GenericError", done.error().message(), id);
    client.quits = true;
    client.quit_id = id;
    return {};
  }
  const auto found = handlers_.find(command);
  if (found == handlers_.end()) return not_found(concat("The command ", command, " has not been found"));
  auto result = found->second(arguments);
  if (!result) {
    return failure(result.error().is(ENXIO) ? "DeviceNotActive" : "GenericError", result.error().message(), id);
  }
  return answer(*std::move(result), id);
}

void Server::send(Client& client, const Json& message) {
  send(client, to_line(message));
}

void Server::send(Client& client, const std::string& line) {
  client.output += line;
  send_pending(client);
  // A client that asks and does not read is not worth the memory.
  if (client.output.size() > kOutputBytesMax) client.descriptor.reset();
}

void Server::send_pending(Client& client) {
  while (!client.output.empty() && client.descriptor) {
    const ssize_t sent = ::send(client.descriptor.get(), client.output.data(), client.output.size(), MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN) client.descriptor.reset();
      return;
    }
    client.output.erase(0, static_cast<std::size_t>(sent));
  }
}

}  // namespace penstock::control
