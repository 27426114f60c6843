#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# One punch, one zero range and one seek over more than 4 GiB do all of it, at any alignment.
. "$(dirname "$0")/lib.sh"
need_fuse
need qemu-img python3
size=$((10 * (1 << 30) + 512))

# large IMAGE FORMAT
large() {
  say "$1"
  mount_image -f "$2" "$1"
  python3 "$(dirname "$0")/large_ranges.py" "$view" || fail "$1"
  unmount_image
  [ "$2" = raw ] || check_clean "$1"
}
qemu-img create -q -f qcow2 "$work/disk.qcow2" $size
large "$work/disk.qcow2" qcow2
qemu-img create -q -f qcow2 -o cluster_size=2M,extended_l2=on -b disk.qcow2 -F qcow2 "$work/overlay.qcow2"
large "$work/overlay.qcow2" qcow2
# Zero range of a raw file sets its room aside on the host.
if [ "$(df -B 1 --output=avail "$work" | tail -n 1)" -gt $((30 << 30)) ]; then
  truncate -s $size "$work/plain.img"
  large "$work/plain.img" raw
fi
