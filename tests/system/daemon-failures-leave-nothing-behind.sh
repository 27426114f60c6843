#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What cannot be mounted is refused with one clear line, exit status 1 and nothing left behind; a last flush that fails
# is an exit status and a line; the daemon keeps nothing of its caller's.
. "$(dirname "$0")/lib.sh"
need_fuse
need qemu-img python3

image=$work/disk.qcow2
qemu-img create -q -f qcow2 "$image" 16M
mountpoint=$work/mnt
mkdir "$mountpoint"
on_exit "force_unmount '$mountpoint'"
qemu-img create -q -f qcow2 -b missing.qcow2 -F qcow2 -u "$work/orphan.qcow2" 16M
qemu-img create -q -f qcow2 -b disk.qcow2 -F raw "$work/misnamed.qcow2" 16M
qemu-img create -q -f qcow2 -b loop2.qcow2 -F qcow2 -u "$work/loop1.qcow2" 16M
qemu-img create -q -f qcow2 -b loop1.qcow2 -F qcow2 -u "$work/loop2.qcow2" 16M
head -c 100 "$image" >"$work/short.qcow2"
: >"$work/empty.qcow2"
head -c 4096 /dev/urandom >"$work/foreign.img"
mkfifo "$work/fifo"
mkdir "$work/directory"
touch "$work/file"
ln -s "$image" "$work/link.qcow2"

# refused TEXT FLAG... : within a time limit, exit status 1, one line that names penstock and holds TEXT.
refused() {
  local text=$1 status=0
  shift
  say "$*"
  said=$(timeout 60 "$penstock" mount "$@" 2>&1) || status=$?
  [ $status -eq 1 ] || fail "exit status $status: $said"
  [ "$(wc -l <<<"$said")" -eq 1 ] || fail "more than one line: $said"
  [[ "$said" == penstock:\ * && "$said" == *"$text"* ]] || fail "does not say '$text': $said"
  not is_mounted "$mountpoint" || fail "mounted nevertheless"
}
before=$(ls /run/penstock "${XDG_RUNTIME_DIR:-/nonexistent}/penstock" 2>/dev/null || true)
refused 'No such file' "$work/nosuch.qcow2" "$mountpoint"
refused 'missing.qcow2' "$work/orphan.qcow2" "$mountpoint"
refused 'loop' "$work/loop1.qcow2" "$mountpoint"
refused 'short.qcow2' -f qcow2 "$work/short.qcow2" "$mountpoint"
refused 'empty.qcow2' -f qcow2 "$work/empty.qcow2" "$mountpoint"
refused 'raw' "$work/foreign.img" "$mountpoint"
refused 'fifo' "$work/fifo" "$mountpoint"
refused 'directory' "$work/directory" "$mountpoint"
refused 'qcow3' -f qcow3 "$image" "$mountpoint"
refused 'No such file' "$image" "$work/nosuch"
refused 'nosuch' "$image" "$work/file/nosuch"
refused 'neither' "$image" "$work/fifo"
refused 'part of the image' "$image" "$image"
refused 'part of the image' "$image" "$work/link.qcow2"
qemu-img create -q -f qcow2 -b disk.qcow2 -F qcow2 "$work/overlay.qcow2"
refused 'part of the image' "$work/overlay.qcow2" "$image"

say "a mountpoint in use"
"$penstock" mount -r "$image" "$mountpoint"
must_fail 'already' "$penstock" mount -r "$image" "$mountpoint"
"$penstock" umount "$mountpoint"
touch "$mountpoint/file.raw"
"$penstock" mount -r "$image" "$mountpoint/file.raw"
must_fail 'already' "$penstock" mount -r "$image" "$mountpoint/file.raw"
"$penstock" umount "$mountpoint/file.raw"
say "a directory that is not empty is covered, as by mount(8)"
"$penstock" mount -r "$image" "$mountpoint"
[ "$(ls "$mountpoint")" = disk.raw ] || fail "not covered"
"$penstock" umount "$mountpoint"
[ "$(ls "$mountpoint")" = file.raw ] || fail "not uncovered"

