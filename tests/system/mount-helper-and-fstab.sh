#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# mount(8) and umount(8) mount and unmount images by type, by hand and from an fstab; flags are mount options; umount
# returns when the image is closed.
if [ -z "${PENSTOCK_OWN_NAMESPACE:-}" ]; then
  # /sbin, where mount(8) looks for helpers, is changed for this script alone.
  if [ "$(id -u)" -ne 0 ] || ! unshare --mount --propagation private true 2>/dev/null; then
    echo "SKIP: needs root and a mount namespace of its own" >&2
    exit 77
  fi
  exec unshare --mount --propagation private env PENSTOCK_OWN_NAMESPACE=1 bash "$0" "$@"
fi
. "$(dirname "$0")/lib.sh"
[ -z "${PENSTOCK_OWN_NAMESPACE:-}" ] || forget_foreign_mounts
need_fuse
need qemu-img mount umount

if [ ! -e /sbin/mount.penstock ]; then
  say "not installed: a folder with the helpers alone takes the place of /sbin, which nothing else here needs"
  mkdir "$work/sbin"
  for name in mount.penstock mount.fuse.penstock umount.penstock umount.fuse.penstock; do
    ln -s "$(readlink -f "$penstock")" "$work/sbin/$name"
  done
  mount --bind "$work/sbin" "$(readlink -f /sbin)"
fi

image=$work/disk.qcow2
qemu-img create -q -f qcow2 "$image" 64M
place=$work/place
mkdir "$place" "$work/other"
on_exit "force_unmount '$place'"
on_exit "force_unmount '$work/other'"
status_has() { "$penstock" status --json "$place" | has -F "$1" || fail "status lacks $1: $("$penstock" status --json "$place")"; }
# The daemon closes the image a moment after an unmount that did not wait for it.
closed() { wait_until 60 qemu-img info "$image" >/dev/null 2>&1 || fail "not closed"; }
# exits STATUS TEXT COMMAND...
exits() {
  local wanted=$1 text=$2 status=0
  shift 2
  said=$("$@" 2>&1) || status=$?
  [ $status -eq "$wanted" ] || fail "'$*' exits $status: $said"
  [[ "$said" == *"$text"* ]] || fail "'$*' does not say '$text': $said"
}

say "mount -t penstock, umount: the image is closed when umount returns"
mount -t penstock -o format=qcow2,threads=3,cache_size=8M,discard,umask=022,detect-zeroes=unmap "$image" "$place"
status_has '"threads": 3'
status_has '"cache-bytes-max": 8388608'
status_has '"detect-zeroes": "unmap"'
status_has '"discard": "unmap"'
[ "$(stat -c %a "$place/disk.raw")" = 644 ] || fail "umask: $(stat -c %a "$place/disk.raw")"
random_bytes 1 $((16 << 20)) "$work/data"
for round in 1 2 3; do
  dd if="$work/data" of="$place/disk.raw" bs=1M seek=$((round * 10)) conv=notrunc status=none
  # Given an absolute path, umount(8) does without helpers.
  (cd "$work" && umount place)
  # Still open for writing, QEMU would refuse it.
  qemu-img compare -q -f qcow2 -F qcow2 "$image" "$image" || fail "still in use after umount"
  check_clean "$image"
  mount -t fuse.penstock "$image" "$place"
done
cmp <(tail -c +$(((30 << 20) + 1)) "$place/disk.raw" | head -c $((16 << 20))) "$work/data" || fail "data lost"

say "a busy umount, by the name of the image, umount -l"
exec 7<"$place/disk.raw"
exits 32 'busy' umount "$place"
cd "$work"
exits 32 'penstock: '"$place"': cannot unmount' umount place
cd /
is_mounted "$place" || fail "a busy image was unmounted"
exec 7<&-
[ "$(grep -F " $place " /proc/self/mounts | cut -d ' ' -f 3)" = fuse.penstock ] || fail "another type"
umount -t fuse.penstock "$image"
qemu-img info "$image" >/dev/null || fail "still in use after umount"
not is_mounted "$place" || fail "umount -t"
mount -t penstock -o ro "$image" "$place"
umount -l "$place"
not is_mounted "$place" || fail "umount -l"
closed

say "over a file"
touch "$work/file"
on_exit "force_unmount '$work/file'"
mount -t penstock -r -o strictatime,dirsync,nosymfollow,lazytime,nolazytime,silent,mand,nomand,iversion,noiversion \
  "$image" "$work/file"
[ "$(stat -c %s "$work/file")" -eq $((64 << 20)) ] || fail "not over the file"
grep -qE " $work/file fuse.penstock ro" /proc/self/mounts || fail "-r is not read-only"
/sbin/umount.penstock -r "$work/file"
not is_mounted "$work/file" || fail "umount.penstock -r"
closed

say "what is refused"
exits 32 'No such file' mount -t penstock "$work/nosuch.qcow2" "$place"
exits 1 'unknown mount option' mount -t penstock -o nosuchoption "$image" "$place"
exits 1 'needs' mount -t penstock -o threads "$image" "$place"
exits 1 '--threads' mount -t penstock -o threads=1000 "$image" "$place"
helper=/sbin/umount.penstock
exits 32 "penstock: $place: no file system is mounted there" "$helper" "$place"
exits 1 "'$place' is one name too many" "$helper" "$place" "$place"
mount -t penstock "$image" "$place"
exits 1 "penstock: $place: a mounted image cannot be remounted" mount -o remount,ro "$place"
"$penstock" status "$place" >/dev/null || fail "a refused remount ended the mount"
mount -o remount,bind,ro "$place"
! dd if=/dev/zero of="$place/disk.raw" bs=512 count=1 conv=notrunc status=none 2>/dev/null || fail "bind,ro can be written"
umount "$place"
closed

say "a dead mount"
mount_in_foreground "$image"
kill -KILL "$daemon"
wait "$daemon" 2>/dev/null || true
umount "$mountpoint"

say "fstab, mount -a"
qemu-img create -q -f qcow2 -b disk.qcow2 -F qcow2 "$work/over lay.qcow2"
cat >"$work/fstab" <<FSTAB
$work/over\\040lay.qcow2 $place penstock stream,stream_speed=64M,x-systemd.mount-timeout=30,_netdev,nofail 0 0
$work/nosuch.qcow2 $work/other penstock nofail 0 0
$work/other.qcow2 $work/other penstock noauto 0 0
FSTAB
mount -a -T "$work/fstab" || fail "mount -a exits $?"
is_mounted "$place" || fail "not mounted by mount -a"
mount -a -T "$work/fstab" || fail "a second mount -a exits $?"
[ "$(grep -cF " $place " /proc/self/mounts)" -eq 1 ] || fail "mounted twice"
not is_mounted "$work/other" || fail "noauto is mounted"
"$penstock" stream wait "$place"
(cd "$work" && umount place)
[[ "$(qemu-img info "$work/over lay.qcow2")" != *backing* ]] || fail "not finalised"
qemu-img compare -q -f qcow2 -F qcow2 "$image" "$work/over lay.qcow2" || fail "contents changed"
