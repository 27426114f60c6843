#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# -o writeback: the kernel keeps small writes. All openers see them at once, no seek takes them for a hole, and fsync,
# unmounting and a kill after fsync find them in the image.
. "$(dirname "$0")/lib.sh"
need_fuse
need qemu-img python3
cd "$work"
qemu-img create -q -f raw base.raw 64M
qemu-img create -q -f qcow2 -b base.raw -F raw disk.qcow2
random_bytes 7 $((5 * 1048576 + 777)) wanted
# holds FILE: what was wanted, at 3000.
holds() { cmp -n "$(stat -c %s wanted)" -i 0:3000 wanted "$1"; }

say "what was written in small pieces is seen by a direct reader, and is no hole"
mount_image -f qcow2 -o writeback disk.qcow2
dd if=wanted of="$view" bs=1000 seek=3 conv=notrunc status=none
dd if="$view" of=direct bs=1M iflag=direct status=none
holds direct || fail "a direct reader does not see it"
cp --sparse=always "$view" copy
holds copy || fail "cp took it for a hole"

say "direct and buffered writers side by side"
python3 - "$view" <<'END'
import mmap, os, sys
cached = os.open(sys.argv[1], os.O_RDWR)
direct = os.open(sys.argv[1], os.O_RDWR | os.O_DIRECT)
page = mmap.mmap(-1, 4096)
for turn in range(200):
    at = 40 * 1048576 + turn % 8 * 4096
    os.pwrite(cached, bytes([turn]) * 4096, at)
    assert os.preadv(direct, [page], at) == 4096 and page[:] == bytes([turn]) * 4096, turn
    page[:] = bytes([turn ^ 255]) * 4096
    assert os.pwritev(direct, [page], at) == 4096
    assert os.pread(cached, 4096, at) == bytes([turn ^ 255]) * 4096, turn
    if turn % 50 == 0:
        os.fsync(cached)
END
unmount_image
qemu-img convert -O raw disk.qcow2 after.raw
holds after.raw || fail "not in the image after unmounting"
check_clean disk.qcow2

say "at a file, in and out of the sandbox"
unchanged=$(sum_of after.raw)
touch at
on_exit "force_unmount '$work/at'"
for sandbox in on off; do
  "$penstock" mount --sandbox=$sandbox -f qcow2 -o writeback disk.qcow2 at
  [ "$(stat -c %s at)" -eq $((64 << 20)) ] || fail "sandbox $sandbox: has $(stat -c %s at) bytes"
  [ "$(sum_of at)" = "$unchanged" ] || fail "sandbox $sandbox: reads otherwise"
  dd if=wanted of=at bs=1000 seek=3 conv=notrunc status=none
  "$penstock" umount at >/dev/null
done
qemu-img convert -O raw disk.qcow2 again.raw
[ "$(sum_of again.raw)" = "$unchanged" ] || fail "the image changed"

say "behind the end: refused at fsync, and then the size is as before"
is_64m() { [ "$(stat -c %s "$1")" -eq $((64 << 20)) ]; }
must_fail 'does not go with -o writeback' "$penstock" mount --resizable -o writeback disk.qcow2 at
for place in at "$mountpoint"; do
  for sandbox in on off; do
    "$penstock" mount --sandbox=$sandbox -f qcow2 -o writeback disk.qcow2 "$place"
    file=$place
    [ -f "$place" ] || file=$place/disk.raw
    must_fail 'No space left' dd if=wanted of="$file" bs=1M seek=62 conv=notrunc,fsync
    wait_until 60 is_64m "$file" || fail "$file, sandbox $sandbox: has $(stat -c %s "$file") bytes"
    [ "$(tail -c +$(((62 << 20) + 1)) "$file" | sha256sum)" = "$(head -c 2M wanted | sha256sum)" ] ||
      fail "what fits was not written"
    errors=$("$penstock" status --prometheus "$file" | sed -n 's/.*errors_total{.*kind="write"} //p')
    [ "$errors" -gt 0 ] || fail "counts $errors errors of writes"
    "$penstock" umount "$place" >/dev/null
  done
done

say "what was synced is there after a kill"
random_bytes 8 $((3 * 1048576)) again
mount_in_foreground -f qcow2 -o writeback disk.qcow2
dd if=again of="$view" bs=4k seek=4096 conv=notrunc,fsync status=none
kill -KILL "$daemon"
wait "$daemon" 2>/dev/null || true
force_unmount "$mountpoint"
check_no_corruption disk.qcow2
qemu-img convert -O raw disk.qcow2 after.raw
dd if=after.raw bs=4k skip=4096 count=768 status=none | cmp - again || fail "synced data is lost"
