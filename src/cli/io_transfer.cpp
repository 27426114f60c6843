// SPDX-License-Identifier: Apache-2.0
#include "cli/io_transfer.hpp"

#include "cli/common.hpp"
#include "cli/human.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>

namespace penstock::cli {

namespace {

constexpr std::uint64_t kChunkBytes = 4U << 20U;
constexpr std::size_t kDumpBytes = 16;
constexpr std::byte kDefaultPattern{0xcd};
/// A pattern file is kept in memory; qemu-io's longest request is about as long.
constexpr std::size_t kPatternFileBytesMax = 64U << 20U;

using Clock = std::chrono::steady_clock;

/// The range that the two operands name.
Result<GuestRange> range_of(const IoArguments& arguments) {
  const std::uint64_t offset = TRY(parse_io_number(arguments.operands[0]));
  const std::uint64_t length = TRY(parse_io_number(arguments.operands[1]));
  return GuestRange{{offset}, length};
}

/// qemu-io answers EIO where a file would answer EINVAL.
Result<> within_disk(const IoSession& session, GuestRange range) {
  if (fits(range.offset.value, range.length, session.image.virtual_size())) return {};
  return fail(EIO, concat(session.image_name, ": ", range.length, " bytes at offset ", range.offset.value,
                          " reach past the end of the disk at ", session.image.virtual_size()));
}

Result<> within_writable_disk(const IoSession& session, GuestRange range) {
  if (!session.image.writable()) return fail(EACCES, concat(session.image_name, ": opened read-only"));
  return within_disk(session, range);
}

std::string dump_text(std::uint64_t offset, std::span<const std::byte> bytes) {
  std::string out;
  for (std::size_t at = 0; at < bytes.size(); at += kDumpBytes) {
    out += dump_line(offset + at, bytes.subspan(at, std::min(kDumpBytes, bytes.size() - at)));
  }
  return out;
}

void report_unless_quiet(const IoArguments& arguments, const IoReport& report) {
  if (!arguments.has('q')) print(report_text(report, arguments.has('C')));
}

/// The part of a read that must hold one byte value.
struct Expectation {
  std::byte pattern{};
  GuestRange range;
  bool met = true;

