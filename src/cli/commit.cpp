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

void add_commit(CLI::App& app, Command& chosen) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand("commit", "Write what an overlay holds into its backing file");
  add_format_flag(*command, flags->request.format);
  command
      ->add_option("-b,--base", flags->request.base,
                   "Commit to this file further down the chain; the overlay is not emptied then")
      ->type_name("BASE");
  command->add_flag("-d,--drop", flags->request.keep, "Do not empty the overlay afterwards");
  command->add_flag("-p,--progress", flags->progress, "Show how far the copy is, also elsewhere than on a terminal");
  command->add_flag("-q,--quiet", flags->quiet, "Print only errors");
  add_image_argument(*command, flags->request.image);
  command->callback([flags, &chosen] { chosen.run = [flags] { return run_commit(*flags); }; });
}

}  // namespace penstock::cli
