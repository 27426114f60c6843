// SPDX-License-Identifier: Apache-2.0
/// The object behind "json:" in an image name.
#pragma once

#include <penstock/name.hpp>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

namespace penstock {

/// The keys of a json: name, flat: {"file": {"filename": "a"}} and {"file.filename": "a"} both are "file.filename".
/// Whoever takes a key understands it; what is left at the end is refused.
class JsonKeys {
 public:
  /// A text, a number of bytes, or what is neither.
  using Value = std::variant<std::monostate, std::string, std::uint64_t>;
  using Map = std::map<std::string, Value, std::less<>>;

  explicit JsonKeys(Map keys) : keys_(std::move(keys)) {}

  /// None: it is not there. Errors: EINVAL, it is something else.
  [[nodiscard]] Result<std::optional<std::string>> take_text(std::string_view key);
  /// A number, or digits in a text, up to INT64_MAX.
  [[nodiscard]] Result<std::optional<std::uint64_t>> take_number(std::string_view key);
  /// Errors: EINVAL, it is not there, either.
  [[nodiscard]] Result<std::string> need_text(std::string_view key);

  /// Keys that follow are of the node of that name; "": of the outer one.
  void enter(std::string_view node) { prefix_ = node.empty() ? "" : std::string(node) + "."; }
  [[nodiscard]] const Map& left() const { return keys_; }

 private:
  [[nodiscard]] std::string full(std::string_view key) const { return prefix_ + std::string(key); }

  Map keys_;
  std::string prefix_;
};

/// EINVAL in the words of all that is wrong with such a name.
[[nodiscard]] Failure unusable_json_name(std::string_view what);

/// `text` is what stands behind "json:". Nested and dotted keys mean the same. Taken are "driver", "offset" and "size"
/// of raw, and in "file" its "driver" and what that protocol understands; or the keys of the protocol's node alone.
/// Errors: EINVAL for anything else.
[[nodiscard]] Result<ImageName> parse_json_name(std::string_view text);

}  // namespace penstock
