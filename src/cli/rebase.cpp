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

void add_rebase(CLI::App& app, Command& chosen) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand("rebase", "Put an image on another backing file, or on none");
  add_format_flag(*command, flags->request.format);
  command
      ->add_option("-b,--backing", flags->request.backing.name,
                   "The new backing file; '' for an image that stands alone")
      ->required()
      ->type_name("BACKING");
  command->add_option("-F,--backing-format", flags->request.backing.format, "Format of the new backing file")
      ->type_name("FMT");
  command->add_flag("-u,--unsafe", flags->request.unchecked,
                    "Change the name alone: no backing file is opened, and none of its contents copied");
  command->add_flag("-p,--progress", flags->progress, "Show how far the copy is, also elsewhere than on a terminal");
  command->add_flag("-q,--quiet", flags->quiet, "Print only errors");
  add_image_argument(*command, flags->request.image);
  command->callback([flags, &chosen] { chosen.run = [flags] { return run_rebase(*flags); }; });
}

}  // namespace penstock::cli
