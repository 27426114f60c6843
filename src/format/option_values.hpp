// SPDX-License-Identifier: Apache-2.0
/// Values of -o options of create, as every format reads them. Errors: EINVAL, naming the option.
#pragma once

#include <penstock/format.hpp>

namespace penstock {

using OptionMap = std::map<std::string, std::string>;

[[nodiscard]] std::string option_text(const OptionMap& options, const char* name, std::string_view otherwise = {});
/// on/off, yes/no, true/false, y/n; off when not given.
[[nodiscard]] Result<bool> option_switch(const OptionMap& options, const char* name);
/// Bytes, with qemu-img's suffixes: 65536, 64k, 2M.
[[nodiscard]] Result<std::uint64_t> option_size(const OptionMap& options, const char* name, std::uint64_t otherwise);
[[nodiscard]] Result<std::uint64_t> option_number(const OptionMap& options, const char* name, std::uint64_t otherwise);
/// -b and -o backing_file (-F and backing_fmt) name the same thing; two different answers are a mistake.
[[nodiscard]] Result<BackingReference> option_backing(const CreateRequest& request);
[[nodiscard]] Result<> refuse_unknown_options(std::string_view format, const OptionMap& options,
                                              std::span<const CreateOption> known);

}  // namespace penstock
