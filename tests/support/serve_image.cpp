// SPDX-License-Identifier: Apache-2.0
/// serve_image FORMAT IMAGE DIRECTORY: mounts and serves in the foreground, as `penstock mount --foreground` does, but
/// without the command line, which takes long to build with a sanitizer.
#include "fuse/service.hpp"

#include <cstdio>
#include <cstdlib>

int main(int count, char** arguments) {
  using namespace penstock;
  if (count != 4) return 2;
  const auto complain = [](const Error& error) {
    std::fprintf(stderr, "serve_image: %s\n", error.message().c_str());
    return EXIT_FAILURE;
  };
  auto mountpoint = fuse::find_mountpoint(arguments[3]);
  if (!mountpoint) return complain(mountpoint.error());
  fuse::ServeOptions options;
  options.mountpoint = *std::move(mountpoint);
  options.version = "test";
  const auto unmounter = fuse::Unmounter::make();
  if (!unmounter) return complain(unmounter.error());
  (*unmounter)->start();
  auto image = Image::open(arguments[2], {.format = arguments[1], .writable = true, .cache_bytes = 4U << 20U});
  if (!image) return complain(image.error());
  const auto served = fuse::serve(*std::move(image), options, **unmounter, [](const std::string&) { return true; });
  return served ? EXIT_SUCCESS : complain(served.error());
}
