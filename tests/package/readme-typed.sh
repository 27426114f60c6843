#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# readme-typed.sh [DIRECTORY]: on a machine with nothing of ours (a clean Debian 12 root with git and a clone), README.md
# is typed from top to bottom: the build, then every command of the three jobs, in a terminal. Then the same on another
# such machine with the packages (those in DIRECTORY, or built before the clock starts). Prints for both how long it took
# from the first key to the first mounted image, and the processor time of it all, which a busy machine changes little.
# PENSTOCK_README=build or packages: only that.
. "$(dirname "$0")/clean-root.sh"
packages=${1:-}
halves=${PENSTOCK_README:-build packages}

# section TITLE: the commands in README.md below that heading, also those that the tests cannot run.
section() {
  awk -v title="$1" '/^#/ && !fence { here = index($0, title) > 0; next }
    /^```/ { fence = !fence; shown = fence && /^```sh/; next } here && fence && shown' "$source_root/README.md"
}
# type_readme DIRECTORY: the commands of standard input, in that directory, on a terminal.
type_readme() {
  cat >"$work/session"
  [ -s "$work/session" ] || fail "README.md has no such commands"
  # (The superuser's shell takes no PS4 from its environment.)
  { echo "PS4='+ \$EPOCHREALTIME '; set -x"; cat "$work/session"; } >"$root/session"
  # "q" now and then, for the screen that waits for it.
  (trap '' PIPE && while sleep 2 && printf q; do :; done || true) 2>/dev/null | inside env -C "$1" TERM=xterm LC_ALL=C.UTF-8 \
    script -qec 'stty -echo; bash -euo pipefail /session' /dev/null | tr -d '\r' >>"$work/typed.log" || {
    tail -n 40 "$work/typed.log"
    fail "README.md does not work"
  }
}
# Of all that has ended, in seconds.
processor_time() { awk -v tick="$(getconf CLK_TCK)" '{ print ($16 + $17) / tick }' /proc/$$/stat; }
report() {
  local began=$1 before=$3 mounted
  mounted=$(awk -v what='penstock mount disk.qcow2' '/^\++ [0-9.]+ / { if (seen) { print $2; exit }
    seen = index($0, what) > 0 }' "$work/typed.log")
  [ -n "$mounted" ] || fail "nothing was mounted"
  awk -v a="$began" -v b="$mounted" -v name="$2" -v used="$(processor_time)" -v before="$before" -v cores="$(nproc)" \
    'BEGIN { printf "%s: first mounted image after %.1f s; %.0f s of processor time, on %d processors\n",
      name, b - a, used - before, cores }'
}
three_jobs() {
  for title in 'The three jobs' 'Attach' 'Run while provisioning' 'Finalise'; do section "$title"; done |
    type_readme /root
}

if [ -z "$packages" ] && [[ $halves == *packages* ]]; then
  step "the packages"
  build_packages
fi

if [[ $halves == *build* ]]; then
  step "a machine with git"
  clean_root
  quietly git inside apt-get -q -y install --no-install-recommends git
  git -c safe.directory='*' clone -q --no-hardlinks "$source_root" "$root/root/penstock"
  step "the README, from the build on"
  began=$EPOCHREALTIME used=$(processor_time)
  section 'Try it, test it' | grep -v 'tests/demo\|tests/run\|^apt\|^dpkg' | type_readme /root/penstock
  three_jobs
  report "$began" "with the build" "$used"
  rm "$work/typed.log"
  end_root || fail "mounts are left"
fi

if [[ $halves == *packages* ]]; then
  step "a machine with the packages"
  clean_root
  mkdir "$root/debs"
  find "$packages" -maxdepth 1 -name '*.deb' ! -name '*-dbgsym_*' -exec cp -t "$root/debs" {} +
  step "the README, with the packages"
  began=$EPOCHREALTIME used=$(processor_time)
  quietly install inside sh -c 'apt-get -q -y install /debs/*.deb'
  three_jobs
  report "$began" "with packages" "$used"
fi
step "done, $SECONDS s in all"
