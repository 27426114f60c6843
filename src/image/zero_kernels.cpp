// SPDX-License-Identifier: Apache-2.0
/// The ways to test bytes for zero. Each looks at one word first: most data is told by it, and nothing else need be
/// read. Loads are unaligned: on every processor that has these instructions they cost no more when the bytes are
/// aligned.
#include "image/zero_scan.hpp"

#include <cstring>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#ifdef __clang__
#define _Bool bool  // what the C library's header calls it, and clang's <stdbool.h> does not in standard C++
#include <sys/platform/x86.h>
#undef _Bool
#else
#include <sys/platform/x86.h>
#endif
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace penstock {

namespace {

std::uint64_t word_at(const std::byte* bytes) {
  std::uint64_t word = 0;
  std::memcpy(&word, bytes, sizeof(word));
  return word;
}

/// Eight words a turn: the loads are independent of each other. Also takes what is left behind the vectors.
bool zero_portable(const std::byte* bytes, std::size_t length) {
  if (length >= 8 && word_at(bytes) != 0) return false;
  for (; length >= 64; bytes += 64, length -= 64) {
    std::uint64_t any = 0;
    for (std::size_t i = 0; i < 64; i += 8) any |= word_at(bytes + i);
    if (any != 0) return false;
  }
  std::byte any{0};
  for (; length != 0; ++bytes, --length) any |= *bytes;
  return any == std::byte{0};
}

#if defined(__x86_64__)

bool zero_sse2(const std::byte* bytes, std::size_t length) {
  if (length >= 8 && word_at(bytes) != 0) return false;
  const auto load = [](const std::byte* at) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(at)); };
  for (; length >= 64; bytes += 64, length -= 64) {
    const auto any =
        _mm_or_si128(_mm_or_si128(load(bytes), load(bytes + 16)), _mm_or_si128(load(bytes + 32), load(bytes + 48)));
    if (_mm_movemask_epi8(_mm_cmpeq_epi8(any, _mm_setzero_si128())) != 0xffff) return false;
  }
  return zero_portable(bytes, length);
}

// A lambda would not inherit the target: loads are written out.
#define PENSTOCK_LOAD256(at) _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at))
__attribute__((target("avx2"))) bool zero_avx2(const std::byte* bytes, std::size_t length) {
  if (length >= 8 && word_at(bytes) != 0) return false;
  for (; length >= 128; bytes += 128, length -= 128) {
    const auto any = _mm256_or_si256(_mm256_or_si256(PENSTOCK_LOAD256(bytes), PENSTOCK_LOAD256(bytes + 32)),
                                     _mm256_or_si256(PENSTOCK_LOAD256(bytes + 64), PENSTOCK_LOAD256(bytes + 96)));
    if (_mm256_testz_si256(any, any) == 0) return false;
  }
  return zero_portable(bytes, length);
}
#undef PENSTOCK_LOAD256

__attribute__((target("avx512f"))) bool zero_avx512(const std::byte* bytes, std::size_t length) {
  if (length >= 8 && word_at(bytes) != 0) return false;
  for (; length >= 256; bytes += 256, length -= 256) {
    const auto any = _mm512_or_si512(_mm512_or_si512(_mm512_loadu_si512(bytes), _mm512_loadu_si512(bytes + 64)),
                                     _mm512_or_si512(_mm512_loadu_si512(bytes + 128), _mm512_loadu_si512(bytes + 192)));
    if (_mm512_test_epi64_mask(any, any) != 0) return false;
  }
  return zero_portable(bytes, length);
}

#elif defined(__aarch64__)

bool zero_neon(const std::byte* bytes, std::size_t length) {
  if (length >= 8 && word_at(bytes) != 0) return false;
  const auto load = [](const std::byte* at) { return vld1q_u8(reinterpret_cast<const std::uint8_t*>(at)); };
  for (; length >= 64; bytes += 64, length -= 64) {
    const auto any = vorrq_u8(vorrq_u8(load(bytes), load(bytes + 16)), vorrq_u8(load(bytes + 32), load(bytes + 48)));
    if (vmaxvq_u8(any) != 0) return false;
  }
  return zero_portable(bytes, length);
}

#endif

std::vector<ZeroKernel> kernels_of_this_processor() {
  std::vector<ZeroKernel> kernels;
#if defined(__x86_64__)
  // The C library knows already. The compiler's __builtin_cpu_supports() asks the processor again before main(), which
  // a virtual machine answers a hundred times slower: 0.1 ms of each start.
  if (CPU_FEATURE_ACTIVE(AVX512F)) kernels.push_back({"avx512", zero_avx512});
  if (CPU_FEATURE_ACTIVE(AVX2)) kernels.push_back({"avx2", zero_avx2});
  kernels.push_back({"sse2", zero_sse2});  // every x86-64 has it
#elif defined(__aarch64__)
  kernels.push_back({"neon", zero_neon});  // every AArch64 has it
#endif
  kernels.push_back({"portable", zero_portable});
  return kernels;
}

}  // namespace

std::span<const ZeroKernel> zero_kernels() {
  static const auto kernels = kernels_of_this_processor();
  return kernels;
}

}  // namespace penstock
