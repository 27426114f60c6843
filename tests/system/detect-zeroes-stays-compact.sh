#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# 16 MiB of data in 64 KiB pieces over 128 MiB of zeroes, written through a mount with --detect-zeroes=unmap, take no
# more than a tenth above the data, alone and over a backing file that has other bytes everywhere.
. "$(dirname "$0")/lib.sh"
need_fuse
need python3
cd "$work"
python3 - <<'END'
import random
source = random.Random(5)
with open("disk.raw", "wb") as out:
    out.write(bytes(128 << 20))  # zeroes written out: only looking at them tells
    for piece in source.sample(range(128 << 4), 256):
        out.seek(piece << 16)
        out.write(source.randbytes(1 << 16))
with open("base.raw", "wb") as out:
    for _ in range(128):
        out.write(b"\xb5" * (1 << 20))
END
data=$((16 * 1048576))

# compact NAME FORMAT [create's FLAG...]
compact() {
  local name=$1 format=$2 blocks
  shift 2
  if [ "$format" = add-cow ]; then set -- -o "image_file=$name.data" "$@"; fi
  "$penstock" create -q -f "$format" "$@" "$name" 128M
  mount_image -f "$format" --detect-zeroes unmap "$name"
  dd if=disk.raw of="$view" bs=1M conv=notrunc,fsync status=none
  unmount_image
  sync -f .
  blocks=$(stat -c %b "$name")
  [ "$format" != add-cow ] || blocks=$((blocks + $(stat -c %b "$name.data")))
  say "$name: $((blocks * 512)) bytes"
  [ $((blocks * 512 * 10)) -le $((data * 11)) ] || fail "$name takes $((blocks * 512)) bytes for $data of data"
  "$penstock" compare -f raw -F "$format" disk.raw "$name" >compare.txt || fail "$name differs: $(cat compare.txt)"
  rm -f "$name" "$name.data"
}

compact alone.raw raw
compact alone.v2 qcow2 -o compat=0.10
compact alone.qcow2 qcow2
compact alone.qed qed
compact alone.acow add-cow
compact over.qcow2 qcow2 -b base.raw -F raw
compact over.extended qcow2 -o extended_l2=on -b base.raw -F raw
compact over.qed qed -b base.raw -F raw
compact over.acow add-cow -b base.raw -F raw
