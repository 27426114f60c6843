#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Writes, zeroes and discards of a mounted image leave its internal snapshots as they were: QEMU goes back to each and
# finds its bytes.
. "$(dirname "$0")/lib.sh"
need_fuse
need qemu-img qemu-io

for options in cluster_size=64k cluster_size=4k,compat=0.10 cluster_size=64k,extended_l2=on \
  cluster_size=512,refcount_bits=64 cluster_size=16k,lazy_refcounts=on; do
  say "$options"
  image=$work/disk.qcow2
  rm -f "$image"
  qemu-img create -q -f qcow2 -o "$options" "$image" 8M
  qemu-io -f qcow2 -c 'write -P 1 0 3M' -c 'write -z 3M 1M' "$image" >/dev/null
  qemu-img snapshot -c first "$image"
  qemu-io -f qcow2 -c 'write -P 2 1M 1M' -c 'write -P 2 5M 1000k' "$image" >/dev/null
  qemu-img snapshot -c second "$image"
  qemu-img convert -f qcow2 -O raw -l first "$image" "$work/first.raw"
  qemu-img convert -f qcow2 -O raw -l second "$image" "$work/second.raw"
  cp "$work/second.raw" "$work/model.raw"

  mount_image -f qcow2 --discard unmap "$image"
  for file in "$view" "$work/model.raw"; do
    random_bytes 3 700000 "$work/piece"
    dd if="$work/piece" of="$file" bs=700000 seek=1234567 oflag=seek_bytes conv=notrunc status=none
    fallocate -p -o 2000000 -l 1500000 "$file"
    fallocate -z -n -o 5100000 -l 777777 "$file"
    dd if="$work/piece" of="$file" bs=700000 seek=7000000 oflag=seek_bytes conv=notrunc status=none
  done
  same_bytes "$view" "$work/model.raw"
  unmount_image
  check_clean "$image"
  compare_with_raw "$image" "$work/model.raw"
  [ "$(qemu-img snapshot -l "$image" | grep -cE 'first|second')" -eq 2 ] || fail "snapshots are missing"
  for name in first second; do
    qemu-img snapshot -a $name "$image"
    compare_with_raw "$image" "$work/$name.raw"
    check_clean "$image"
  done
  qemu-img snapshot -d first "$image"
  qemu-img snapshot -d second "$image"
  check_clean "$image"
done
