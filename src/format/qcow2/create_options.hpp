// SPDX-License-Identifier: Apache-2.0
/// The -o options of a new qcow2 image, as qemu-img names them.
#pragma once

#include "format/qcow2/header.hpp"

namespace penstock::qcow2 {

enum class Preallocation : std::uint8_t {
  off,
  metadata,  ///< every cluster has its place, the places are holes
  falloc,    ///< and host room
  full,      ///< and zeroes written into it
};

/// Options read and found to be possible together.
struct CreateOptions {
  std::uint64_t size = 0;  ///< bytes, a multiple of 512
  std::uint32_t version = 3;
  std::uint32_t cluster_bits = 16;
  std::uint32_t refcount_order = 4;
  bool lazy_refcounts = false;
  bool extended_l2 = false;
  std::uint8_t compression_type = 0;  ///< 0 deflate, 1 zstd
  Preallocation preallocation = Preallocation::off;
  std::string data_file;  ///< empty: none
  bool data_file_raw = false;
  BackingReference backing;
  std::string summary;  ///< qemu-img's line after "fmt=qcow2 "
};

/// Errors: EINVAL for an option that is unknown, ill-formed or does not go with another, EFBIG for a size that the
/// cluster size does not allow.
[[nodiscard]] Result<CreateOptions> read_create_options(const CreateRequest& request);

/// What read_create_options() knows.
[[nodiscard]] std::span<const CreateOption> create_option_list();

/// Format::overhead.
[[nodiscard]] Result<Overhead> overhead(const std::map<std::string, std::string>& options, std::uint64_t size);

}  // namespace penstock::qcow2
