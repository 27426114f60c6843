#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A file system over a loop device: what is deleted and trimmed is given back to the host, in every format. qcow2 uses
# the clusters again too; QED and add-cow leave holes.
. "$(dirname "$0")/lib.sh"
need_fuse
need_loop
need mkfs.ext4 e2fsck fstrim
cd "$work"
file_bytes=$((64 << 20))
random_bytes fstrim $file_bytes data
random_bytes kept 4000000 kept

host_bytes() {
  local blocks
  sync -f .
  blocks=$(stat -c %b "$1")
  [ ! -e "$1.data" ] || blocks=$((blocks + $(stat -c %b "$1.data")))
  echo $((blocks * 512))
}

# gives_back NAME FORMAT [create's FLAG...]
gives_back() {
  local image=$1 format=$2 full left
  shift 2
  if [ "$format" = add-cow ]; then set -- -o "image_file=$image.data" "$@"; fi
  "$penstock" create -q -f "$format" "$@" "$image" 256M
  mount_image -f "$format" "$image"
  attach_loop "$view"
  mkfs.ext4 -q -F -E nodiscard "$loop"
  mount_device "$loop" fs
  cp kept fs/kept
  cp data fs/data
  sync -f fs
  full=$(host_bytes "$image")
  rm fs/data
  sync -f fs
  fstrim fs
  same_bytes kept fs/kept
  unmount_device fs
  blockdev --flushbufs "$loop"
  e2fsck -f -n "$loop" >fsck.log 2>&1 || fail "$image: $(cat fsck.log)"
  detach_loop "$loop" "$view"
  unmount_image
  left=$(host_bytes "$image")
  say "$image: $full bytes, $left after deleting $file_bytes"
  [ $((full - left)) -ge $((file_bytes * 9 / 10)) ] || fail "$image gave back $((full - left)) bytes of $file_bytes"
  [ "$format" = raw ] || "$penstock" check -q -f "$format" "$image" || fail "$image is not sound"
  rm -f "$image" "$image.data"
}

truncate -s 256M base.raw
gives_back alone.raw raw
gives_back alone.v2 qcow2 -o compat=0.10
gives_back alone.qcow2 qcow2
gives_back extended.qcow2 qcow2 -o extended_l2=on
gives_back alone.qed qed
gives_back alone.acow add-cow
gives_back over.qcow2 qcow2 -b base.raw -F raw
gives_back over.qed qed -b base.raw -F raw
gives_back over.acow add-cow -b base.raw -F raw
