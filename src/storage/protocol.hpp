// SPDX-License-Identifier: Apache-2.0
/// The seam between names and storages: what a protocol brings.
#pragma once

#include <penstock/storage.hpp>

#include <span>
#include <string>
#include <string_view>

namespace penstock {

class JsonKeys;

/// One way to get at bytes: one constant in its folder, one line in src/storage/registry.cpp. An address is what its
/// parse(), from_json() and resolve() give, and is never looked into by anybody else.
struct Protocol {
  std::string_view name;  ///< what stands before the ':'
  /// What "driver" of a json: name calls it. Source: QEMU's qapi/block-core.json, BlockdevDriver.
  std::span<const std::string_view> json_drivers;
  /// The address in what stands behind "name:". Errors: EINVAL.
  Result<std::string> (*parse)(std::string_view rest);
  /// The address in the keys of a json: name, and takes those that it understands. Errors: EINVAL.
  Result<std::string> (*from_json)(JsonKeys& keys);
  /// The address of what an image at the address `image` names `relative`.
  std::string (*resolve)(const std::string& image, std::string_view relative);
  /// Errors: as open_storage().
  Result<std::shared_ptr<Storage>> (*open)(const std::string& address, const StorageOptions& options);
  /// StorageFacts::identity of what is there, without opening it. Errors: ENOENT and the like.
  Result<std::string> (*identify)(const std::string& address);
  /// Errors: as create_storage(). Null: nothing can be made there.
  Result<std::shared_ptr<Storage>> (*create)(const std::string& address) = nullptr;
};

/// All protocols, that of plain paths first. Lives as long as the program.
[[nodiscard]] std::span<const Protocol* const> protocols();

/// Null: there is none of that name.
[[nodiscard]] const Protocol* find_protocol(std::string_view name);

}  // namespace penstock
