#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Reads, writes, punch hole, zero range, fallocate, truncate and seek, before, at, across and after the end of file, do
# to a mounted image what they do to a file on ext4.
. "$(dirname "$0")/lib.sh"
need_fuse
need qemu-img python3
here=$(dirname "$0")

oracle_directory=$work
if [ "$(stat -f -c %T "$work")" != ext2/ext3 ]; then
  need_loop
  truncate -s 256M "$work/ext4.img"
  mkfs.ext4 -q -F "$work/ext4.img"
  attach_loop "$work/ext4.img"
  oracle_directory=$work/ext4
  mount_device "$loop" "$oracle_directory"
fi
oracle=$oracle_directory/oracle

# matrix NAME RULE IMAGE FORMAT [FLAG...]: IMAGE holds the same as $work/data.raw.
matrix() {
  local name=$1 rule=$2 image=$3 format=$4
  shift 4
  say "$name"
  cp --sparse=always "$work/data.raw" "$oracle"
  mount_image -f "$format" "$@" "$image"
  python3 "$here/end_of_file_matrix.py" "$view" "$oracle" "$rule" || fail "$name"
  unmount_image
  if [ "$format" = qcow2 ]; then
    check_clean "$image"
    compare_with_raw "$image" "$oracle"
  else
    same_bytes "$image" "$oracle"
  fi
}

# 300 KiB of data, a hole, and an end that is no multiple of a page.
make_data() {
  rm -f "$work/data.raw"
  random_bytes 7 307200 "$work/data.raw"
  truncate -s "$1" "$work/data.raw"
  random_bytes 8 9999 "$work/tail"
  dd if="$work/tail" of="$work/data.raw" bs=9999 seek=1 oflag=seek_bytes seek=$(($1 - 9999)) conv=notrunc status=none
}

make_data $((600 * 1024 + 777))
cp "$work/data.raw" "$work/plain.img"
matrix 'raw, no multiple of 512, fixed' fixed "$work/plain.img" raw
cp "$work/data.raw" "$work/plain.img"
matrix 'raw, resizable' 1 "$work/plain.img" raw --resizable

make_data $((600 * 1024 + 512))
qemu-img convert -f raw -O qcow2 "$work/data.raw" "$work/a.qcow2"
matrix 'qcow2, fixed' fixed "$work/a.qcow2" qcow2
qemu-img convert -f raw -O qcow2 "$work/data.raw" "$work/a.qcow2"
matrix 'qcow2, resizable' 512 "$work/a.qcow2" qcow2 --resizable
qemu-img convert -f raw -O qcow2 "$work/data.raw" "$work/a.qcow2"
matrix 'qcow2, --discard=ignore' fixed "$work/a.qcow2" qcow2 --discard=ignore
qemu-img convert -c -f raw -O qcow2 "$work/data.raw" "$work/base.qcow2"
qemu-img create -q -f qcow2 -o extended_l2=on -b base.qcow2 -F qcow2 "$work/b.qcow2"
matrix 'qcow2 with extended L2 over a compressed one, fixed' fixed "$work/b.qcow2" qcow2
qemu-img create -q -f qcow2 -o compat=0.10,cluster_size=512 -b base.qcow2 -F qcow2 "$work/c.qcow2"
matrix 'qcow2 v2 with clusters of 512 over a compressed one, fixed' fixed "$work/c.qcow2" qcow2
qemu-img create -q -f qcow2 -o cluster_size=2M -b base.qcow2 -F qcow2 "$work/d.qcow2"
matrix 'qcow2 with clusters of 2 MiB over a compressed one, resizable' 512 "$work/d.qcow2" qcow2 --resizable
