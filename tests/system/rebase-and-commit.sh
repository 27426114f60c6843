#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Rebase changes the backing file and not the guest's disk; commit leaves the same disk below. QEMU is asked what is seen.
. "$(dirname "$0")/lib.sh"
need qemu-img qemu-io python3
reader=$(realpath "$(dirname "$0")/../property/add_cow_reader.py")
cd "$work"

random_bytes 2 $((6 * 1048576)) old.raw
cp old.raw new.raw
# They differ in data, in zeroes on either side, and in length.
dd if=/dev/zero of=new.raw bs=4k seek=100 count=90 conv=notrunc status=none
dd if=/dev/zero of=old.raw bs=4k seek=700 count=33 conv=notrunc status=none
random_bytes 3 300000 piece
dd if=piece of=new.raw bs=1000 seek=2000 conv=notrunc status=none
truncate -s 5M new.raw
qemu-img convert -O qcow2 new.raw new.qcow2

changes=(-c 'write -P 0x21 0 70k' -c 'write -P 0x22 3M 5k' -c 'write -P 0x23 7M 64k')
make_overlay() { # FORMAT IMAGE [OPTION]
  if [ "$1" = add-cow ]; then
    "$penstock" create -q -f add-cow -b old.raw -F raw -o "image_file=$2.data" "$2" 8M
    "$penstock" io -f add-cow "${changes[@]}" "$2" >/dev/null
  else
    qemu-img create -q -f "$1" -b old.raw -F raw ${3:+-o "$3"} "$2" 8M
    qemu-io -f "$1" "${changes[@]}" "$2" >/dev/null
  fi
}
flat_of() { # FORMAT IMAGE RAW
  if [ "$1" = add-cow ]; then python3 "$reader" "$2" "$3" >/dev/null; else qemu-img convert -f "$1" -O raw "$2" "$3"; fi
}
backing_of() { "$penstock" info -f "$1" --output json "$2" | python3 -c 'import json,sys; print(json.load(sys.stdin).get("backing-filename", ""))'; }

for shape in qcow2: qcow2:compat=0.10 qcow2:extended_l2=on qcow2:cluster_size=4k qed: qed:cluster_size=1M add-cow:; do
  format=${shape%%:*} options=${shape#*:}
  for to in new.raw:raw new.qcow2:qcow2 :; do
    rm -f o.img o.img.data
    make_overlay "$format" o.img "$options"
    flat_of "$format" o.img before.raw
    target=${to%%:*} target_format=${to#*:}
    "$penstock" rebase -f "$format" -b "$target" ${target_format:+-F "$target_format"} o.img
    [ "$(backing_of "$format" o.img)" = "$target" ] || fail "$shape names '$(backing_of "$format" o.img)', not '$target'"
    flat_of "$format" o.img after.raw
    same_bytes before.raw after.raw
    "$penstock" check -f "$format" o.img >check.txt || fail "$shape: $(cat check.txt)"
    [ "$format" = add-cow ] || check_clean o.img
    # Complete: from now on the raw file is the disk by itself.
    [ "$format$target" != add-cow ] || same_bytes o.img.data before.raw
  done
done

say "from none to a backing file"
rm -f o.img
qemu-img create -q -f qcow2 o.img 8M
qemu-io "${changes[@]}" o.img >/dev/null
qemu-img convert -O raw o.img before.raw
"$penstock" rebase -f qcow2 -b old.raw -F raw o.img
compare_with_raw o.img before.raw
check_clean o.img

say "-u changes the name alone; QEMU reads what it left"
make_overlay qcow2 u.qcow2
mkdir moved && mv old.raw moved/
must_fail "old.raw" "$penstock" rebase -f qcow2 -b moved/old.raw -F raw u.qcow2
"$penstock" rebase -u -f qcow2 -b moved/old.raw -F raw u.qcow2
qemu-img check -q u.qcow2
[ "$(backing_of qcow2 u.qcow2)" = moved/old.raw ] || fail "-u left '$(backing_of qcow2 u.qcow2)'"
mv moved/old.raw . && "$penstock" rebase -u -f qcow2 -b old.raw -F raw u.qcow2

say "what is refused"
must_fail "say -F" "$penstock" rebase -f qcow2 -b old.raw u.qcow2
must_fail "own backing file" "$penstock" rebase -u -f qcow2 -b u.qcow2 -F qcow2 u.qcow2
must_fail "no backing file" "$penstock" commit -f raw new.raw

say "commit"
for format in qcow2 qed add-cow; do
  for base in old.raw base.qcow2; do
    rm -f o.img o.img.data b.img
    if [ $base = old.raw ]; then cp old.raw b.img; base_format=raw; else
      qemu-img convert -O qcow2 old.raw b.img; base_format=qcow2; fi
    if [ $format = add-cow ]; then
      "$penstock" create -q -f add-cow -b b.img -F $base_format -o image_file=o.img.data o.img 8M
      "$penstock" io -f add-cow "${changes[@]}" -c 'write -z 1M 200k' o.img >/dev/null
    else
      qemu-img create -q -f $format -b b.img -F $base_format o.img 8M
      qemu-io -f $format "${changes[@]}" -c 'write -z 1M 200k' o.img >/dev/null
    fi
    flat_of $format o.img before.raw
    "$penstock" commit -q -f $format o.img
    flat_of $format o.img after.raw
    same_bytes before.raw after.raw
    qemu-img compare -q -f $base_format -F raw b.img before.raw || fail "$format into $base: the base shows something else"
    "$penstock" check -f $format o.img >check.txt || fail "$format: $(cat check.txt)"
    [ $base_format = raw ] || check_clean b.img
    if [ $format = qcow2 ]; then
      check_clean o.img
      # Emptied: all of it comes from below.
      qemu-img map --output=json o.img | has '"depth": 0, "present": true' && fail "the overlay was not emptied"
    fi
  done
done

say "commit into a file further down, through a shorter layer"
rm -f ./*.img
cp old.raw b.img
qemu-img create -q -f qcow2 -b b.img -F raw mid.img 2M
qemu-img create -q -f qcow2 -b mid.img -F qcow2 top.img 6M
qemu-io -c 'write -P 0x31 1M 64k' mid.img >/dev/null
qemu-io -c 'write -P 0x32 4M 64k' top.img >/dev/null
qemu-img convert -O raw top.img before.raw
"$penstock" commit -q -f qcow2 -b b.img top.img
qemu-img compare -q -f raw -F raw b.img before.raw || fail "the base shows something else"
must_fail "not in its backing chain" "$penstock" commit -f qcow2 -b new.raw top.img

say "measure speaks as qemu-img does"
for options in cluster_size=65536 cluster_size=512 cluster_size=2M,refcount_bits=64 extended_l2=on preallocation=full; do
  for size in 0 512 1M 1000000000 1T; do
    diff <("$penstock" measure -O qcow2 -o $options --size $size) <(qemu-img measure -O qcow2 -o $options --size $size) ||
      fail "measure -o $options --size $size"
  done
  diff <("$penstock" measure -O qcow2 -o $options new.qcow2) <(qemu-img measure -O qcow2 -o $options new.qcow2 | grep -v bitmaps) ||
    fail "measure -o $options"
done
for format in qed add-cow; do "$penstock" measure --output json -O $format new.qcow2 | python3 -m json.tool >/dev/null; done
