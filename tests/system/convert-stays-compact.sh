#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# 16 MiB of data in 64 KiB pieces over 128 MiB of zeroes take no more than a tenth above the data, in every format.
. "$(dirname "$0")/lib.sh"
need qemu-img python3
cd "$work"
python3 - <<'END'
import random
source = random.Random(5)
with open("disk.raw", "wb") as out:
    out.write(bytes(128 << 20))  # zeroes written out: only looking at them tells
    for piece in source.sample(range(128 << 4), 256):
        out.seek(piece << 16)
        out.write(source.randbytes(1 << 16))
END
data=$((16 * 1048576))
for format in raw qcow2 qed add-cow; do
  options=()
  [ $format != add-cow ] || options=(-o image_file=out.data)
  "$penstock" convert -f raw -O $format "${options[@]}" disk.raw out.$format
  blocks=$(stat -c %b out.$format)
  [ $format != add-cow ] || blocks=$((blocks + $(stat -c %b out.data)))
  say "$format: $((blocks * 512)) bytes"
  [ $((blocks * 512 * 10)) -le $((data * 11)) ] || fail "$format takes $((blocks * 512)) bytes"
  "$penstock" compare -f raw -F $format disk.raw out.$format >compare.txt || fail "$format differs: $(cat compare.txt)"
done
