// SPDX-License-Identifier: Apache-2.0
/// penstock commit: what an overlay holds goes into the file below it.
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
  CommitRequest request;
  bool progress = false;
  bool quiet = false;
};

int run_commit(const Flags& flags) {
  const Interruptible interruptible;
  Result<> done;
  {
    ProgressBar progress("Committing", progress_wish(flags.quiet, flags.progress));
    const auto executor = make_request_executor(0);
    done = commit_image(flags.request, *executor,
                        {.progress = [&](std::uint64_t at, std::uint64_t total) { progress.update(at, total); },
                         .stop = interruptible.token()});
    if (done) progress.finish();
  }
  if (!done) return report(done.error());
  if (!flags.quiet) print("Image committed.\n");
  return finish_output(kSuccess);
}

}  // namespace

Command commit_command() {
  auto flags = std::make_shared<Flags>();
  auto& request = flags->request;
  return {.name = "commit",
          .help = "Write what an overlay holds into its backing file",
          .options =
              {
                  format_option(request.format),
                  {"-b,--base", "BASE", &request.base,
                   "Commit to this file further down the chain; the overlay is not emptied then"},
                  {"-d,--drop", "", &request.keep, "Do not empty the overlay afterwards"},
                  copy_progress_option(flags->progress),
                  quiet_option(flags->quiet),
                  image_argument(request.image),
              },
          .run = runs(run_commit, flags)};
}

}  // namespace penstock::cli
