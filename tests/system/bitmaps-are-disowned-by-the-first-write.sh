#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# penstock does not keep dirty bitmaps up to date, so its first write clears the bit that says they are: QEMU must not
# trust them for a backup. Without a write they stay valid. Their clusters then are leaks that a repair gives back.
. "$(dirname "$0")/lib.sh"
need_fuse
need qemu-img qemu-io

image=$work/disk.qcow2
qemu-img create -q -f qcow2 "$image" 16M
qemu-img bitmap --add -g 64k "$image" since-monday
qemu-io -f qcow2 -c 'write -P 5 1M 300k' "$image" >/dev/null
autoclear() { python3 -c 'import sys; print(int.from_bytes(open(sys.argv[1], "rb").read(96)[88:96], "big"))' "$1"; }
bitmaps() { qemu-img info --output=json "$1" | python3 -c 'import json, sys
data = json.load(sys.stdin)["format-specific"]["data"]
print(" ".join(bitmap["name"] for bitmap in data.get("bitmaps", [])))'; }
[ "$(autoclear "$image")" -eq 1 ] || fail "QEMU made no valid bitmap"

say "mounted, read, not written"
before=$(sum_of "$image")
mount_image -f qcow2 "$image"
sum_of "$view" >/dev/null
unmount_image
[ "$(sum_of "$image")" = "$before" ] || fail "a mount that wrote nothing changed the image"
[ "$(bitmaps "$image")" = since-monday ] || fail "the bitmap is gone"

say "written"
mount_image -f qcow2 "$image"
printf hello | dd of="$view" bs=1 seek=5000000 conv=notrunc,fsync status=none
[ "$(autoclear "$image")" -eq 0 ] || fail "the bit stands after a synced write"
unmount_image
[ "$(autoclear "$image")" -eq 0 ] || fail "the bit stands after unmounting"
[ -z "$(bitmaps "$image" 2>/dev/null)" ] || fail "QEMU still trusts the bitmap"
check_no_corruption "$image"
"$penstock" check -r leaks "$image" >/dev/null || true
check_clean "$image"
[ "$(qemu-io -r -f qcow2 -c 'read -v 5000000 5' "$image" | grep -c hello)" -eq 1 ] || fail "the write is missing"
