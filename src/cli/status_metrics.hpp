// SPDX-License-Identifier: Apache-2.0
/// What `penstock status --prometheus` prints.
#pragma once

#include "cli/request_facts.hpp"
#include "cli/status_facts.hpp"

namespace penstock::cli {

/// The status as metrics in Prometheus' text format, version 0.0.4; every sample carries the mountpoint.
/// `status`: the answer to query-penstock. Errors: EPROTO.
/// Source: https://prometheus.io/docs/instrumenting/exposition_formats
[[nodiscard]] Result<std::string> metrics_text(const Json& status, const std::vector<RequestFacts>& requests);

}  // namespace penstock::cli
