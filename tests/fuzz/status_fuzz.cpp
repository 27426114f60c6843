// SPDX-License-Identifier: Apache-2.0
// What a mount of somebody else's may say: the answer of its daemon to `penstock status`, as JSON, and the kernel's
// list of mounts, whose paths anybody may have chosen.
#include "tests/fuzz/fuzz.hpp"

#include "cli/request_facts.hpp"
#include "cli/status_facts.hpp"
#include "cli/status_metrics.hpp"
#include "fuse/mountpoint.hpp"

#include <nlohmann/json.hpp>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace penstock;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const auto& entry : fuse::parse_mountinfo(text)) {
    fuzz::demand(!entry.path.empty() && !entry.device.empty(), "a mount has a path and a device");
  }
  const auto json = Json::parse(text, nullptr, false);
  if (json.is_discarded()) return 0;
  const auto requests = cli::request_facts(json);
  if (fuzz::told(requests)) static_cast<void>(cli::describe_latencies(*requests, 80, true));
  static_cast<void>(fuzz::told(cli::metrics_text(json, requests.value_or(std::vector<cli::RequestFacts>()))));
  if (const auto facts = cli::status_facts(json); fuzz::told(facts)) {
    for (const std::string& shown : {facts->image, facts->format, facts->mountpoint, facts->view, facts->control}) {
      for (const char character : shown) {
        fuzz::demand(static_cast<unsigned char>(character) >= ' ' && character != '\x7f',
                     "a text is fit for a terminal");
      }
    }
  }
  return 0;
}