  void look_at(std::uint64_t offset, std::span<const std::byte> bytes) {
    const GuestRange part = range.intersection({{offset}, bytes.size()});
    const auto expected = bytes.subspan(part.offset.value - offset, part.length);
    met = met && std::all_of(expected.begin(), expected.end(), [this](std::byte byte) { return byte == pattern; });
  }
};

/// -P with -s and -l; nothing to expect without -P. False: refused.
bool expectation_of(const IoArguments& arguments, GuestRange range, std::optional<Expectation>& out) {
  if (!arguments.has('P')) return true;
  const auto pattern = parse_pattern(arguments.flags.at('P'));
  if (!pattern) return refuse(pattern.error().message());
  std::uint64_t start = 0;
  if (arguments.has('s')) {
    const auto value = parse_io_number(arguments.flags.at('s'));
    if (!value) return refuse(value.error().message());
    start = *value;
  }
  std::uint64_t length = range.length - std::min(start, range.length);
  if (arguments.has('l')) {
    const auto value = parse_io_number(arguments.flags.at('l'));
    if (!value) return refuse(value.error().message());
    length = *value;
  }
  if (!fits(start, length, range.length)) return refuse("pattern verification range exceeds end of read data");
  out = Expectation{.pattern = *pattern, .range = {range.offset + start, length}, .met = true};
  return true;
}

bool run_read(IoSession& session, const std::vector<std::string>& words) {
  const auto arguments = parse_io_arguments(words, "Cl:pP:qs:v");
  if (!arguments) {
    std::fputs(concat(arguments.error().message(), '\n').c_str(), stderr);
    return refuse(usage_line(kReadCommand));
  }
  const bool part_without_pattern = !arguments->has('P') && (arguments->has('s') || arguments->has('l'));
  if (arguments->operands.size() != 2 || part_without_pattern) return refuse(usage_line(kReadCommand));
  const auto range = range_of(*arguments);
  if (!range) return refuse(range.error().message());
  std::optional<Expectation> expectation;
  if (!expectation_of(*arguments, *range, expectation)) return false;
  if (const auto fit = within_disk(session, *range); !fit) return io_failed("read", fit.error());
  std::vector<std::byte> buffer(std::min(range->length, kChunkBytes));
  const auto begin = Clock::now();
  Clock::duration printing{};
  for (std::uint64_t done = 0; done < range->length;) {
    const std::span<std::byte> chunk(buffer.data(), std::min(range->length - done, kChunkBytes));
    const GuestOffset offset = range->offset + done;
    if (const auto read = session.image.read(offset, chunk); !read) return io_failed("read", read.error());
    const auto before_printing = Clock::now();
    if (expectation) expectation->look_at(offset.value, chunk);
    if (arguments->has('v') && !arguments->has('q')) print(dump_text(offset.value, chunk));
    printing += Clock::now() - before_printing;
    done += chunk.size();
  }
  const auto time = Clock::now() - begin - printing;
  const bool met = !expectation || expectation->met;
  if (!met) {
    print(concat("Pattern verification failed at offset ", expectation->range.offset.value, ", ",
                 expectation->range.length, " bytes\n"));
  }
  report_unless_quiet(
      *arguments,
      {.verb = "read", .offset = range->offset.value, .done = range->length, .asked = range->length, .time = time});
  return met;
}

/// The bytes to write, repeated over the whole range.
Result<std::vector<std::byte>> pattern_of(const IoArguments& arguments) {
  if (!arguments.has('s')) {
    const std::byte pattern = arguments.has('P') ? TRY(parse_pattern(arguments.flags.at('P'))) : kDefaultPattern;
    return std::vector<std::byte>(1, pattern);
  }
  const std::string& path = arguments.flags.at('s');
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) return system_failure(path);
  std::string bytes;
  std::array<char, 65536> piece;
  while (bytes.size() < kPatternFileBytesMax && file) {
    file.read(piece.data(), piece.size());
    bytes.append(piece.data(), static_cast<std::size_t>(file.gcount()));
  }
  if (file.bad()) return fail(EIO, concat(path, ": cannot be read"));
  if (bytes.empty()) return fail(EINVAL, concat(path, ": the pattern file is empty"));
  const auto view = std::as_bytes(std::span(bytes));
  return std::vector<std::byte>(view.begin(), view.end());
}

Result<> write_pattern(Image& image, GuestRange range, std::span<const std::byte> pattern) {
  // Whole repetitions in each chunk, so that every chunk starts with the pattern's first byte.
  const std::size_t repetitions = std::max<std::size_t>(1, kChunkBytes / pattern.size());
  std::vector<std::byte> buffer;
  buffer.reserve(std::min<std::uint64_t>(range.length, repetitions * pattern.size()));
  while (buffer.size() < buffer.capacity()) {
    const auto part = pattern.first(std::min(pattern.size(), buffer.capacity() - buffer.size()));
    buffer.insert(buffer.end(), part.begin(), part.end());
  }
  for (std::uint64_t done = 0; done < range.length;) {
    const std::span<const std::byte> chunk(buffer.data(), std::min<std::uint64_t>(range.length - done, buffer.size()));
    TRY(image.write(range.offset + done, chunk));
    done += chunk.size();
  }
  return {};
}

Result<> write_zeroes(IoSession& session, GuestRange range, const IoArguments& arguments) {
  const std::uint64_t unit = session.image.geometry().allocation_unit;
  const bool whole_units = is_aligned(range.offset.value, unit) &&
                           (is_aligned(range.length, unit) || range.end().value == session.image.virtual_size());
  if (arguments.has('n') && !whole_units) {
    return unsupported(concat(session.image_name, ": parts of a cluster can only be zeroed by writing"));
  }
  const bool unmap = arguments.has('u') && session.discard == DiscardMode::unmap;
  return session.image.write_zeroes(range, unmap ? Zeroing::may_unmap : Zeroing::keep,
                                    arguments.has('n') ? ZeroBytes::never : ZeroBytes::if_needed);
}

/// What the flags of write must not be together; null when they are fine.
const char* conflict_in_write(const IoArguments& arguments) {
  const int sources = int{arguments.has('z')} + int{arguments.has('P')} + int{arguments.has('s')};
  if (arguments.has('n') && !arguments.has('z')) return "-n requires -z to be specified";
  if (arguments.has('u') && !arguments.has('z')) return "-u requires -z to be specified";
  if (sources > 1) return "Only one of -z, -P, and -s can be specified at the same time";
  return nullptr;
}

bool run_write(IoSession& session, const std::vector<std::string>& words) {
  const auto arguments = parse_io_arguments(words, "CfnpP:qs:uz");
  if (!arguments) {
    std::fputs(concat(arguments.error().message(), '\n').c_str(), stderr);
    return refuse(usage_line(kWriteCommand));
  }
  if (arguments->operands.size() != 2) return refuse(usage_line(kWriteCommand));
  if (const char* conflict = conflict_in_write(*arguments)) return refuse(conflict);
  const auto range = range_of(*arguments);
  if (!range) return refuse(range.error().message());
  const auto pattern = pattern_of(*arguments);
  if (!pattern) {
    if (!arguments->has('s')) return refuse(pattern.error().message());
    print_error(pattern.error().message());
    return false;
  }
  if (const auto fit = within_writable_disk(session, *range); !fit) return io_failed("write", fit.error());
  const auto begin = Clock::now();
  auto written =
      arguments->has('z') ? write_zeroes(session, *range, *arguments) : write_pattern(session.image, *range, *pattern);
  if (written && arguments->has('f')) written = session.image.flush();
  if (!written) return io_failed("write", written.error());
  report_unless_quiet(*arguments, {.verb = "wrote",
                                   .offset = range->offset.value,
                                   .done = range->length,
                                   .asked = range->length,
                                   .time = Clock::now() - begin});
  return true;
}

bool run_discard(IoSession& session, const std::vector<std::string>& words) {
  const auto arguments = parse_io_arguments(words, "Cq");
  if (!arguments) {
    std::fputs(concat(arguments.error().message(), '\n').c_str(), stderr);
    return refuse(usage_line(kDiscardCommand));
  }
  if (arguments->operands.size() != 2) return refuse(usage_line(kDiscardCommand));
  const auto range = range_of(*arguments);
  if (!range) return refuse(range.error().message());
  if (const auto fit = within_writable_disk(session, *range); !fit) return io_failed("discard", fit.error());
  const auto begin = Clock::now();
  if (session.discard == DiscardMode::unmap) {
    if (const auto done = session.image.discard(*range); !done) return io_failed("discard", done.error());
  }
  report_unless_quiet(*arguments, {.verb = "discard",
                                   .offset = range->offset.value,
                                   .done = range->length,
                                   .asked = range->length,
                                   .time = Clock::now() - begin});
  return true;
}

}  // namespace