say "one writer"
"$penstock" mount "$image" "$mountpoint"
mkdir "$work/second"
must_fail 'in use' "$penstock" mount "$image" "$work/second"
must_fail 'in use' "$penstock" mount -r "$image" "$work/second"
"$penstock" umount "$mountpoint"

say "umount and status of what is not ours"
for command in umount status; do
  must_fail 'no image is mounted here' "$penstock" $command "$work/second"
  must_fail 'No such file' "$penstock" $command "$work/nosuch"
done

say "a killed daemon: a dead mount is named, cleared, and its socket is removed by the next one"
mount_in_foreground "$image"
dead=$mountpoint
wait_until 60 "$penstock" status "$dead" >/dev/null
ls -ld "$dead" >/dev/null # the kernel has its attributes now
kill -KILL "$daemon"
wait "$daemon" 2>/dev/null || true
must_fail 'umount' "$penstock" mount "$image" "$dead"
must_fail 'umount' "$penstock" umount "$dead"
must_fail 'umount' "$penstock" mount "$image" "$dead"
umount "$dead"
mountpoint=$work/mnt
"$penstock" mount "$image" "$mountpoint"
"$penstock" umount "$mountpoint"
[ "$(ls /run/penstock "${XDG_RUNTIME_DIR:-/nonexistent}/penstock" 2>/dev/null || true)" = "$before" ] ||
  say "sockets of other daemons are there" # other tests may run beside this one

say "nothing of the caller's stays open, nor its directory in use"
said=$(cd "$work/second" && "$penstock" mount ../disk.qcow2 ../mnt 8>"$work/lock" && echo mounted)
[ "$said" = mounted ] || fail "says: $said"
daemon=$("$penstock" status --json "$mountpoint" | sed -n 's/.*"pid": \([0-9]*\).*/\1/p')
! ls -l "/proc/$daemon/fd" | grep -F "$work/lock" || fail "an inherited file is still open"
[ "$(readlink "/proc/$daemon/cwd")" = / ] || fail "works in $(readlink "/proc/$daemon/cwd")"
"$penstock" status --json "$mountpoint" | has "\"image\": \"$image\"" || fail "the image's path is not absolute"
"$penstock" umount "$mountpoint"

say "a last flush that fails"
if [ "$(id -u)" -eq 0 ] && command -v mkfs.ext4 >/dev/null && losetup -f >/dev/null 2>&1; then
  truncate -s 32M "$work/host.img"
  mkfs.ext4 -q -F "$work/host.img"
  attach_loop "$work/host.img"
  mount_device "$loop" "$work/host"
  qemu-img create -q -f qcow2 "$work/host/disk.qcow2" 64M
  mount_in_foreground "$work/host/disk.qcow2"
  wait_until 60 "$penstock" status "$mountpoint" >/dev/null
  exec 7<>"$view"
  dd if=/dev/urandom bs=64k count=4 status=none >&7
  # The host's file system dies under the image: EXT4_IOC_SHUTDOWN, without writing the journal.
  python3 -c 'import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack("I", 2))' "$work/host" || true
  if touch "$work/host/probe" 2>/dev/null; then
    say "the host's file system cannot be broken here"
    exec 7>&-
    "$penstock" umount "$mountpoint"
  else
    exec 7>&- || true
    status=0
    said=$("$penstock" umount "$mountpoint" 2>&1) || status=$?
    [ $status -eq 1 ] || fail "penstock umount exits $status although the flush failed: $said"
    [[ "$said" == penstock:* ]] || fail "no reason: $said"
    status=0
    wait "$daemon" || status=$?
    [ $status -eq 1 ] || fail "the daemon exits $status although the flush failed"
    grep -q 'penstock:' "$mountpoint.log" || fail "no line in the log"
  fi
fi
check_clean "$image"
