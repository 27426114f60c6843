// SPDX-License-Identifier: Apache-2.0
#include "cli/format_details.hpp"

#include "cli/human.hpp"

#include "base/text.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <ctime>
#include <string_view>
#include <variant>

namespace penstock::cli {

namespace {

/// qemu-img lists bitmaps behind this key, or last where it is missing.
constexpr std::string_view kBitmapsFollow = "lazy-refcounts";

Json bitmaps_json(const FormatInfo& info) {
  Json bitmaps = Json::array();
  for (const BitmapInfo& bitmap : info.bitmaps) {
    bitmaps.push_back(Json{{"flags", bitmap.flags}, {"name", bitmap.name}, {"granularity", bitmap.granularity}});
  }
  return bitmaps;
}

void put(Json& object, std::string_view key, const Json& value) {
  const auto dot = key.find('.');
  if (dot == std::string_view::npos) {
    object[std::string(key)] = value;
  } else {
    put(object[std::string(key.substr(0, dot))], key.substr(dot + 1), value);
  }
}

std::string spaced(std::string key) {
  std::replace(key.begin(), key.end(), '-', ' ');
  return key;
}

std::string scalar_text(const Json& value) {
  return printable(value.is_string() ? value.get_ref<const std::string&>() : value.dump());
}

/// One line a scalar; a list or an object stands indented below its name.
void append_tree(std::string& out, const Json& tree, unsigned level) {
  unsigned position = 0;
  for (const auto& [key, value] : tree.items()) {
    out.append(std::size_t{4} * level, ' ');
    out += tree.is_array() ? concat('[', position++, ']') : spaced(printable(key));
    if (value.is_structured()) {
      out += ":\n";
      append_tree(out, value, level + 1);
    } else {
      out += concat(": ", scalar_text(value), '\n');
    }
  }
}

std::string local_time(std::uint32_t seconds) {
  const std::time_t time = seconds;
  std::tm parts{};
  localtime_r(&time, &parts);
  std::array<char, 32> text{};
  return {text.data(), std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S", &parts)};
}

std::string clock_text(std::uint64_t nanoseconds) {
  const std::uint64_t seconds = nanoseconds / 1'000'000'000;
  return printf_text("%02u:%02u:%02u.%03u", static_cast<unsigned>(seconds / 3600),
                     static_cast<unsigned>(seconds / 60 % 60), static_cast<unsigned>(seconds % 60),
                     static_cast<unsigned>(nanoseconds / 1'000'000 % 1000));
}

}  // namespace

Json details_json(const FormatInfo& info) {
  Json data = Json::object();
  bool bitmaps_placed = info.bitmaps.empty();
  for (const InfoItem& item : info.items) {
    std::visit([&](const auto& value) { put(data, item.key, value); }, item.value);
    if (!bitmaps_placed && item.key == kBitmapsFollow) {
      data["bitmaps"] = bitmaps_json(info);
      bitmaps_placed = true;
    }
  }
  if (!bitmaps_placed) data["bitmaps"] = bitmaps_json(info);
  return data;
}

std::string details_text(const FormatInfo& info) {
  const Json data = details_json(info);
  if (data.empty()) return {};
  std::string out = "Format specific information:\n";
  append_tree(out, data, 1);
  return out;
}

Json snapshots_json(const FormatInfo& info) {
  Json list = Json::array();
  for (const SnapshotInfo& snapshot : info.snapshots) {
    Json item = Json::object();
    if (snapshot.icount) item["icount"] = *snapshot.icount;
    item["vm-clock-nsec"] = snapshot.vm_clock_nanoseconds % 1'000'000'000;
    item["name"] = snapshot.name;
    item["date-sec"] = snapshot.date_seconds;
    item["date-nsec"] = snapshot.date_nanoseconds;
    item["vm-clock-sec"] = snapshot.vm_clock_nanoseconds / 1'000'000'000;
    item["id"] = snapshot.id;
    item["vm-state-size"] = snapshot.vm_state_size;
    list.push_back(std::move(item));
  }
  return list;
}

std::string snapshots_text(const FormatInfo& info) {
  if (info.snapshots.empty()) return {};
  std::string out = "Snapshot list:\n";
  out += printf_text("%-10s%-17s%8s%20s%13s%11s\n", "ID", "TAG", "VM SIZE", "DATE", "VM CLOCK", "ICOUNT");
  for (const SnapshotInfo& snapshot : info.snapshots) {
    out += printf_text("%-9s %-16s %8s%20s%13s%11s\n", printable(snapshot.id).c_str(), printable(snapshot.name).c_str(),
                       human_size(snapshot.vm_state_size).c_str(), local_time(snapshot.date_seconds).c_str(),
                       clock_text(snapshot.vm_clock_nanoseconds).c_str(),
                       snapshot.icount ? std::to_string(*snapshot.icount).c_str() : "");
  }
  return out;
}

}  // namespace penstock::cli