std::string usage_line(const IoCommand& command) {
  return concat(command.name, ' ', command.arguments, command.arguments.empty() ? "" : " ", "-- ", command.summary);
}

bool io_failed(std::string_view what, const Error& error) {
  // Damage is EIO for a guest, whatever number says what kind of damage it is.
  const int number = error.is(EUCLEAN) ? EIO : error.number();
  print(concat(what, " failed: ", std::strerror(number), '\n'));
  std::fflush(stdout);
  print_error(error.message());
  return false;
}

bool refuse(std::string_view line) {
  print(concat(line, '\n'));
  return false;
}

const IoCommand kReadCommand{.name = "read",
                             .short_name = "r",
                             .words_min = 2,
                             .words_max = -1,
                             .arguments = "[-Cqv] [-P pattern [-s off] [-l len]] off len",
                             .summary = "reads a number of bytes at a specified offset",
                             .details =
                                 " 'read -v 512 1k' shows 1 KiB from offset 512.\n"
                                 " -C, -- report statistics as comma-separated numbers\n"
                                 " -l, -- length of the part that must hold the pattern (only with -P)\n"
                                 " -p, -- ignored\n"
                                 " -P, -- fail unless every byte read has this value\n"
                                 " -q, -- print nothing but failures\n"
                                 " -s, -- start of the part that must hold the pattern (only with -P)\n"
                                 " -v, -- show the bytes\n",
                             .run = run_read};

const IoCommand kWriteCommand{.name = "write",
                              .short_name = "w",
                              .words_min = 2,
                              .words_max = -1,
                              .arguments = "[-Cfnquz] [-P pattern | -s source_file] off len",
                              .summary = "writes a number of bytes at a specified offset",
                              .details =
                                  " 'write 512 1k' writes 1 KiB of the byte 0xcd at offset 512.\n"
                                  " -C, -- report statistics as comma-separated numbers\n"
                                  " -f, -- flush afterwards\n"
                                  " -n, -- with -z, fail where zeroes would have to be written as bytes\n"
                                  " -p, -- ignored\n"
                                  " -P, -- write this byte\n"
                                  " -q, -- print nothing but failures\n"
                                  " -s, -- write the contents of a file, again and again\n"
                                  " -u, -- with -z, host room may be given back\n"
                                  " -z, -- write zeroes as the format represents them\n",
                              .run = run_write};

const IoCommand kDiscardCommand{.name = "discard",
                                .short_name = "d",
                                .words_min = 2,
                                .words_max = -1,
                                .arguments = "[-Cq] off len",
                                .summary = "discards a number of bytes at a specified offset",
                                .details =
                                    " 'discard 512 1k' says that 1 KiB at offset 512 no longer matters.\n"
                                    " -C, -- report statistics as comma-separated numbers\n"
                                    " -q, -- print nothing but failures\n",
                                .run = run_discard};

}  // namespace penstock::cli
