#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Mounting for writing, reading everything and unmounting leaves every byte of an image and of the layers below as it
# was, unknown autoclear bits and a foreign time stamp included; so does a read-only mount of a dirty image.
. "$(dirname "$0")/lib.sh"
need_fuse
need qemu-img qemu-io

qemu-img create -q -f qcow2 "$work/base.qcow2" 16M
qemu-io -f qcow2 -c 'write -P 1 0 5M' "$work/base.qcow2" >/dev/null
# untouched NAME [FLAG...]
untouched() {
  local image=$work/$1.qcow2 before base_before
  shift
  before=$(sum_of "$image") base_before=$(sum_of "$work/base.qcow2")
  touch -d '2001-02-03 04:05:06' "$image"
  mount_image -f qcow2 "$@" "$image"
  sum_of "$view" >/dev/null
  sync -f "$view" 2>/dev/null || true
  unmount_image
  [ "$(sum_of "$image")" = "$before" ] || fail "$image changed"
  [ "$(stat -c %Y "$image")" = "$(date -d '2001-02-03 04:05:06' +%s)" ] || fail "$image has a new time stamp"
  [ "$(sum_of "$work/base.qcow2")" = "$base_before" ] || fail "the base changed below $image"
}

say "an overlay"
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 "$work/overlay.qcow2"
qemu-io -f qcow2 -c 'write -P 2 1M 64k' "$work/overlay.qcow2" >/dev/null
untouched overlay
check_clean "$work/overlay.qcow2"

say "extended L2 entries, lazy refcounts"
qemu-img create -q -f qcow2 -o extended_l2=on,lazy_refcounts=on -b base.qcow2 -F qcow2 "$work/lazy.qcow2"
qemu-io -f qcow2 -c 'write -P 2 1M 6k' "$work/lazy.qcow2" >/dev/null
untouched lazy

say "an unknown autoclear bit, cleared by the first write and not before"
cp "$work/overlay.qcow2" "$work/bit.qcow2"
printf '\x80' | dd of="$work/bit.qcow2" bs=1 seek=88 conv=notrunc status=none
untouched bit
mount_image -f qcow2 "$work/bit.qcow2"
printf x | dd of="$view" bs=1 seek=77 conv=notrunc,fsync status=none
[ "$(dd if="$work/bit.qcow2" bs=1 skip=88 count=8 status=none | tr -d '\0' | wc -c)" -eq 0 ] || fail "the bit stands"
unmount_image
check_clean "$work/bit.qcow2"

say "a dirty image, mounted read-only"
qemu-img create -q -f qcow2 -o lazy_refcounts=on "$work/dirty.qcow2" 4M
qemu-io -f qcow2 -c 'write -P 3 0 1M' -c flush -c abort "$work/dirty.qcow2" >/dev/null 2>&1 || true
untouched dirty -r
say "and for writing: repaired"
mount_image -f qcow2 "$work/dirty.qcow2"
printf x | dd of="$view" bs=1 seek=77 conv=notrunc,fsync status=none
unmount_image
check_clean "$work/dirty.qcow2"
