#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The host's disk is full: the guest's writes fail with ENOSPC, what was written before stays readable, nothing is
# corrupt, and after room was made writing goes on.
. "$(dirname "$0")/lib.sh"
need_fuse
need_loop
need qemu-img mkfs.ext4

for options in cluster_size=64k cluster_size=4k cluster_size=64k,lazy_refcounts=on; do
  say "$options"
  truncate -s 48M "$work/host.img"
  mkfs.ext4 -q -F -m 0 "$work/host.img"
  attach_loop "$work/host.img"
  host=$work/host
  mount_device "$loop" "$host"
  dd if=/dev/zero of="$host/filler" bs=1M count=24 status=none
  qemu-img create -q -f qcow2 -o "$options" "$host/disk.qcow2" 32M
  mount_image -f qcow2 "$host/disk.qcow2"

  python3 - "$view" "$host/filler" "$work/model.raw" <<'PYTHON' || fail "writing with too little room ($options)"
import errno, os, random, sys

view, filler, model_name = sys.argv[1:]
PIECE = 48 << 10  # no multiple of the cluster
size = os.stat(view).st_size
source = random.Random(5)
pieces = [(at, source.randbytes(min(PIECE, size - at))) for at in range(0, size, PIECE)]
source.shuffle(pieces)
file = os.open(view, os.O_RDWR)
written, refused = [], []

def synced():
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise

for number, (at, data) in enumerate(pieces):
    try:
        if os.pwrite(file, data, at) == len(data):
            written.append((at, data))
        else:
            refused.append((at, data))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        refused.append((at, data))
    if number % 32 == 31:
        synced()
synced()
print(f"   {len(written)} pieces written, {len(refused)} refused")
assert written and refused, "the disk was not full"
for at, data in written:
    assert os.pread(file, len(data), at) == data, f"what was written at {at} is not there"
os.unlink(filler)
for at, data in refused:
    assert os.pwrite(file, data, at) == len(data)
os.fsync(file)
with open(model_name, "wb") as model:
    for at, data in pieces:
        os.pwrite(model.fileno(), data, at)
PYTHON
  same_bytes "$view" "$work/model.raw"
  unmount_image
  check_clean "$host/disk.qcow2"
  compare_with_raw "$host/disk.qcow2" "$work/model.raw"
  unmount_device "$host"
  detach_loop "$loop" "$work/host.img"
  rm "$work/host.img"
done
