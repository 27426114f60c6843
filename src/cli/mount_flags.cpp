// SPDX-License-Identifier: Apache-2.0
#include "cli/mount_flags.hpp"

#include "cli/image_flags.hpp"
#include "cli/size.hpp"
#include "cli/version.hpp"

#include "base/log.hpp"
#include "base/text.hpp"
#include "fuse/mount_options.hpp"

#include <filesystem>
#include <system_error>

namespace penstock::cli {

namespace {

DetectZeroes detect_zeroes_of(const std::string& word) {
  if (word == "unmap") return DetectZeroes::unmap;
  return word == "on" ? DetectZeroes::on : DetectZeroes::off;
}

LogLevel log_level_of(const std::string& word) {
  if (word == "error") return LogLevel::error;
  return word == "warning" ? LogLevel::warning : LogLevel::info;
}

Result<> interpret_tracing(const MountFlags& flags, fuse::ServeOptions& serve) {
  if (flags.trace.empty()) return {};
  // Before the daemon leaves the directory that the name is for.
  std::error_code problem;
  serve.trace = std::filesystem::absolute(flags.trace, problem).string();
  if (problem) return fail(problem.value(), concat("--trace: ", problem.message()));
  if (!flags.trace_limit.empty()) serve.trace_bytes_max = TRY(parse_size(flags.trace_limit));
  return {};
}

Result<> interpret_streaming(const MountFlags& flags, bool writable, fuse::ServeOptions& serve) {
  if (flags.stream) serve.stream = true;
  if (flags.no_stream) serve.stream = false;
  if (flags.copy_on_read) serve.copy_on_read = true;
  if (flags.no_copy_on_read) serve.copy_on_read = false;
  if (!flags.stream_speed.empty()) serve.streaming.bytes_per_second = TRY(parse_size(flags.stream_speed));
  serve.streaming.base = flags.stream_base;
  if (flags.on_error == "retry") serve.streaming.on_error = OnError::retry;
  if (flags.on_error == "stop") serve.streaming.on_error = OnError::stop;
  if (!flags.stream && !flags.stream_base.empty()) return fail(EINVAL, "--stream-base needs --stream");
  if (!writable && flags.stream) return fail(EINVAL, "--stream makes no sense with a read-only mount");
  if (!writable && flags.copy_on_read) return fail(EINVAL, "--copy-on-read makes no sense with a read-only mount");
  return {};
}

}  // namespace

Result<> interpret_mount_flags(const MountFlags& flags, ImageOptions& image, fuse::ServeOptions& serve) {
  for (const std::string& list : flags.fuse_options) TRY(fuse::parse_mount_options(list, serve.mount));
  image.format = flags.format;
  image.writable = !flags.read_only && !serve.mount.read_only;
  image.opener = make_host_opener({.data_files = !flags.no_data_file});
  if (!flags.cache_size.empty()) image.cache_bytes = TRY(parse_size(flags.cache_size));
  image.detect_zeroes = detect_zeroes_of(flags.detect_zeroes);
  serve.detect_zeroes = flags.detect_zeroes;
  serve.discard = flags.discard == "ignore" ? fuse::DiscardPolicy::ignore : fuse::DiscardPolicy::unmap;
  serve.resizable = flags.resizable;
  serve.threads = flags.threads;
  serve.cache_bytes = image.cache_bytes;
  set_log_level(log_level_of(flags.log_level));
  serve.version = program_version();
  TRY(interpret_tracing(flags, serve));
  TRY(interpret_streaming(flags, image.writable, serve));
  if (serve.resizable && !image.writable) return fail(EINVAL, "--resizable makes no sense with a read-only mount");
  if (serve.resizable && serve.mount.writeback) {
    return fail(EINVAL, "--resizable does not go with -o writeback, where the kernel decides on sizes of its own");
  }
  return {};
}

std::vector<Option> mount_options(MountFlags& flags) {
  return {
      format_option(flags.format),
      {"-r,--read-only", "", &flags.read_only, "Open the image read-only; it may be in use by other readers"},
      {"--stream", "", &flags.stream, "Copy what the image lacks from its backing file in the background"},
      {"--no-stream",
       "",
       &flags.no_stream,
       "Do not go on streaming, though the image remembers that it was to be",
       {.excludes = {"--stream"}}},
      {"--stream-speed", "SIZE", &flags.stream_speed, "Copy at most so many bytes a second (default: no limit)"},
      {"--stream-base", "FILE", &flags.stream_base, "Keep this layer and all below it as the backing file"},
      {"--on-error",
       "report|retry|stop",
       &flags.on_error,
       "When streaming meets an error: end it (report, the default), try again (retry), pause it (stop)",
       {.choices = {"report", "retry", "stop"}}},
      {"--copy-on-read", "", &flags.copy_on_read, "Keep in the image what reads had to fetch from its backing file"},
      {"--no-copy-on-read",
       "",
       &flags.no_copy_on_read,
       "Do not, though the image asks for it",
       {.excludes = {"--copy-on-read"}}},
      {"--detect-zeroes",
       "off|on|unmap",
       &flags.detect_zeroes,
       "Store written clusters that are all zero as zeroes: keeping host room (on) or giving it back (unmap)",
       {.choices = {"off", "on", "unmap"}}},
      {"--discard",
       "ignore|unmap",
       &flags.discard,
       "What happens to host room under a punched hole: given back (unmap, the default) or kept (ignore)",
       {.choices = {"ignore", "unmap"}}},
      {"--resizable", "", &flags.resizable, "Let truncate, and writes behind the end, resize the image"},
      {"--threads", "N", &flags.threads, "How many requests are served at the same time", {.bounds = {1, 256}}},
      {"--cache-size", "SIZE", &flags.cache_size, "Memory for metadata and unpacked clusters (default 64M)"},
      {"--foreground", "", &flags.foreground, "Stay in the foreground, with messages on standard error"},
      {"--no-data-file", "", &flags.no_data_file, "Refuse an image that names an external data file"},
      {"--log-level",
       "error|warning|info",
       &flags.log_level,
       "Of what happens, tell errors only, warnings too, or all (info, the default)",
       {.choices = {"error", "warning", "info"}}},
      {"--trace", "FILE", &flags.trace, "Record every request in this file, for 'penstock trace'"},
      {"--trace-limit",
       "SIZE",
       &flags.trace_limit,
       "End the recording at this length (default 1G)",
       {.needs = "--trace"}},
      {"-o,--options", "OPTION,...", &flags.fuse_options,
       "Mount options: ro, allow_other, uid=, gid=, mode=, umask=, fsname=, max_read=, max_write=, writeback, ..."},
      image_argument(flags.image),
  };
}

}  // namespace penstock::cli
