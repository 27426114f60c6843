#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run.sh         the quick form: installs what is missing (as root), builds once, with g++, and passes every unit, property
#                and system test, on real mounts.
# run.sh --all   the long form: besides, two builds with clang, whose analysis follows each mutex, one for the address and
#                undefined behaviour sanitizers and the fuzzers, one for the thread sanitizer; and the Debian packages,
#                installed and used in a clean Debian and in a guest.
# Tells how far it is. The last line counts the tests: "N passed, N failed, N skipped".
#
# What only waits or computes runs side by side, the builds of the long form behind it. What measures, or changes what a
# machine has but once, runs alone, with nothing behind it (suite "alone", with the reasons in system/meson.build).
set -euo pipefail
exec </dev/null
cd "$(dirname "$0")/.."
builds=(gcc)
needed='test' without=(--no-suite package)
case "$*" in
  '') ;;
  --all)
    builds+=(address thread packages)
    needed=packages without=()
    ;;
  *)
    echo "usage: ${0##*/} [--all]" >&2
    exit 2
    ;;
esac

give_up() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}
# In MiB: what was seen, and half as much again.
place=${PENSTOCK_TEST_DIRECTORY:-/var/tmp} room=3000
[ "$needed" = 'test' ] || room=6000
elsewhere="name another directory in PENSTOCK_TEST_DIRECTORY"
[ "$(id -u)" -eq 0 ] || give_up "run it as root: it mounts, and attaches loop devices"
if ! [ -d "$place" ] || ! [ -w "$place" ]; then give_up "$place: is no directory that can be written to; $elsewhere"; fi
free=$(df --output=avail --block-size=1M -- "$place" | tail -n 1 | tr -d ' ')
[ "$free" -ge "$room" ] || give_up "$place: the tests need $room MiB, $free MiB are free; make room there, or $elsewhere"

tests/install-packages.sh "$needed"
# A version manager's python3 is a script that takes ten times as long to start as the program; tests start many.
PATH=$(dirname "$(python3 -c 'import sys; print(sys.executable)')"):$PATH

build=$(mktemp -d "${PENSTOCK_TEST_DIRECTORY:-/var/tmp}/penstock-run-XXXXXX")
behind=
end() {
  local status=$?
  trap - EXIT
  # A process group of its own, and none of ours once it was waited for.
  [ -z "$behind" ] || kill -- "-$behind" 2>/dev/null || true
  wait
  rm -rf --one-file-system "$build"
  exit "$status"
}
trap end EXIT
trap 'exit 130' INT TERM HUP
mkdir "$build/cache" "$build/logs"
export PENSTOCK_TEST_CACHE=${PENSTOCK_TEST_CACHE:-$build/cache}

# A daemon has no standard error: what a sanitizer finds in it goes to a file, too.
reports=$build/logs/sanitizer
# Random tests begin from one seed, so that a run that fails fails again; fresh ones by hand: PENSTOCK_SEED=... meson test.
# The simulation and the fuzz targets get a new one each time: what they find is shown with the command that replays it.
export PENSTOCK_SEED=${PENSTOCK_SEED:-20261121}
export PENSTOCK_FRESH_SEED=${PENSTOCK_FRESH_SEED:-$(($(od -An -N4 -tu4 /dev/urandom) | 1))}
printf 'fresh seed of this run: PENSTOCK_FRESH_SEED=%s; of all other random tests: PENSTOCK_SEED=%s\n' \
  "$PENSTOCK_FRESH_SEED" "$PENSTOCK_SEED"
export ASAN_OPTIONS=log_path=$reports UBSAN_OPTIONS=log_path=$reports:print_stacktrace=1
export TSAN_OPTIONS=log_path=$reports:second_deadlock_stack=1 PENSTOCK_FUZZ_FINDINGS=$build/logs

# stage NAME COMMAND...: how long it took, and whether it failed; goes on in any case.
stage() {
  local name=$1 began=$SECONDS status=0
  shift
  printf '\n== %s\n' "$name"
  "$@" || status=$?
  printf '== %s: exit status %d after %d s (%d s in all)\n' "$name" $status $((SECONDS - began)) "$SECONDS"
  return $status
}

