// SPDX-License-Identifier: Apache-2.0
// read_chain IMAGE: writes the flat disk that an image and its backing files show to standard output.
//
//   c++ read_chain.cpp $(pkg-config --cflags --libs penstock) -o read_chain
#include <penstock/image.hpp>

#include <cstdio>
#include <iostream>
#include <vector>

namespace {

penstock::Result<> copy(const std::string& name) {
  // TRY gives the value of a Result, or returns its error from this function.
  const auto image = TRY(penstock::Image::open(name, {}));
  for (const auto& layer : TRY(image->layers())) {
    std::cerr << layer.path << ": " << layer.format << ", " << layer.virtual_size << " bytes\n";
  }
  std::vector<std::byte> buffer(1U << 20U);
  for (penstock::GuestOffset at; at.value < image->virtual_size();) {
    const auto piece = std::span(buffer).first(std::min<std::size_t>(buffer.size(), image->virtual_size() - at.value));
    TRY(image->read(at, piece));
    if (std::fwrite(piece.data(), 1, piece.size(), stdout) != piece.size()) {
      return penstock::system_failure("standard output");
    }
    at = at + piece.size();
  }
  return image->close();
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 2) {
    std::cerr << "usage: read_chain IMAGE\n";
    return 2;
  }
  const auto done = copy(arguments[1]);
  if (!done) std::cerr << done.error().message() << '\n';
  return done ? 0 : 1;
}
