// SPDX-License-Identifier: Apache-2.0
/// penstock convert: a copy of a disk in another image.
#include "cli/command.hpp"
#include "cli/common.hpp"
#include "cli/create_options.hpp"
#include "cli/human.hpp"
#include "cli/image_flags.hpp"
#include "cli/interrupt.hpp"
#include "cli/option_list.hpp"
#include "cli/progress.hpp"
#include "cli/size.hpp"

#include <penstock/convert.hpp>

#include "base/text.hpp"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <vector>

namespace penstock::cli {

namespace {

namespace fs = std::filesystem;

struct Flags {
  std::string source;
  std::string target;
  std::string source_format;
  NewImage made;  ///< format, backing file; path and options follow
  std::vector<std::string> options;
  std::string sparse = "4k";
  unsigned workers = 0;
  bool compressed = false;
  bool no_create = false;
  bool progress = false;
  bool quiet = false;
  bool force_share = false;
};

/// The files that the copy makes. What was not there before goes again, unless all went well.
class MadeFiles {
 public:
  MadeFiles() = default;
  MadeFiles(const MadeFiles&) = delete;
  MadeFiles& operator=(const MadeFiles&) = delete;
  ~MadeFiles() {
    std::error_code ignored;
    for (const auto& path : paths_) fs::remove(path, ignored);
  }
  /// Before the file is made.
  void expect(const fs::path& path) {
    std::error_code ignored;
    if (!fs::exists(fs::symlink_status(path, ignored))) paths_.push_back(path);
  }
  void keep() { paths_.clear(); }

 private:
  std::vector<fs::path> paths_;
};

/// The file that holds the data of the new image besides it; empty: none.
fs::path data_file_of(const NewImage& made) {
  for (const char* key : {"image_file", "data_file"}) {
    const auto found = made.options.find(key);
    if (found != made.options.end()) return fs::path(made.path).parent_path() / found->second;
  }
  return {};
}

Result<> check_not_source(Image& source, const fs::path& path) {
  for (const LayerInfo& layer : TRY(source.layers())) {
    std::error_code problem;
    if (!fs::equivalent(path, layer.path, problem) || problem) continue;
    return fail(EINVAL, concat(printable(path.string()), ": is the source itself, or a part of its backing chain"));
  }
  return {};
}

Result<> check_compression(const std::string& format) {
  const Format* const found = TRY(find_format(format));
  if (found->create_options != nullptr) {
    for (const CreateOption& option : found->create_options()) {
      if (option.name == "compression_type") return {};
    }
  }
  return fail(EINVAL, concat("format ", format, " has no compressed clusters"));
}

Result<> convert(const Flags& flags, const NewImage& request, std::uint64_t sparse_bytes, std::stop_token stop) {
  const auto source = TRY(Image::open(flags.source, reading(flags.source_format, flags.force_share)));
  NewImage made = request;
  made.size = source->virtual_size();
  const auto data_file = data_file_of(made);
  TRY(check_not_source(*source, made.path));
  if (!data_file.empty()) TRY(check_not_source(*source, data_file));
  MadeFiles files;
  bool fresh = false;
  if (!flags.no_create) {
    files.expect(made.path);
    if (!data_file.empty()) files.expect(data_file);
    fresh = !TRY(create_image(made)).keeps_old_data;
  }
  {
    const auto target = TRY(Image::open(made.path, {.format = made.format, .writable = true}));
    ProgressBar progress("Converting", progress_wish(flags.quiet, flags.progress));
    const auto executor = make_request_executor(flags.workers);
    TRY(convert_image(*source, *target, *executor,
                      {.copy = {.progress = [&](std::uint64_t at, std::uint64_t total) { progress.update(at, total); },
                                .stop = std::move(stop)},
                       .compressed = flags.compressed,
                       .fresh = fresh,
                       .sparse_bytes = sparse_bytes}));
    TRY(target->close());
    progress.finish();
  }
  files.keep();
  return {};
}

int run_convert(const Flags& flags) {
  if (std::ranges::any_of(flags.options, asks_for_help)) {
    const auto text = create_options_text(flags.made.format);
    if (!text) return report(text.error());
    print(*text);
    return finish_output(kSuccess);
  }
  if (flags.source.empty() || flags.target.empty()) return usage_error("convert", "source and target are required");
  NewImage made = flags.made;
  made.path = flags.target;
  for (const std::string& list : flags.options) {
    if (const auto added = add_options(list, made.options); !added) {
      return usage_error("convert", added.error().message());
    }
  }
  if (flags.no_create && (!made.options.empty() || !made.backing.name.empty())) {
    return usage_error("convert", "-n takes the target as it is: no -o and no -B");
  }
  const auto sparse = parse_size(flags.sparse);
  if (!sparse) return usage_error("convert", sparse.error().message());
  if (flags.compressed) {
    if (const auto possible = check_compression(made.format); !possible) {
      return usage_error("convert", possible.error().message());
    }
    // Both give every cluster its place, uncompressed.
    const auto preallocation = made.options.find("preallocation");
    const bool preallocates = preallocation != made.options.end() && preallocation->second != "off";
    if (preallocates || made.options.contains("data_file")) {
      return report(Error(ENOTSUP, concat(flags.target, ": compressed clusters and ",
                                          preallocates ? "preallocation" : "an external data file",
                                          " exclude each other; leave out one of them")));
    }
  }
  const Interruptible interruptible;
  const auto done = convert(flags, made, *sparse, interruptible.token());
  return done ? finish_output(kSuccess) : report(done.error());
}

}  // namespace

Command convert_command() {
  auto flags = std::make_shared<Flags>();
  return {
      .name = "convert",
      .help = "Copy a disk into another image",
      .options =
          {
              {"-f,--format", "FMT", &flags->source_format, "Format of SOURCE; probed unless given"},
              {"-O,--target-format", "FMT", &flags->made.format, "Format of TARGET; raw unless given"},
              {"-c,--compress", "", &flags->compressed, "Store compressed clusters (qcow2)"},
              {"-o,--options", "OPTIONS", &flags->options,
               "Options of the target's format, key=value,...; a comma in a value is doubled; 'help' lists them"},
              {"-B,--backing", "BACKING", &flags->made.backing.name,
               "Backing file of TARGET, which then holds only what differs from it"},
              {"-F,--backing-format", "FMT", &flags->made.backing.format, "Format of the backing file"},
              {"-n,--no-create", "", &flags->no_create, "Write into TARGET, which is there already and large enough"},
              {"-S,--sparse", "SIZE", &flags->sparse,
               "Runs of so many zero bytes are not stored; 4k unless given, 0 stores every byte"},
              {"-m,--workers",
               "WORKERS",
               &flags->workers,
               "Pieces copied at the same time; a number that suits unless given",
               {.bounds = {1, 256}}},
              copy_progress_option(flags->progress),
              quiet_option(flags->quiet),
              share_option(flags->force_share),
              {"source", "SOURCE", &flags->source, "The image to copy"},
              {"target", "TARGET", &flags->target, "The image to make; an existing file is overwritten"},
          },
      .run = runs(run_convert, flags)};
}

}  // namespace penstock::cli
