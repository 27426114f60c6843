#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# 16 MiB of data in 64 KiB pieces over 128 MiB of zeroes, written through a mount with --detect-zeroes=unmap, take no
# more than a tenth above the data, alone and over a backing file that has other bytes everywhere.
. "$(dirname "$0")/lib.sh"
need_fuse
need python3
cd "$work"
sparse_data disk.raw
python3 - <<'END'
with open("base.raw", "wb") as out:
    for _ in range(128):
        out.write(b"\xb5" * (1 << 20))
END
data=$((16 * 1048576))

# compact NAME FORMAT [create's FLAG...]
compact() {
  local name=$1 format=$2 files used
  shift 2
  if [ "$format" = add-cow ]; then set -- -o "image_file=$name.data" "$@"; fi
  "$penstock" create -q -f "$format" "$@" "$name" 128M
  mount_image -f "$format" --detect-zeroes unmap "$name"
  dd if=disk.raw of="$view" bs=1M conv=notrunc,fsync status=none
  unmount_image
  files=("$name")
  [ "$format" != add-cow ] || files+=("$name.data")
  settle "${files[@]}"
  used=$(host_bytes "${files[@]}")
  say "$name: $used bytes"
  [ $((used * 10)) -le $((data * 11)) ] || fail "$name takes $used bytes for $data of data"
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
