#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A Debian root file system as a compressed base under a v2 and a v3 overlay (extended L2 entries) serves a loop device
# with and without direct I/O: files equal, writes kept, fsck and qemu-img check clean, and every byte the one that a
# raw file with the same writes holds.
. "$(dirname "$0")/lib.sh"
need_fuse
need_loop
need qemu-img mkfs.ext4 e2fsck

debian_tree
tree_mib=$(du -s --block-size=1M "$tree" | cut -f 1)
say "the base: $tree_mib MiB of files"
# Room for them, for the programs twice more, and for what is written beside; how much a Debian is, others decide.
disk_mib=$((tree_mib * 3 + 100 > 512 ? tree_mib * 3 + 100 : 512))
truncate -s "${disk_mib}M" "$work/base.img"
mkfs.ext4 -q -F -d "$tree" "$work/base.img"
qemu-img convert -c -f raw -O qcow2 "$work/base.img" "$work/base.qcow2"
qemu-img create -q -f qcow2 -o compat=0.10 -b base.qcow2 -F qcow2 "$work/middle.qcow2"
qemu-img create -q -f qcow2 -o extended_l2=on,cluster_size=128k -b middle.qcow2 -F qcow2 "$work/top.qcow2"
base_sum=$(sum_of "$work/base.qcow2")

# An overlay of the overlay, and a change through it, so that both overlays hold something.
say "a first change goes into the middle overlay"
mount_image -f qcow2 "$work/middle.qcow2"
attach_loop "$view"
mount_device "$loop" "$work/root"
cp "$work/root/bin/bash" "$work/root/root/a-copy"
unmount_device "$work/root"
detach_loop "$loop" "$view"
unmount_image
check_clean "$work/middle.qcow2"
qemu-img convert -f qcow2 -O raw "$work/top.qcow2" "$work/model.raw"
middle_sum=$(sum_of "$work/middle.qcow2")

for direct in on off; do
  say "losetup --direct-io=$direct"
  mount_image -f qcow2 "$work/top.qcow2"
  same_bytes "$view" "$work/model.raw"
  attach_loop "$view" --direct-io="$direct"
  [ "$(losetup -n -O DIO "$loop" | tr -d ' ')" = "$([ "$direct" = on ] && echo 1 || echo 0)" ] ||
    fail "direct I/O is not $direct: $(losetup "$loop")"
  e2fsck -f -n "$loop" >"$work/fsck.log" 2>&1 || fail "e2fsck: $(cat "$work/fsck.log")"
  mount_device "$loop" "$work/root"
  # (The round before removed the translations.)
  diff -r --no-dereference -x locale "$tree/usr" "$work/root/usr" >"$work/diff.log" 2>&1 ||
    fail "files differ: $(head -n 20 "$work/diff.log")"
  random_bytes "$direct" 20000000 "$work/root/new-$direct"
  cp -a "$work/root/usr/bin" "$work/root/bin-$direct"
  rm -rf "$work/root/usr/share/locale"
  sync -f "$work/root/new-$direct"
  unmount_device "$work/root"
  # What the guest of this image sees now, taken from the view itself while it is in use.
  cp --sparse=always "$view" "$work/model.raw"
  detach_loop "$loop" "$view"
  unmount_image
  check_clean "$work/top.qcow2"
  compare_with_raw "$work/top.qcow2" "$work/model.raw"
done

say "what QEMU reads is a whole file system with the new files"
e2fsck -f -n "$work/model.raw" >"$work/fsck.log" 2>&1 || fail "e2fsck of the result: $(cat "$work/fsck.log")"
attach_loop "$work/model.raw" -r
mount_device "$loop" "$work/root" -o ro
for direct in on off; do
  random_bytes "$direct" 20000000 "$work/expected"
  same_bytes "$work/root/new-$direct" "$work/expected"
  diff -r "$tree/usr/bin" "$work/root/bin-$direct" >/dev/null || fail "copied programs differ"
done
same_bytes "$work/root/root/a-copy" "$tree/bin/bash"
unmount_device "$work/root"

[ "$(sum_of "$work/base.qcow2")" = "$base_sum" ] || fail "the base changed"
[ "$(sum_of "$work/middle.qcow2")" = "$middle_sum" ] || fail "the lower overlay changed"
