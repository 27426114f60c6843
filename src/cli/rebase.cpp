// SPDX-License-Identifier: Apache-2.0
/// penstock rebase: another backing file, or none.
#include "cli/command.hpp"
#include "cli/common.hpp"
#include "cli/human.hpp"
#include "cli/image_flags.hpp"
#include "cli/interrupt.hpp"
#include "cli/progress.hpp"

#include <penstock/convert.hpp>

#include <memory>

namespace penstock::cli {

namespace {

struct Flags {
  RebaseRequest request;
  bool progress = false;
  bool quiet = false;
};

int run_rebase(const Flags& flags) {
  const Interruptible interruptible;
  Result<> done;
  {
    ProgressBar progress("Rebasing", progress_wish(flags.quiet, flags.progress));
    const auto executor = make_request_executor(0);
    done = rebase_image(flags.request, *executor,
                        {.progress = [&](std::uint64_t at, std::uint64_t total) { progress.update(at, total); },
                         .stop = interruptible.token()});
    if (done) progress.finish();
  }
  if (!done) return report(done.error());
  return finish_output(kSuccess);
}

}  // namespace

Command rebase_command() {
  auto flags = std::make_shared<Flags>();
  auto& request = flags->request;
  return {.name = "rebase",
          .help = "Put an image on another backing file, or on none",
          .options =
              {
                  format_option(request.format),
                  {"-b,--backing",
                   "BACKING",
                   &request.backing.name,
                   "The new backing file; '' for an image that stands alone",
                   {.required = true}},
                  {"-F,--backing-format", "FMT", &request.backing.format, "Format of the new backing file"},
                  {"-u,--unsafe", "", &request.unchecked,
                   "Change the name alone: no backing file is opened, and none of its contents copied"},
                  copy_progress_option(flags->progress),
                  quiet_option(flags->quiet),
                  image_argument(request.image),
              },
          .run = runs(run_rebase, flags)};
}

}  // namespace penstock::cli
