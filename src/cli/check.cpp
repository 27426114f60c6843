// SPDX-License-Identifier: Apache-2.0
/// penstock check: the consistency of an image's metadata, in qemu-img's words and exit statuses.
#include "cli/command.hpp"
#include "cli/common.hpp"
#include "cli/human.hpp"
#include "cli/image_flags.hpp"
#include "cli/json_text.hpp"
#include "cli/progress.hpp"

#include "base/text.hpp"
#include "base/work_report.hpp"

#include <nlohmann/json.hpp>

#include <cstdio>
#include <memory>

namespace penstock::cli {

namespace {

constexpr int kCorrupt = 2;
constexpr int kLeaks = 3;
constexpr int kNoCheck = 63;  ///< the format has none

struct Flags {
  std::string image;
  std::string format;
  std::string repair;
  std::string output = "human";
  bool progress = false;
  bool quiet = false;
  bool force_share = false;
};

double percent(std::uint64_t part, std::uint64_t whole) {
  return static_cast<double>(part) * 100.0 / static_cast<double>(whole);
}

std::string findings_text(const CheckReport& report) {
  if (report.corruptions == 0 && report.leaks == 0 && report.check_errors == 0) {
    return "No errors were found on the image.\n";
  }
  std::string out;
  if (report.corruptions != 0) {
    out += concat('\n', report.corruptions,
                  " errors were found on the image.\n"
                  "Data may be corrupted, or further writes to the image may corrupt it.\n");
  }
  if (report.leaks != 0) {
    out += concat('\n', report.leaks,
                  " leaked clusters were found on the image.\n"
                  "This means waste of disk space, but no harm to data.\n");
  }
  if (report.check_errors != 0) {
    out += concat('\n', report.check_errors, " internal errors have occurred during the check.\n");
  }
  return out;
}

std::string report_text(const CheckReport& report) {
  std::string out = findings_text(report);
  if (report.total_clusters != 0 && report.allocated_clusters != 0) {
    out += printf_text("%llu/%llu = %0.2f%% allocated, %0.2f%% fragmented, %0.2f%% compressed clusters\n",
                       static_cast<unsigned long long>(report.allocated_clusters),
                       static_cast<unsigned long long>(report.total_clusters),
                       percent(report.allocated_clusters, report.total_clusters),
                       percent(report.fragmented_clusters, report.allocated_clusters),
                       percent(report.compressed_clusters, report.allocated_clusters));
  }
  if (report.image_end_offset != 0) out += concat("Image end offset: ", report.image_end_offset, '\n');
  return out;
}

Json report_json(const std::string& name, const CheckedImage& checked) {
  const CheckReport& report = checked.report;
  Json json = Json::object();
  const auto put_unless_zero = [&json](const char* key, std::uint64_t value) {
    if (value != 0) json[key] = value;
  };
  put_unless_zero("image-end-offset", report.image_end_offset);
  put_unless_zero("compressed-clusters", report.compressed_clusters);
  put_unless_zero("total-clusters", report.total_clusters);
  put_unless_zero("corruptions-fixed", report.corruptions_fixed);
  put_unless_zero("corruptions", report.corruptions);
  json["check-errors"] = report.check_errors;
  put_unless_zero("leaks", report.leaks);
  put_unless_zero("leaks-fixed", report.leaks_fixed);
  put_unless_zero("allocated-clusters", report.allocated_clusters);
  json["filename"] = name;
  json["format"] = checked.format;
  put_unless_zero("fragmented-clusters", report.fragmented_clusters);
  return json;
}

int exit_status(const CheckReport& report) {
  if (report.check_errors != 0) return kFailure;
  if (report.corruptions != 0) return kCorrupt;
  return report.leaks != 0 ? kLeaks : kSuccess;
}

int failed(const Error& error) {
  const int status = report(error);
  return error.is(ENOSYS) ? kNoCheck : status;
}

int run_check(const Flags& flags) {
  CheckOptions options;
  if (flags.repair == "leaks") options.repair = Repair::leaks;
  if (flags.repair == "all") options.repair = Repair::all;
  ProgressBar bar("Checking", progress_wish(flags.quiet || flags.output == "json", flags.progress));
  const WorkListener listener([&bar](std::uint64_t done, std::uint64_t total) { bar.update(done, total); });
  // As qemu-img: findings go to standard error, so that standard output stays the report.
  options.log = [&bar](std::string_view line) {
    bar.make_way();
    std::fputs(concat(printable(line), '\n').c_str(), stderr);
  };
  ImageOptions image = reading(flags.format, flags.force_share);
  image.writable = options.repair != Repair::none;
  auto checked = check_image(flags.image, image, options);
  bar.make_way();
  if (!checked) return failed(checked.error());
  const CheckReport first = checked->report;
  if (first.corruptions_fixed != 0 || first.leaks_fixed != 0) {
    if (flags.output == "human" && !flags.quiet) {
      print(concat("The following inconsistencies were found and repaired:\n\n    ", first.leaks_fixed,
                   " leaked clusters\n    ", first.corruptions_fixed,
                   " corruptions\n\nDouble checking the fixed image now...\n"));
      std::fflush(stdout);
    }
    options.repair = Repair::none;
    image.writable = false;
    checked = check_image(flags.image, image, options);
    bar.make_way();
    if (!checked) return failed(checked.error());
    checked->report.corruptions_fixed = first.corruptions_fixed;
    checked->report.leaks_fixed = first.leaks_fixed;
  }
  if (flags.output == "json") {
    print(json_text(report_json(flags.image, *checked)));
  } else if (!flags.quiet) {
    print(report_text(checked->report));
  }
  if (checked->report.check_errors != 0) {
    print_error(concat(flags.image, ": the check could not examine all of the image"));
  }
  return finish_output(exit_status(checked->report));
}

}  // namespace

Command check_command() {
  auto flags = std::make_shared<Flags>();
  return {
      .name = "check",
      .help = "Check an image's metadata, and repair it with -r",
      .options =
          {
              format_option(flags->format),
              {"-r,--repair",
               "WHAT",
               &flags->repair,
               "Repair: 'leaks' frees clusters that nobody refers to, 'all' also fixes everything else",
               {.choices = {"leaks", "all"}}},
              output_option(flags->output),
              {"-p,--progress", "", &flags->progress, "Show how far the check is, also elsewhere than on a terminal"},
              {"-q,--quiet", "", &flags->quiet, "Print only what is wrong"},
              share_option(flags->force_share),
              image_argument(flags->image),
          },
      .run = runs(run_check, flags)};
}

}  // namespace penstock::cli
