#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Bugs of peers that no other test of ours would show (tests/PEER-BUGS.md has all of them, with these numbers).
. "$(dirname "$0")/lib.sh"
need_fuse
need qemu-img qemu-io python3

say "17: rewriting with a sync each time does not make the file grow"
image=$work/rewritten.qcow2
qemu-img create -q -f qcow2 -o cluster_size=4k "$image" 32M
mount_image -f qcow2 "$image"
random_bytes 1 $((16 << 20)) "$work/data"
dd if="$work/data" of="$view" bs=1M conv=notrunc,fsync status=none
python3 - "$view" <<'PYTHON'
import ctypes, os, random, sys
source = random.Random(1)
libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
fd = os.open(sys.argv[1], os.O_RDWR)
for i in range(3000):
    at = source.randrange(16 << 8) * 4096
    # Given back and taken again: clusters, and with them refcount blocks, move.
    if i % 3 == 0 and libc.fallocate(fd, 3, at, 16384) != 0:
        raise OSError(ctypes.get_errno(), "fallocate")
    os.pwrite(fd, source.randbytes(4096), at)
    if i % 10 == 0:
        os.fsync(fd)
os.fsync(fd)
PYTHON
unmount_image
size=$(stat -c %s "$image")
say "   $size bytes for 16 MiB"
[ "$size" -le $((20 << 20)) ] || fail "the file has $size bytes for 16 MiB of data"
check_clean "$image"

say "19: after fsync another program finds everything in the file"
for format in qcow2 qed; do
  image=$work/shared.$format
  qemu-img create -q -f $format -o cluster_size=64k "$image" 16M
  mount_image -f $format "$image"
  dd if="$work/data" of="$view" bs=96k count=50 seek=7 conv=notrunc,fsync status=none
  cp "$view" "$work/model.raw"
  # Cached pages of this file are the kernel's own, so that a copy of the file is as good as a reader elsewhere.
  cp "$image" "$work/copy.$format"
  compare_with_raw "$work/copy.$format" "$work/model.raw"
  unmount_image
done

say "24: syncs from four threads while tables grow"
image=$work/grows.qcow2
qemu-img create -q -f qcow2 -o cluster_size=512 "$image" 64M
mount_image -f qcow2 "$image"
timeout 280 python3 - "$view" <<'PYTHON' || fail "it hangs, or fails"
import os, random, sys, threading

def work(number):
    source = random.Random(number)
    fd = os.open(sys.argv[1], os.O_RDWR)
    for i in range(150):
        os.pwrite(fd, bytes([number + 1]) * 1500, source.randrange(64 << 20) & ~511)
        os.fsync(fd)

threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
PYTHON
unmount_image
check_clean "$image"

say "45: encryption without its header, pipes, loops and deep chains take no time"
# at_once COMMAND...: within a time limit, and not by a signal.
at_once() {
  local status=0
  timeout 60 "$@" >"$work/said" 2>&1 || status=$?
  [ $status -lt 124 ] || fail "'$*' exits $status: $(cat "$work/said")"
}
image=$work/luks.qcow2
qemu-img create -q -f qcow2 "$image" 1M
printf '\0\0\0\2' | dd of="$image" bs=1 seek=32 conv=notrunc status=none
mkfifo "$work/fifo"
qemu-img create -q -f qcow2 -u -b fifo -F raw "$work/on_fifo.qcow2" 1M
qemu-img create -q -f qcow2 -u -b loop2.qcow2 -F qcow2 "$work/loop1.qcow2" 1M
qemu-img create -q -f qcow2 -u -b loop1.qcow2 -F qcow2 "$work/loop2.qcow2" 1M
python3 - "$work" <<'PYTHON'
import subprocess, sys
# The same image a thousand times, each naming the next.
first = f"{sys.argv[1]}/deep0.qcow2"
subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", "deep0001.qcow2", "-F", "qcow2", first, "1M"], check=True)
with open(first, "rb") as file:
    image = file.read()
for number in range(1, 1000):
    with open(f"{sys.argv[1]}/deep{number:04}.qcow2", "wb") as file:
        file.write(image.replace(b"deep0001", b"deep%04d" % (number + 1)))
PYTHON
for image in luks fifo on_fifo loop1 deep0; do
  [ -e "$work/$image" ] || image=$image.qcow2
  for command in 'info --backing-chain' check map; do
    # shellcheck disable=SC2086
    at_once "$penstock" $command "$work/$image"
  done
done
must_fail 'deeper than' "$penstock" map "$work/deep0.qcow2"

say "46: whatever create makes, open reads, QEMU's too; what QEMU cannot open is not made"
for size in 1 2 4 8 16; do
  for clusters in 4k 64k 1M 2M 64M; do
    image=$work/$size-$clusters.qed
    if ! "$penstock" create -q -f qed -o table_size=$size,cluster_size=$clusters "$image" 10M 2>/dev/null; then
      qemu-img create -q -f qed -o table_size=$size,cluster_size=$clusters "$image" 10M >/dev/null 2>&1 || continue
      ! qemu-img info "$image" >/dev/null 2>&1 || fail "$image is not made, but QEMU could open it"
      continue
    fi
    qemu-img info "$image" >/dev/null || fail "QEMU does not open $image"
    "$penstock" io -f qed -c 'write -P 7 9M 64k' -c 'read -P 7 9M 64k' "$image" >/dev/null || fail "$image does not open"
    "$penstock" check "$image" >/dev/null || fail "$image is not clean"
  done
done
