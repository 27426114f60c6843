// SPDX-License-Identifier: Apache-2.0
/// QED as the table of formats knows it.
#pragma once

#include <penstock/format.hpp>

namespace penstock::qed {

extern const Format kFormat;

/// Format::plan_create.
[[nodiscard]] Result<std::unique_ptr<CreatePlan>> plan_create(const CreateRequest& request);
[[nodiscard]] std::span<const CreateOption> create_option_list();

/// Format::overhead.
[[nodiscard]] Result<Overhead> overhead(const std::map<std::string, std::string>& options, std::uint64_t size);

}  // namespace penstock::qed
