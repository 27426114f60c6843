#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 16 MiB of data in pieces of 64 KiB among 128 MiB of zeroes, half of them holes and half zero bytes: streamed, it takes
# 17 MiB on the host at most, in every format, and the image stands alone.
. "$(dirname "$0")/lib.sh"
need_fuse
need qemu-img python3

python3 - "$work/base.raw" <<'PYTHON'
import os, random, sys
PIECE, PIECES = 64 << 10, 2048
source = random.Random(8)
with open(sys.argv[1], "wb") as file:
    file.truncate(PIECE * PIECES)
    for number in range(PIECES):
        if number % 8 == 3:
            os.pwrite(file.fileno(), source.randbytes(PIECE), number * PIECE)
        elif number % 2:
            os.pwrite(file.fileno(), bytes(PIECE), number * PIECE)
PYTHON
cp --sparse=never "$work/base.raw" "$work/full.raw"

for case in 'qed cluster_size=64k' 'qcow2 compat=1.1' 'qcow2 compat=0.10' 'add-cow image_file=data.raw'; do
  read -r format options <<<"$case"
  for base in base.raw full.raw; do
    image=$work/top.$format
    "$penstock" create -q -f "$format" -b $base -F raw -o "$options" "$image"
    mount_image -f "$format" --stream "$image"
    "$penstock" stream wait "$mountpoint" >/dev/null
    unmount_image >/dev/null
    files=("$image")
    [ "$format" != add-cow ] || files+=("$work/data.raw")
    settle "${files[@]}"
    used=$(host_bytes "${files[@]}")
    say "$case over $base: $((used >> 10)) KiB"
    [ "$used" -le $((17 << 20)) ] || fail "takes $used bytes"
    if [ "$format" = add-cow ]; then
      same_bytes "$work/data.raw" "$work/base.raw"
    else
      check_clean "$image"
      compare_with_raw "$image" "$work/base.raw"
    fi
    rm "${files[@]}"
  done
done
