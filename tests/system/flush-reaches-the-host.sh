#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# fsync, fdatasync, a synchronous write and a loop device's flush each make the daemon sync the image file before they
# return; a flush of what is clean already costs no more than one.
. "$(dirname "$0")/lib.sh"
need_fuse
need_loop
need qemu-img strace
strace -f -e trace=fsync true 2>/dev/null || skip "strace cannot trace here"

image=$work/disk.qcow2
qemu-img create -q -f qcow2 "$image" 16M
mount_in_foreground -f qcow2 "$image"
strace -f -qq -y -e trace=fsync,fdatasync,sync_file_range -p "$daemon" -o "$work/trace.txt" &
tracer=$!
on_exit "end_child $tracer"
# Attached to all threads once each thread's status names a tracer.
traced() {
  local status
  for status in /proc/"$daemon"/task/*/status; do
    grep -q "^TracerPid:[[:space:]]*[1-9]" "$status" || return 1
  done
}
tried() { traced || is_gone "$tracer"; }
wait_until 60 tried || fail "strace does not attach"
! is_gone "$tracer" || skip "strace may not look at a running process here"

count() { grep -cE '(fsync|fdatasync)\([0-9]+<[^>]*disk\.qcow2>' "$work/trace.txt" || true; }
# syncs WHAT COMMAND...: the command makes the daemon sync the image at least once.
syncs() {
  local what=$1 before after
  shift
  before=$(count)
  "$@"
  # strace writes its line when the call returns to the daemon, which is before the answer reaches us or just after.
  more() { [ "$(count)" -gt "$before" ]; }
  wait_until 60 more || fail "$what does not reach the host"
  after=$(count)
  say "$what: $((after - before)) syncs"
  [ $((after - before)) -le 12 ] || fail "$what takes $((after - before)) syncs"
}
write_and() { # CALL OFFSET
  python3 -c 'import os, sys
file = os.open(sys.argv[1], os.O_RDWR | (os.O_SYNC if sys.argv[2] == "o_sync" else 0))
os.pwrite(file, b"x" * 4096, int(sys.argv[3]))
if sys.argv[2] != "o_sync":
  getattr(os, sys.argv[2])(file)' "$view" "$1" "$2"
}
syncs "fsync after a write that allocates" write_and fsync 0
syncs "fsync after a write in place" write_and fsync 0
syncs "fdatasync after a write that allocates" write_and fdatasync 5000000
syncs "fdatasync after a write in place" write_and fdatasync 5000000
syncs "an O_SYNC write" write_and o_sync 9000000
for direct in on off; do
  attach_loop "$view" --direct-io=$direct
  syncs "fsync of a loop device, direct I/O $direct" \
    dd if=/dev/zero of="$loop" bs=4096 count=1 seek=700 conv=fsync status=none
  detach_loop "$loop" "$view"
done
unmount_image
