#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A file system is made on a loop device over an image, filled, its blocks given back, and is whole: now, and after the
# image was unmounted and mounted again. The argument names it: ext4, xfs or btrfs.
. "$(dirname "$0")/lib.sh"
need_fuse
need_loop
kind=${1:?ext4, xfs or btrfs}
need qemu-img python3 "mkfs.$kind"
grep -qw "$kind" /proc/filesystems || modprobe "$kind" 2>/dev/null || skip "the kernel has no $kind"

make() {
  case $kind in
    ext4) mkfs.ext4 -q -F "$1" ;;
    xfs) mkfs.xfs -q -f "$1" ;;
    btrfs) mkfs.btrfs -q -f "$1" ;;
  esac
}
is_whole() {
  case $kind in
    ext4) e2fsck -f -n "$1" ;;
    xfs) xfs_repair -n "$1" ;;
    btrfs) btrfs check --readonly "$1" ;;
  esac >"$work/fsck.log" 2>&1 || fail "$kind on $1: $(tail -n 30 "$work/fsck.log")"
}

random_bytes "$kind" 30000000 "$work/data"
mkdir "$work/files"
python3 "$(dirname "$0")/../support/make_files.py" "$work/files" 64
for direct in on off; do
  say "--direct-io=$direct"
  image=$work/$direct.qcow2
  qemu-img create -q -f qcow2 "$image" 768M
  mount_image -f qcow2 --discard unmap "$image"
  attach_loop "$view" --direct-io="$direct"
  make "$loop" || fail "mkfs.$kind on $loop"
  mount_device "$loop" "$work/fs"
  cp -a "$work/files" "$work/fs/"
  cp "$work/data" "$work/fs/data"
  cp "$work/data" "$work/fs/dropped"
  sync -f "$work/fs/data"
  rm "$work/fs/dropped"
  fstrim "$work/fs" || say "no fstrim here"
  unmount_device "$work/fs"
  is_whole "$loop"
  detach_loop "$loop" "$view"
  cp --sparse=always "$view" "$work/model.raw"
  unmount_image
  check_clean "$image"
  compare_with_raw "$image" "$work/model.raw"

  mount_image -r -f qcow2 "$image"
  attach_loop "$view" -r --direct-io="$direct"
  is_whole "$loop"
  mount_device "$loop" "$work/fs" -o ro
  same_bytes "$work/data" "$work/fs/data"
  diff -r --no-dereference "$work/files" "$work/fs/files" >"$work/diff.log" 2>&1 ||
    fail "files differ: $(head -n 20 "$work/diff.log")"
  unmount_device "$work/fs"
  detach_loop "$loop" "$view"
  unmount_image
done
