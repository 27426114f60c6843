// SPDX-License-Identifier: Apache-2.0
// Names that an image may store for its backing file or data file, json: included: refused, or a local path. No name
// leads to a transport other than the files of this machine.
#include "tests/fuzz/fuzz.hpp"

#include "image/backing_name.hpp"
#include "image/json_name.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace penstock;
  const std::string_view name(reinterpret_cast<const char*>(data), size);
  fuzz::told(parse_json_name(name));
  for (const char* directory : {"", "/images/", "nbd:"}) {
    const ImageLocation image{.storage_name = "top", .directory = directory};
    const auto location = locate_stored(image, name);
    if (!fuzz::told(location)) continue;
    const auto colon = location->storage_name.find(':');
    if (colon == std::string::npos || location->storage_name.find('/') < colon) continue;
    // It has a protocol: nothing but what open_storage() refuses, whatever the file is called.
    const auto opened = open_storage(location->storage_name, {});
    fuzz::demand(!opened, "a name with a protocol opens nothing");
    fuzz::told(opened);
  }
  return 0;
}
