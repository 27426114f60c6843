#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# All of it, one command: installs what is missing (as root), builds and passes every test. The last line that it
# prints counts them: "N passed, N failed, N skipped".
#
# Three builds, because each finds what the others cannot: g++ as users build it, run against real mounts; clang with
# its thread-safety analysis, the address and undefined behaviour sanitizers; clang with the thread sanitizer on plain
# threads, since oneTBB is opaque to it.
set -euo pipefail
exec </dev/null
cd "$(dirname "$0")/.."
source_root=$PWD

tests/install-packages.sh test

build=$(mktemp -d "${PENSTOCK_TEST_DIRECTORY:-/var/tmp}/penstock-ci-XXXXXX")
trap 'rm -rf --one-file-system "$build"' EXIT
mkdir "$build/cache" "$build/logs"
export PENSTOCK_TEST_CACHE=$build/cache
build_failures=0

# stage NAME COMMAND...: its output, how long it took, and whether it failed; goes on in any case.
stage() {
  local name=$1 began=$SECONDS status=0
  shift
  printf '\n== %s\n' "$name"
  "$@" || status=$?
  printf '== %s: exit status %d after %d s (%d s in all)\n' "$name" "$status" $((SECONDS - began)) "$SECONDS"
  return $status
}
# Says what was built only when it failed.
build_stage() {
  local name=$1 log
  log=$build/logs/build-${1// /-}.log
  shift
  if ! stage "build: $name" "$@" >"$log" 2>&1; then
    build_failures=$((build_failures + 1))
    grep -nE -A 12 'error|FAILED|undefined reference' "$log" | head -n 120
    tail -n 30 "$log"
    return 1
  fi
  tail -n 1 "$log"
}
# run_tests NAME BUILD MESON-TEST-FLAG...
run_tests() {
  local name=$1 directory=$2
  shift 2
  stage "test: $name" meson test -C "$directory" --no-rebuild --logbase "${name// /-}" --quiet "$@" || true
  local log="$directory/meson-logs/${name// /-}.json"
  if [ -f "$log" ]; then
    cp "$log" "$build/logs/"
  else
    printf 'no tests ran\n'
    build_failures=$((build_failures + 1))
  fi
}

# Without debug information, which nothing here reads: a quarter of the time.
build_gcc() { meson setup "$build/gcc" "$source_root" -Ddebug=false -Doptimization=2 && ninja -C "$build/gcc"; }
build_address() {
  CXX=clang++-19 meson setup "$build/address" "$source_root" -Doptimization=1 -Db_lundef=false \
    -Db_sanitize=address,undefined -Dcpp_args=-fno-sanitize-recover=all -Dfuzzers=true && ninja -C "$build/address"
}
build_thread() {
  # Only what runs on many threads: the rest has nothing to show here.
  # shellcheck disable=SC2046
  CXX=clang++-19 meson setup "$build/thread" "$source_root" -Doptimization=1 -Db_lundef=false -Db_sanitize=thread \
    -Dexecutor=threads &&
    ninja -C "$build/thread" $(python3 "$source_root/tests/ci_results.py" targets "$build/thread" concurrency)
}

# A daemon has no standard error: what a sanitizer finds in it goes to a file, too.
reports=$build/logs/sanitizer
# Random tests begin from one seed, so that a run that fails fails again; fresh ones by hand: PENSTOCK_SEED=... meson test.
# The simulation and the fuzz targets get a new one each time: what they find is shown with the command that replays it.
export PENSTOCK_SEED=${PENSTOCK_SEED:-20261121}
export PENSTOCK_FRESH_SEED=${PENSTOCK_FRESH_SEED:-$(($(od -An -N4 -tu4 /dev/urandom) | 1))}
printf 'fresh seed of this run: PENSTOCK_FRESH_SEED=%s; of all other random tests: PENSTOCK_SEED=%s\n' \
  "$PENSTOCK_FRESH_SEED" "$PENSTOCK_SEED"
export ASAN_OPTIONS=log_path=$reports UBSAN_OPTIONS=log_path=$reports:print_stacktrace=1
export TSAN_OPTIONS=log_path=$reports:second_deadlock_stack=1

if build_stage "g++" build_gcc; then
  run_tests "tidy" "$build/gcc" --suite tidy
  run_tests "unit and property" "$build/gcc" --suite unit --suite property --timeout-multiplier 4
  PENSTOCK_SECONDS=45 run_tests "system" "$build/gcc" --suite system
fi
rm -rf "$build/gcc"
if build_stage "address and undefined sanitizers" build_address; then
  run_tests "address and undefined sanitizers" "$build/address" --suite unit --suite property --timeout-multiplier 8
  PENSTOCK_SECONDS=45 run_tests "round trips with sanitizers" "$build/address" qemu-round-trip
  # The scripts that go through most of the daemon's life.
  run_tests "mounts with sanitizers" "$build/address" mmap-coherent-with-direct-io \
    stream-base-and-odd-bases peers-bugs-are-not-ours threads-sanitized-under-load daemon-life-loses-nothing \
    sandbox-takes-rights-not-abilities
  PENSTOCK_FUZZ_FINDINGS=$build/logs run_tests "fuzzing" "$build/address" --suite fuzz
fi
rm -rf "$build/address"
if build_stage "thread sanitizer" build_thread; then
  run_tests "thread sanitizer" "$build/thread" --suite concurrency --timeout-multiplier 8
fi

for report in "$reports".*; do
  [ -s "$report" ] || continue
  printf '\n== FAILED: a sanitizer found\n'
  head -n 80 "$report"
  build_failures=$((build_failures + 1))
done
printf '\n'
python3 tests/ci_results.py summary "$build_failures" "$build"/logs/*.json
