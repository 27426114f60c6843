// SPDX-License-Identifier: Apache-2.0
// Names that an image may store for its backing file or data file, json: included: refused, or a local path. No name
// leads to a transport other than the files of this machine.
#include "tests/fuzz/fuzz.hpp"

#include <penstock/storage.hpp>

#include "storage/json_name.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace penstock;
  const std::string_view name(reinterpret_cast<const char*>(data), size);
  fuzz::told(parse_json_name(name));
  for (const char* image : {"top", "/images/top", "nbd:top"}) {
    const auto found = resolve_name(*parse_name(image), name);
    if (!fuzz::told(found)) continue;
    // What is shown means the same when it is read again.
    const auto again = parse_name(found->text());
    fuzz::demand(
        !found->is_plain() || (again && again->protocol == found->protocol && again->address == found->address),
        "a name that is shown means the same");
    if (found->protocol == "file") continue;
    // Nothing but what open_storage() refuses, whatever the file is called.
    const auto opened = open_storage(*found, {});
    fuzz::demand(!opened, "a name with a protocol opens nothing");
    fuzz::told(opened);
  }
  return 0;
}
