#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Readers, writers, holes, syncs, a stream, status and resizing at the same time over one mount: every byte is what was
# written last, and no sanitizer has a word to say. SERVE is tests/support/serve_image: the file system without the
# command line, so that the thread sanitizer's build need not have that.
. "$(dirname "$0")/lib.sh"
need_fuse
need qemu-img python3
serve=${SERVE:?the program under test}
load=$(dirname "$0")/threads_load.py
export TSAN_OPTIONS=${TSAN_OPTIONS:-}:log_path=$work/sanitizer:exitcode=66
export ASAN_OPTIONS=${ASAN_OPTIONS:-}:log_path=$work/sanitizer UBSAN_OPTIONS=${UBSAN_OPTIONS:-}:log_path=$work/sanitizer
random_bytes 1 $((32 << 20)) "$work/base.raw"

for format in qcow2 qed add-cow; do
  # Only our own program makes these.
  [ $format != add-cow ] || [ -x "$penstock" ] || continue
  say "$format"
  case $format in
    add-cow) "$penstock" create -q -f add-cow -b "$work/base.raw" -F raw -o image_file=data.raw "$work/disk.add-cow" ;;
    qed) qemu-img create -q -f qed -b base.raw -F raw -o cluster_size=4k "$work/disk.qed" ;;
    *) qemu-img create -q -f qcow2 -b base.raw -F raw -o cluster_size=4k,lazy_refcounts=on "$work/disk.qcow2" ;;
  esac
  mountpoint=$work/mnt.$format
  mkdir "$mountpoint"
  on_exit "force_unmount '$mountpoint'"
  "$serve" $format "$work/disk.$format" "$mountpoint" >"$work/serve.log" 2>&1 &
  daemon=$!
  on_exit "end_child $daemon"
  wait_until 60 test -e "$mountpoint/disk.raw" || fail "not mounted: $(cat "$work/serve.log")"
  python3 "$load" "$mountpoint/disk.raw" "$work/base.raw" "${THREADS_LOAD_SECONDS:-4}" || fail "the load: $(cat "$work/serve.log")"
  status=0
  kill -TERM $daemon
  wait $daemon || status=$?
  [ $status -eq 0 ] || fail "exit status $status: $(head -n 60 "$work"/serve.log "$work"/sanitizer.* 2>/dev/null)"
  not is_mounted "$mountpoint" || fail "still mounted"
  if [ $format = add-cow ]; then
    "$penstock" compare -f add-cow -F raw "$work/disk.add-cow" "$work/base.raw.model" || fail "not what was written"
  else
    # QED finds no room but at the end: what a copy that lost against a write had taken, further down, is a leak.
    if [ $format = qed ]; then check_no_corruption "$work/disk.qed"; else check_clean "$work/disk.$format"; fi
    compare_with_raw "$work/disk.$format" "$work/base.raw.model"
  fi
done
for report in "$work"/sanitizer.*; do
  [ ! -s "$report" ] || fail "a sanitizer found: $(head -n 80 "$report")"
done
