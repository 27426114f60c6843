#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# 16 MiB of data in 64 KiB pieces over 128 MiB of zeroes take no more than a tenth above the data, in every format.
. "$(dirname "$0")/lib.sh"
need qemu-img python3
cd "$work"
sparse_data disk.raw
data=$((16 * 1048576))
for format in raw qcow2 qed add-cow; do
  options=()
  [ $format != add-cow ] || options=(-o image_file=out.data)
  "$penstock" convert -f raw -O $format "${options[@]}" disk.raw out.$format
  files=(out.$format)
  [ $format != add-cow ] || files+=(out.data)
  settle "${files[@]}"
  used=$(host_bytes "${files[@]}")
  say "$format: $used bytes"
  [ $((used * 10)) -le $((data * 11)) ] || fail "$format takes $used bytes"
  "$penstock" compare -f raw -F $format disk.raw out.$format >compare.txt || fail "$format differs: $(cat compare.txt)"
done
