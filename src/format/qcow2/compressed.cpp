// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/compressed.hpp"

#include "base/text.hpp"

#include <libdeflate.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <memory>

namespace penstock::qcow2 {

namespace {

/// What libdeflate makes of a cluster, or false: damaged, or not what it understands. It takes a third of zlib's time.
bool inflate_fast(std::span<const std::byte> packed, std::span<std::byte> cluster) {
  struct Free {
    void operator()(libdeflate_decompressor* decompressor) const { libdeflate_free_decompressor(decompressor); }
  };
  static thread_local const std::unique_ptr<libdeflate_decompressor, Free> decompressor(
      libdeflate_alloc_decompressor());
  if (!decompressor) return false;
  // Without a place for the length: exactly the cluster, or no success.
  return libdeflate_deflate_decompress(decompressor.get(), packed.data(), packed.size(), cluster.data(), cluster.size(),
                                       nullptr) == LIBDEFLATE_SUCCESS;
}

class Inflater {
 public:
  // A window of 2^15 reads what any encoder wrote, also those that kept to the 2^12 the format asks for.
  Inflater() : ready_(inflateInit2(&stream_, -15) == Z_OK) {}
  ~Inflater() {
    if (ready_) inflateEnd(&stream_);
  }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  Result<> run(std::span<const std::byte> packed, std::span<std::byte> cluster) {
    if (!ready_ || inflateReset(&stream_) != Z_OK) return fail(ENOMEM, "no memory for decompression");
    // zlib's input pointer is not const by default; it does not write there.
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(packed.data()));
    stream_.avail_in = static_cast<uInt>(packed.size());
    stream_.next_out = reinterpret_cast<Bytef*>(cluster.data());
    stream_.avail_out = static_cast<uInt>(cluster.size());
    const int status = inflate(&stream_, Z_FINISH);
    if ((status == Z_STREAM_END || status == Z_BUF_ERROR) && stream_.avail_out == 0) return {};
    return corrupt("deflate data is damaged");
  }

 private:
  z_stream stream_{};
  bool ready_;
};

class Deflater {
 public:
  // A window of 2^12, as the format asks for.
  Deflater() : ready_(deflateInit2(&stream_, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY) == Z_OK) {}
  ~Deflater() {
    if (ready_) deflateEnd(&stream_);
  }
  Deflater(const Deflater&) = delete;
  Deflater& operator=(const Deflater&) = delete;

  /// Bytes of `out` that were filled, 0 when they are too few.
  Result<std::size_t> run(std::span<const std::byte> cluster, std::span<std::byte> out) {
    if (!ready_ || deflateReset(&stream_) != Z_OK) return fail(ENOMEM, "no memory for compression");
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(cluster.data()));
    stream_.avail_in = static_cast<uInt>(cluster.size());
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    stream_.avail_out = static_cast<uInt>(out.size());
    return deflate(&stream_, Z_FINISH) == Z_STREAM_END ? out.size() - stream_.avail_out : 0;
  }

 private:
  z_stream stream_{};
  bool ready_;
};

struct FreeEncoder {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
};

Result<std::size_t> pack_zstd(std::span<const std::byte> cluster, std::span<std::byte> out) {
  static thread_local const std::unique_ptr<ZSTD_CCtx, FreeEncoder> context(ZSTD_createCCtx());
  if (!context) return fail(ENOMEM, "no memory for compression");
  const std::size_t size = ZSTD_compress2(context.get(), out.data(), out.size(), cluster.data(), cluster.size());
  if (ZSTD_isError(size) == 0) return size;
  if (ZSTD_getErrorCode(size) == ZSTD_error_dstSize_tooSmall) return 0;
  return fail(ENOMEM, concat("zstd: ", ZSTD_getErrorName(size)));
}

struct FreeContext {
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

Result<> unpack_zstd(std::span<const std::byte> packed, std::span<std::byte> cluster) {
  static thread_local const std::unique_ptr<ZSTD_DCtx, FreeContext> context(ZSTD_createDCtx());
  if (!context) return fail(ENOMEM, "no memory for decompression");
  ZSTD_DCtx_reset(context.get(), ZSTD_reset_session_only);
  ZSTD_inBuffer in{packed.data(), packed.size(), 0};
  ZSTD_outBuffer out{cluster.data(), cluster.size(), 0};
  std::size_t status = 1;
  while (out.pos < out.size) {
    const auto in_before = in.pos;
    const auto out_before = out.pos;
    status = ZSTD_decompressStream(context.get(), &out, &in);
    const bool stuck = in.pos == in_before && out.pos == out_before;
    if (ZSTD_isError(status) != 0 || stuck) return corrupt("zstd data is damaged");
  }
  // The frame that completes the cluster ends there: 0 says that it did.
  if (status != 0) return corrupt("zstd data is longer than the cluster");
  return {};
}

}  // namespace

Result<> unpack_cluster(std::uint8_t type, std::span<const std::byte> packed, std::span<std::byte> cluster) {
  if (type == 1) return unpack_zstd(packed, cluster);
  if (inflate_fast(packed, cluster)) return {};
  // zlib has the last word on what is damaged: QEMU reads a stream that goes on behind the cluster.
  static thread_local Inflater inflater;
  return inflater.run(packed, cluster);
}

Result<std::optional<std::vector<std::byte>>> pack_cluster(std::uint8_t type, std::span<const std::byte> cluster) {
  static thread_local Deflater deflater;
  // One byte less than the cluster: what is not smaller is stored as it is.
  std::vector<std::byte> packed(cluster.size() - 1);
  const std::size_t size = TRY(type == 1 ? pack_zstd(cluster, packed) : deflater.run(cluster, packed));
  if (size == 0) return std::nullopt;
  packed.resize(size);
  return packed;
}

}  // namespace penstock::qcow2
