#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs every fuzz target, one after the other, for so many seconds, with at most 256 MiB of memory and a minute an
# input (of the clock: machines may be busy), and prints how many inputs each went through. What it finds is left in the
# folder that it says, to be added to the corpus with its mending. With 0 seconds: the inputs of the corpora once.
#
#   tests/fuzz/run.sh SECONDS BUILD/tests/fuzz [TARGET...]
#
# PENSTOCK_FUZZ_CORPUS: a folder where what is new is kept, target by target, and gone on from (default: thrown away).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
seconds=${1:?seconds for each target}
programs=${2:?folder of the fuzz programs}
shift 2
if [ $# -eq 0 ]; then
  for program in "$programs"/fuzz_*; do
    [ ! -x "$program" ] || [ -d "$program" ] || set -- "$@" "${program##*/fuzz_}"
  done
fi
[ $# -gt 0 ] || { echo "no fuzz programs in $programs: meson setup -Dfuzzers=true" >&2; exit 2; }

work=$(mktemp -d "${TMPDIR:-/tmp}/penstock-fuzz-run-XXXXXX")
findings=${PENSTOCK_FUZZ_FINDINGS:-$PWD}
trap 'rm -rf --one-file-system "$work"' EXIT
export XDG_RUNTIME_DIR=$work
# A quarantine as large as usual would count as our memory. Sanitizer reports belong into the log of the target.
export ASAN_OPTIONS=quarantine_size_mb=8:detect_stack_use_after_return=0 UBSAN_OPTIONS=print_stacktrace=1
seed=${PENSTOCK_FRESH_SEED:-${PENSTOCK_SEED:-}}
[ "$seconds" -eq 0 ] || printf 'fresh seed of the fuzz targets: PENSTOCK_FRESH_SEED=%s\n' "${seed:-none, each its own}"
failed=0
for target in "$@"; do
  corpus=$here/corpus/$target
  kept=${PENSTOCK_FUZZ_CORPUS:-$work/corpus}/$target
  mkdir -p "$kept" "$work/empty"
  log=$work/$target.log
  [ -d "$corpus" ] || corpus=$work/empty
  limits=(-rss_limit_mb=256 -timeout=60 -max_len=8192 -print_final_stats=1 "-artifact_prefix=$findings/fuzz-$target-")
  # Where CI names a seed, a run that fails fails again.
  [ -z "$seed" ] || limits+=("-seed=$seed")
  status=0
  if [ "$seconds" -eq 0 ]; then
    find "$corpus" "$kept" -type f -print0 | xargs -0 -r "$programs/fuzz_$target" "${limits[@]}" >"$log" 2>&1 || status=$?
    done_inputs=$(grep -c '^Executed ' "$log" || true)
    memory=
  else
    "$programs/fuzz_$target" "${limits[@]}" "-max_total_time=$seconds" "$kept" "$corpus" >"$log" 2>&1 || status=$?
    done_inputs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    memory=", $(sed -n 's/^stat::peak_rss_mb: *//p' "$log") MiB, $(sed -n 's/^.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1) edges"
  fi
  printf '%-16s %s inputs%s\n' "$target" "${done_inputs:-?}" "$memory"
  if [ "$status" -ne 0 ]; then
    failed=1
    printf 'FAIL: %s ends with status %s\n' "$target" "$status"
    grep -vE '^#[0-9]+' "$log" | tail -n 60
    # What CI leaves is its output: the input stands in it, whole.
    input=$(sed -n 's/^.*Test unit written to //p' "$log" | tail -n 1)
    [ ! -f "$input" ] || printf "the input, %s, again:\nbase64 -d >input <<'END'\n%s\nEND\n%q input\n" "$input" \
      "$(base64 -w 0 "$input")" "$programs/fuzz_$target"
  fi
done
exit $failed
