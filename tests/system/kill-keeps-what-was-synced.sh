#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The daemon is killed (SIGKILL) in the middle of writes, punched holes and syncs: the image mounts again, every block
# that fsync() returned for holds that or a later write, no block holds anything else, and QEMU's check finds leaks at
# most. With lazy refcounts the next writable open repairs them first.
. "$(dirname "$0")/lib.sh"
need_fuse
need qemu-img
load=$(dirname "$0")/kill_load.py

python3 "$load" base $((32 << 20)) "$work/base.raw"
qemu-img convert -c -f raw -O qcow2 "$work/base.raw" "$work/base.qcow2"

# one_round SEED MILLISECONDS CREATE-OPTIONS
one_round() {
  local seed=$1 wait=$2 options=$3 image=$work/$1.qcow2 writer
  say "killed after $wait ms, seed $seed, $options"
  qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 -o "$options" "$image"
  mount_in_foreground -f qcow2 "$image"
  python3 "$load" load "$seed" "$view" "$work/log" "$work/started" &
  writer=$!
  on_exit "end_child $writer"
  wait_until 120 test -e "$work/started" || fail "the load does not start"
  sleep "$(printf '0.%03d' "$wait")" # a moment, any moment
  touch "$work/started.killed"
  kill -KILL "$daemon"
  wait "$daemon" 2>/dev/null || true
  wait "$writer" || fail "the load failed other than by the end of the mount"
  force_unmount "$mountpoint"
  rm "$work/started" "$work/started.killed"

  [[ "$options" == *lazy* ]] || check_no_corruption "$image"
  mount_image -f qcow2 "$image"
  python3 "$load" verify "$work/log" "$view" || fail "after the kill, through penstock (seed $seed)"
  # And it goes on: what was lost is written again.
  python3 "$load" again "$work/log" "$view" || fail "writing again (seed $seed)"
  unmount_image
  check_no_corruption "$image"
  qemu-img convert -f qcow2 -O raw "$image" "$work/model.raw"
  python3 "$load" verify "$work/log" "$work/model.raw" || fail "after the kill, through QEMU (seed $seed)"
  rm "$image" "$work/model.raw"
}

seed=${PENSTOCK_SEED:-$((RANDOM * 32768 + RANDOM))}
for round in 0 1 2 3 4; do
  for options in cluster_size=64k cluster_size=4k,refcount_bits=64 cluster_size=512,compat=0.10 \
    cluster_size=64k,extended_l2=on cluster_size=16k,lazy_refcounts=on; do
    one_round $((seed + round)) $(((seed / 7 + round * 211) % 700 + 20)) "$options"
  done
done
