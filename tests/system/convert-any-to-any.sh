#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A copy shows the same disk, from each format to each, sparse, compressed, over a backing file; a copy that fails leaves
# nothing behind.
. "$(dirname "$0")/lib.sh"
need qemu-img qemu-io python3
reader=$(realpath "$(dirname "$0")/../property/add_cow_reader.py")
cd "$work"

# 24 MiB with data, zeroes written out, and holes, at even and odd places; not a multiple of any cluster.
size=$((24 * 1048576 + 512 * 7))
random_bytes 1 $((3 * 1048576)) noise
truncate -s $size disk.raw
dd if=noise of=disk.raw bs=4096 seek=3 conv=notrunc status=none
dd if=noise of=disk.raw bs=1 count=70001 seek=9000001 conv=notrunc status=none
dd if=/dev/zero of=disk.raw bs=1M seek=12 count=2 conv=notrunc status=none
python3 -c 'print("penstock\n" * 333333)' | dd of=disk.raw bs=64k seek=260 conv=notrunc iflag=fullblock status=none
dd if=noise of=disk.raw bs=1 count=1000 seek=$((size - 1000)) conv=notrunc status=none

options_of() { if [ "$1" = add-cow ]; then printf -- '-o image_file=%s.data' "$2"; fi; }
# The view of an image, read by somebody else than penstock.
shows_disk() {
  local format=$1 image=$2
  case $format in
    add-cow) python3 "$reader" "$image" flat.raw >/dev/null && same_bytes flat.raw disk.raw ;;
    *) qemu-img compare -q -f "$format" -F raw "$image" disk.raw || fail "$image ($format) shows something else" ;;
  esac
}

formats=(raw qcow2 qed add-cow)
for format in "${formats[@]}"; do
  # shellcheck disable=SC2046
  "$penstock" convert -f raw -O "$format" $(options_of "$format" "first.$format") disk.raw "first.$format"
  shows_disk "$format" "first.$format"
done
for from in "${formats[@]}"; do
  for to in "${formats[@]}"; do
    # shellcheck disable=SC2046
    "$penstock" convert -f "$from" -O "$to" $(options_of "$to" "$from.to.$to") "first.$from" "$from.to.$to"
    shows_disk "$to" "$from.to.$to"
    case $to in qcow2 | qed) check_clean "$from.to.$to" ;; esac
    rm -f "$from.to.$to" "$from.to.$to.data"
  done
done

say "clusters of many sizes, compressed and not"
for options in cluster_size=512 cluster_size=2M compat=0.10 extended_l2=on,cluster_size=128k refcount_bits=1 \
  lazy_refcounts=on compression_type=zstd compression_type=zstd,cluster_size=4k; do
  for flag in -q -c; do
    "$penstock" convert $flag -O qcow2 -o "$options" -f raw disk.raw out.qcow2
    check_clean out.qcow2
    compare_with_raw out.qcow2 disk.raw
    "$penstock" check out.qcow2 >check.txt || fail "penstock check: $(cat check.txt)"
  done
done
[ "$(stat -c %s out.qcow2)" -lt $((5 * 1048576)) ] || fail "compressed text takes $(stat -c %s out.qcow2) bytes"
"$penstock" convert -f qcow2 -O raw out.qcow2 back.raw
same_bytes back.raw disk.raw

say "over a backing file only what differs is stored"
cp disk.raw base.raw
qemu-img create -q -f qcow2 -b base.raw -F raw changed.qcow2
qemu-io -c 'write -P 0x77 1M 100k' -c 'write -z 4k 128k' changed.qcow2 >/dev/null
for format in qcow2 qed; do
  "$penstock" convert -f qcow2 -O $format -B base.raw -F raw changed.qcow2 thin.$format
  qemu-img compare -q -f qcow2 -F $format changed.qcow2 thin.$format || fail "thin.$format differs"
  [ "$(stat -c %b thin.$format)" -lt 2048 ] || fail "thin.$format takes $(stat -c %b thin.$format) blocks"
done

say "into an image that is there"
qemu-img create -q -f qcow2 there.qcow2 32M
qemu-io -c 'write -P 0x11 0 32M' there.qcow2 >/dev/null
"$penstock" convert -n -O qcow2 -f raw disk.raw there.qcow2
"$penstock" convert -f qcow2 -O raw there.qcow2 there.raw
cmp -n $size there.raw disk.raw || fail "-n left old bytes"
[ "$(tail -c 1 there.raw | od -An -tx1 | tr -d ' ')" = 11 ] || fail "-n changed what lies behind"
qemu-img create -q -f qcow2 short.qcow2 1M
must_fail "fewer than" "$penstock" convert -n -O qcow2 -f raw disk.raw short.qcow2

say "every byte when told"
"$penstock" convert -S 0 -f raw -O raw disk.raw full.raw
[ "$(($(stat -c %b full.raw) * 512))" -ge $size ] || fail "-S 0 left holes"

say "what is refused, and what a failure leaves"
must_fail "the source itself" "$penstock" convert -f raw -O qcow2 disk.raw ./disk.raw
must_fail "backing chain" "$penstock" convert -f qcow2 -O raw changed.qcow2 base.raw
must_fail "compressed" "$penstock" convert -c -f raw -O qed disk.raw no.qed
[ "$(sum_of base.raw)" = "$(sum_of disk.raw)" ] || fail "the base was changed"
cp first.qcow2 damaged.qcow2
l2=$(qemu-img map -f qcow2 --output=json damaged.qcow2 | python3 -c 'import json,sys; print([e["offset"] for e in json.load(sys.stdin) if e.get("data")][-1])')
truncate -s "$l2" damaged.qcow2
must_fail "damaged.qcow2" "$penstock" convert -f qcow2 -O qcow2 damaged.qcow2 half.qcow2
must_fail "damaged.qcow2" "$penstock" convert -f qcow2 -O add-cow -o image_file=half.data damaged.qcow2 half.acow
for left in half.qcow2 half.acow half.data; do [ ! -e $left ] || fail "a failed copy left $left"; done

say "an interrupted copy goes away"
truncate -s 64G huge.raw
qemu-img create -q -f qcow2 -b huge.raw -F raw slow.qcow2
"$penstock" convert -S 0 -f qcow2 -O qcow2 slow.qcow2 cut.qcow2 2>cut.log &
converter=$!
on_exit "end_child $converter"
wait_until 60 test -s cut.qcow2
kill -INT $converter
status=0
wait $converter || status=$?
[ $status -eq 1 ] || fail "exits $status: $(cat cut.log)"
[ ! -e cut.qcow2 ] || fail "an interrupted copy left its file"
