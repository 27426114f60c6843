// SPDX-License-Identifier: Apache-2.0
#include "image/format_choice.hpp"

#include "base/text.hpp"
#include "image/foreign.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <string>

namespace penstock {

// Block devices mostly are.
bool looks_raw(const ImageName& name) {
  if (name.address.starts_with("/dev/")) return true;
  const auto file = name.file_name();
  const auto dot = file.rfind('.');
  if (dot == std::string_view::npos) return false;
  std::string suffix(file.substr(dot + 1));
  std::ranges::transform(suffix, suffix.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  constexpr std::array<std::string_view, 5> kSuffixes{"img", "raw", "dd", "bin", "iso"};
  return std::ranges::find(kSuffixes, suffix) != kSuffixes.end();
}

namespace {

Result<std::string_view> foreign_format_of(Storage& storage) {
  std::array<std::byte, 512> head{};
  const auto length = std::min<std::uint64_t>(TRY(storage.size()), head.size());
  TRY(storage.read({0}, std::span(head).first(length)));
  return foreign_format(std::span(head).first(length));
}

}  // namespace

Result<const Format*> probe_safely(Storage& storage, const ImageName& name, Probing probing) {
  const Format* const found = TRY(probe_format(storage));
  const Format* const raw = &raw_format();
  if (found == raw && probing == Probing::not_raw) {
    return fail(EINVAL, "contents look like no known format, though the overlay says that it is not raw");
  }
  if (found == raw) {
    const auto foreign = TRY(foreign_format_of(storage));
    if (!foreign.empty()) {
      return fail(EINVAL,
                  concat("contents look like ", foreign, ", which penstock does not read; ",
                         probing == Probing::stored ? "store the format raw in the overlay" : "say --format=raw",
                         " if these are the bytes of a raw disk"));
    }
    if (probing != Probing::writable) return raw;
    if (TRY(storage.size()) == 0) return fail(EINVAL, "the file is empty; say --format=raw if it is a raw disk");
    return fail(EINVAL,
                "format not given and contents look like no known format; say --format=raw if it is a raw disk");
  }
  if (probing == Probing::stored) {
    return fail(EINVAL, concat("its format is not stored in the overlay and contents look like ", found->name,
                               "; store it with 'qemu-img rebase -u -F FORMAT -b BACKING OVERLAY'"));
  }
  if (probing == Probing::writable && looks_raw(name)) {
    return fail(EINVAL, concat("format not given and contents look like ", found->name, "; say --format=", found->name,
                               " or --format=raw"));
  }
  return found;
}

}  // namespace penstock