# Without debug information, which nothing here reads: a quarter of the time.
build_gcc() { meson setup "$build/gcc" -Ddebug=false -Doptimization=2 && ninja -C "$build/gcc"; }
build_address() {
  CXX=clang++-19 meson setup "$build/address" -Doptimization=1 -Db_lundef=false \
    -Db_sanitize=address,undefined -Dcpp_args=-fno-sanitize-recover=all -Dfuzzers=true && ninja -C "$build/address"
}
build_thread() {
  # Only what runs on many threads: the rest has nothing to show here.
  # shellcheck disable=SC2046
  CXX=clang++-19 meson setup "$build/thread" -Doptimization=1 -Db_lundef=false -Db_sanitize=thread &&
    ninja -C "$build/thread" $(python3 tests/run_results.py targets "$build/thread" concurrency)
}
build_packages() {
  mkdir -p "$build/packages/penstock"
  # What is committed, with what was changed since.
  git -c safe.directory='*' ls-files -z | tar --null -T - -c | tar -x -C "$build/packages/penstock"
  cd "$build/packages/penstock" && DEB_CXXFLAGS_STRIP=-g DEB_BUILD_OPTIONS="nocheck noddebs parallel=$(nproc)" \
    dpkg-buildpackage -us -uc -b
}
# Of ninja's lines, one every tenth of the way.
tenths() {
  local told=0 line
  while IFS= read -r line; do
    [[ "$line" =~ ^\[([0-9]+)/([0-9]+)\] ]] || continue
    [ $((10 * BASH_REMATCH[1] / BASH_REMATCH[2])) -gt $told ] || continue
    told=$((10 * BASH_REMATCH[1] / BASH_REMATCH[2]))
    printf '   %s: step %d of %d\n' "$1" "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}"
  done
}
# build NAME: what was said is told only when it fails; leaves $build/NAME/built when it does not.
build() {
  local log=$build/logs/build-$1.log
  if ("build_$1") 2>&1 | tee "$log" | tenths "$1"; then
    touch "$build/$1/built"
  else
    grep -nE -A 12 'error|FAILED|undefined reference' "$log" | head -n 120
    tail -n 30 "$log"
    return 1
  fi
}

# run_tests NAME BUILD MESON-TEST-FLAG...
run_tests() {
  local name=$1 log=${1// /-}
  shift
  [ -e "$build/$1/built" ] || return 0
  stage "test: $name" meson test -C "$build/$1" --no-rebuild --logbase "$log" "${@:2}" || true
  # Without its log it counts as failed.
  cp "$build/$1/meson-logs/$log.json" "$build/logs/" || touch "$build/logs/$log.json"
}

# What comes from a mirror comes meanwhile.
bash tests/support/prepare.sh >"$build/logs/prepare.log" 2>&1 &
prepare=$!
stage "build: gcc" build gcc || true
wait "$prepare" || tail -n 20 "$build/logs/prepare.log"
if [ ${#builds[@]} -gt 1 ]; then
  # A process group of its own, which takes what the tests leave of the processors.
  set -m
  {
    renice -n 19 -p "$BASHPID" >/dev/null
    for name in "${builds[@]:1}"; do stage "build: $name" build "$name" || true; done
  } >"$build/logs/behind.log" 2>&1 &
  behind=$!
  set +m
fi
# What waits for a disk or a clock leaves the processors to others.
side_by_side=$((3 * $(nproc)))
export PENSTOCK_SECONDS=${PENSTOCK_SECONDS:-45}
run_tests "side by side" gcc --no-suite alone --num-processes $side_by_side --timeout-multiplier 4
if [ -n "$behind" ]; then
  printf '\n== waiting for the builds behind\n'
  renice -n 0 -g "$behind" >/dev/null 2>&1 || true
  wait "$behind" || true
  behind=
  cat "$build/logs/behind.log"
fi
run_tests "address and undefined sanitizers" address --suite unit --suite property --suite sanitized --suite fuzz \
  --num-processes $side_by_side --timeout-multiplier 8
run_tests "thread sanitizer" thread --suite concurrency --num-processes $side_by_side --timeout-multiplier 8
if [ -e "$build/packages/built" ]; then export PENSTOCK_PACKAGES=$build/packages; fi
run_tests "alone" gcc --suite alone "${without[@]}"

build_failures=0
for name in "${builds[@]}"; do
  [ -e "$build/$name/built" ] || build_failures=$((build_failures + 1))
done
for report in "$reports".*; do
  [ -s "$report" ] || continue
  printf '\n== FAILED: a sanitizer found\n'
  head -n 80 "$report"
  build_failures=$((build_failures + 1))
done
shopt -s nullglob  # no tests ran at all
printf '\n%d s in all, on %d processors\n' "$SECONDS" "$(nproc)"
python3 tests/run_results.py summary "$build_failures" "$build"/logs/*.json
