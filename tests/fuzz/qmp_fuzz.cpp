// SPDX-License-Identifier: Apache-2.0
// What a client may send to the control socket, in pieces, to a server with a streaming job over an image in memory:
// the server goes on, its answers are JSON lines, and it hangs up on what is too long.
#include "image/layer.hpp"
#include "tests/fuzz/fuzz.hpp"

#include "control/server.hpp"
#include "control/stream_job.hpp"

#include <nlohmann/json.hpp>

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>
#include <thread>
#include <vector>

namespace penstock::fuzz {
namespace {

char directory[] = "/tmp/penstock-fuzz-XXXXXX";

template <typename T>
T must(Result<T> result) {
  if (!result) std::fprintf(stderr, "%s\n", result.error().message().c_str());
  demand(result.has_value(), "what the target itself needs works");
  return *std::move(result);
}

/// Lives as long as the program.
class Daemon {
 public:
  static Daemon& instance() {
    static Daemon* const daemon = new Daemon;
    return *daemon;
  }
  [[nodiscard]] const std::string& socket() const { return server_->path(); }

 private:
  Daemon() {
    demand(mkdtemp(directory) != nullptr, "a directory can be made");
    server_ = must(control::Server::open("fuzz"));
    image_ = make_image();
    job_ = std::make_unique<control::StreamJob>(*image_, *server_);
    server_->on_quit([]() -> Result<> { return fail(EBUSY, "busy"); });
    std::atexit([] {
      unlink(instance().socket().c_str());
      rmdir(directory);
    });
    thread_ = std::thread([this] { server_->run(); });
    thread_.detach();
  }

  static std::unique_ptr<Image> make_image() {
    constexpr std::uint64_t kSize = 256U << 10U;
    const auto& qcow2 = *must(find_format("qcow2"));
    CreateRequest request;
    request.size = kSize;
    request.backing = {.name = "base", .format = "raw"};
    request.backing_size = kSize;
    const auto top = std::make_shared<MemoryStorage>("top");
    static_cast<void>(must(qcow2.plan_create(request))->write(top, nullptr));
    const auto base = std::make_shared<MemoryStorage>("base");
    static_cast<void>(base->write({0}, std::vector<std::byte>(kSize, std::byte{1})));
    Layers layers;
    layers.push_back(make_layer("/images/top", must(qcow2.open(top, {.writable = true}))));
    layers.push_back(make_layer("/images/base", must(must(find_format("raw"))->open(base, {}))));
    return penstock::make_image(std::move(layers), {.writable = true, .cache_bytes = 1U << 20U});
  }

  std::unique_ptr<control::Server> server_;
  std::unique_ptr<Image> image_;
  std::unique_ptr<control::StreamJob> job_;
  std::thread thread_;
};

void send_all(int socket, std::string_view bytes, std::size_t piece) {
  while (!bytes.empty()) {
    const auto part = bytes.substr(0, piece);
    // The server may have hung up, as it should on what is too long.
    if (send(socket, part.data(), part.size(), MSG_NOSIGNAL) < 0) {
      if (errno == EINTR) continue;  // the fuzzer's alarm clock
      return;
    }
    bytes.remove_prefix(part.size());
  }
}

/// All that comes until the server hangs up, which it does when it sees the end of what we send.
std::string receive_all(int socket) {
  std::string out;
  std::array<char, 4096> buffer;
  for (;;) {
    const ssize_t got = recv(socket, buffer.data(), buffer.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    out.append(buffer.data(), static_cast<std::size_t>(got));
  }
  return out;
}

void expect_json_lines(std::string_view text) {
  demand(text.starts_with("{\"QMP\""), "the server greets");
  while (!text.empty()) {
    const auto end = text.find("\r\n");
    if (end == std::string_view::npos) return;  // cut by the end of the connection
    demand(!Json::parse(text.substr(0, end), nullptr, false).is_discarded(), "an answer is a line of JSON");
    text.remove_prefix(end + 2);
  }
}

}  // namespace
}  // namespace penstock::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace penstock;
  if (size == 0) return 0;
  const auto socket = fuzz::must(control::connect_to(fuzz::Daemon::instance().socket()));
  std::string bytes = "{\"execute\":\"qmp_capabilities\"}";
  bytes.append(reinterpret_cast<const char*>(data) + 1, size - 1);
  fuzz::send_all(socket.get(), bytes, data[0] < 8 ? 1U + data[0] : bytes.size());
  shutdown(socket.get(), SHUT_WR);
  fuzz::expect_json_lines(fuzz::receive_all(socket.get()));
  return 0;
}
