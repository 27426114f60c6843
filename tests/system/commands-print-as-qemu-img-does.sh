#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# info, map, check, compare, create and resize print what qemu-img prints for the same images, for people and for
# programs, and end with its exit status. What they are compared with is the qemu-img of this machine.
. "$(dirname "$0")/lib.sh"
need qemu-img qemu-io python3
cd "$work"

# same COMMAND ARGUMENT...: standard output and exit status of both programs are the same. Rates and times are not in
# these outputs.
compared=0
same() {
  local ours=0 theirs=0
  "$penstock" "$@" >ours.out 2>ours.err || ours=$?
  qemu-img "$@" >theirs.out 2>theirs.err || theirs=$?
  diff -u theirs.out ours.out || fail "penstock $* prints something else ($(cat ours.err))"
  [ "$ours" -eq "$theirs" ] || fail "penstock $* exits $ours, qemu-img $theirs: $(cat ours.err theirs.err)"
  compared=$((compared + 1))
}

io() { qemu-io "$@" >io.log 2>&1 || fail "qemu-io $*: $(cat io.log)"; }
make_image() { qemu-img create -q "$@"; }

say "images of many kinds"
make_image -f raw base.raw 3M
cp base.raw with,comma.raw
io -f raw -c 'write -P 1 64k 100k' -c 'write -P 2 2M 512' base.raw
truncate -s 100k short.raw
io -f raw -c 'write -P 1 4k 4k' short.raw
make_image -f qcow2 fresh.qcow2 1G
make_image -f qcow2 empty.qcow2 0
make_image -f qcow2 -o compat=0.10 v2.qcow2 10M
io -c 'write 1M 1M' v2.qcow2
make_image -f qcow2 -o cluster_size=512,refcount_bits=1 small.qcow2 5M
io -c 'write 100k 33k' -c 'write -z 2M 3k' -c 'write 4M 512' small.qcow2
make_image -f qcow2 -o cluster_size=2M,refcount_bits=64,lazy_refcounts=on large.qcow2 1T
io -c 'write 5G 1M' -c 'write 1000G 64k' large.qcow2
make_image -f qcow2 -b base.raw -F raw overlay.qcow2 8M
io -d unmap -c 'write -P 7 0 4k' -c 'write -z 128k 64k' -c 'write 3M 128k' -c 'write -z 3M 64k' \
  -c 'write -zu 3136k 64k' overlay.qcow2
make_image -f qcow2 -b overlay.qcow2 -F qcow2 -o cluster_size=4k top.qcow2 2M
io -c 'write 1M 12k' top.qcow2
make_image -f qcow2 -b short.raw -F raw long.qcow2 1M
io -c 'write 512k 4k' long.qcow2
make_image -f qcow2 -b long.qcow2 -F qcow2 longer.qcow2 2M
make_image -f qed old.qed 5G
io -c 'write 1M 100k' -c 'write -z 4M 64k' old.qed
make_image -f qed -b base.raw -F raw -o cluster_size=4k old_overlay.qed 3M
io -c 'write 2M 5k' old_overlay.qed
make_image -f qed -o cluster_size=4k,table_size=2 small.qed 64M
io -c 'write 0 12k' -c 'write -z 8k 8k' -c 'write 4M 4k' -c 'write 20M 100k' -c 'write -z 30M 1M' small.qed
make_image -f qed -o cluster_size=1M,table_size=4 large.qed 1536M
io -c 'write 3M 2M' -c 'write -z 7M 2M' -c 'write 1G 64k' large.qed
make_image -f qed -b old_overlay.qed -F qed middle.qed 4M
io -c 'write -z 64k 128k' -c 'write 1M 64k' -c 'write -z 2M 64k' middle.qed
make_image -f qcow2 -b middle.qed -F qed -o extended_l2=on,cluster_size=64k above.qcow2 5M
io -d unmap -c 'write 0 6k' -c 'write -z 10k 4k' -c 'write -z 1M 64k' -c 'discard 128k 64k' -c 'write 3M 128k' \
  -c 'write -zu 3M 32k' -c 'write -z 3136k 64k' above.qcow2
make_image -f qed -b short.raw -F raw long.qed 1M
io -c 'write -z 64k 64k' -c 'write 512k 64k' long.qed
mkdir below
make_image -f qcow2 below/base.qcow2 4M
(cd below && make_image -f qcow2 -b base.qcow2 -F qcow2 overlay.qcow2)
make_image -f qcow2 -o data_file=data.raw data.qcow2 4M
io -c 'write 64k 64k' -c 'write -z 1M 64k' data.qcow2
make_image -f qcow2 -o data_file=data2.raw,data_file_raw=on data_raw.qcow2 1M
make_image -f qcow2 snapshots.qcow2 4M
io -c 'write 0 128k' snapshots.qcow2
qemu-img snapshot -c first snapshots.qcow2
qemu-img snapshot -c 'a name that is longer than its column' snapshots.qcow2
qemu-img bitmap --add -g 32k snapshots.qcow2 b0
qemu-img bitmap --add --disable snapshots.qcow2 b1
make_image -f qcow2 packed_from.qcow2 4M
io -c 'write -P 3 0 1M' packed_from.qcow2
qemu-img convert -c -O qcow2 -o compression_type=zstd packed_from.qcow2 packed.qcow2
make_image --object secret,id=s,data=pw -f qcow2 -o encrypt.format=aes,encrypt.key-secret=s aes.qcow2 1M
readable=(base.raw short.raw fresh.qcow2 empty.qcow2 v2.qcow2 small.qcow2 large.qcow2 overlay.qcow2 top.qcow2 long.qcow2
  longer.qcow2 below/overlay.qcow2 data.qcow2 data_raw.qcow2 snapshots.qcow2 old.qed old_overlay.qed small.qed large.qed
  middle.qed above.qcow2 long.qed)

say "info"
# Room that is set aside or given back only when the host writes the files would be told by one of the two alone.
sync -f .
for image in "${readable[@]}" packed.qcow2 aes.qcow2; do
  same info "$image"
  same info --output=json "$image"
  same info --backing-chain "$image"
  same info --backing-chain --output json "$image"
  same info -U "$image"
done
same info -f raw base.raw

say "map"
for image in "${readable[@]}"; do
  same map "$image"
  same map --output=json "$image"
  same map --output=json -s 70k -l 3M "$image"
done
same map -s 2T fresh.qcow2
same map -s 2T --output=json fresh.qcow2
same map packed.qcow2
same map --output=json packed.qcow2
same map --output=json -U top.qcow2

say "check"
for image in fresh.qcow2 empty.qcow2 v2.qcow2 small.qcow2 large.qcow2 overlay.qcow2 top.qcow2 data.qcow2 snapshots.qcow2 \
  packed.qcow2 old.qed old_overlay.qed small.qed large.qed middle.qed above.qcow2 long.qed; do
  same check "$image"
  same check --output json "$image"
  same check -q "$image"
done
same check -f raw base.raw
# Two clusters that nobody refers to any more.
make_image -f qcow2 leaky.qcow2 4M
io -c 'write 0 256k' leaky.qcow2
python3 - leaky.qcow2 <<'PYTHON'
import struct, sys
with open(sys.argv[1], "r+b") as image:
    image.seek(40)
    image.seek(struct.unpack(">Q", image.read(8))[0])
    l2 = struct.unpack(">Q", image.read(8))[0] & 0x00FFFFFFFFFFFE00
    image.seek(l2 + 8)
    image.write(bytes(16))
PYTHON
same check leaky.qcow2
same check --output=json leaky.qcow2
same check -q leaky.qcow2
cp leaky.qcow2 leaky.copy
"$penstock" check -r leaks leaky.qcow2 >ours.out 2>ours.err || fail "check -r leaks: $(cat ours.err)"
qemu-img check -r leaks leaky.copy >theirs.out 2>theirs.err
diff -u theirs.out ours.out || fail "check -r leaks prints something else"
check_clean leaky.qcow2

say "compare"
cp top.qcow2 equal.qcow2
qemu-img convert -O raw top.qcow2 top.raw
qemu-img convert -O qcow2 -o cluster_size=1M top.qcow2 flat.qcow2
cp top.raw other.raw
io -f raw -c 'write -P 9 1234567 1' other.raw
cp top.raw tail.raw
truncate -s 3M tail.raw
cp tail.raw dirty_tail.raw
io -f raw -c 'write -P 9 2222222 1' dirty_tail.raw
same compare top.qcow2 equal.qcow2
same compare -s top.qcow2 equal.qcow2
same compare -F raw top.qcow2 top.raw
same compare -f raw -F qcow2 top.raw flat.qcow2
same compare -F raw top.qcow2 other.raw
same compare -F raw -q top.qcow2 other.raw
same compare -F raw top.qcow2 tail.raw
same compare -f raw tail.raw top.qcow2
same compare -F raw -s top.qcow2 tail.raw
same compare -F raw top.qcow2 dirty_tail.raw
same compare -f raw -F raw dirty_tail.raw tail.raw
same compare fresh.qcow2 large.qcow2
same compare top.qcow2 missing.qcow2
same compare missing.qcow2 top.qcow2
make_image -f qcow2 -o cluster_size=2M huge1.qcow2 64T
make_image -f qcow2 -o cluster_size=2M huge2.qcow2 64T
timeout 120 "$penstock" compare huge1.qcow2 huge2.qcow2 >/dev/null || fail "comparing two empty images of 64 TiB"

say "create"
# The same words, and images that QEMU finds equal in everything it shows.
both_create() {
  local ours=0 theirs=0
  rm -f new.image new.data
  qemu-img create "$@" >theirs.out 2>theirs.err || theirs=$?
  [ "$theirs" -ne 0 ] || qemu-img info new.image | grep -v '^disk size' >theirs.info
  rm -f new.image new.data
  "$penstock" create "$@" >ours.out 2>ours.err || ours=$?
  diff -u theirs.out ours.out || fail "penstock create $* prints something else"
  [ "$ours" -eq "$theirs" ] || fail "penstock create $* exits $ours, qemu-img $theirs: $(cat ours.err theirs.err)"
  if [ "$theirs" -eq 0 ]; then
    qemu-img info new.image | grep -v '^disk size' >ours.info
    diff -u theirs.info ours.info || fail "penstock create $* makes another image"
    qemu-img check -q new.image 2>check.err || [ $? -eq 63 ] || fail "penstock create $* makes an image that is not sound"
  fi
  compared=$((compared + 1))
}
both_create -f qcow2 new.image 1G
both_create -f qcow2 new.image 1.5M
both_create -q -f qcow2 new.image 0x100000
both_create -f qcow2 -o compat=0.10 new.image 10M
both_create -f qcow2 -o cluster_size=4k,refcount_bits=1 -o lazy_refcounts=on new.image 10M
both_create -f qcow2 -o extended_l2=on,cluster_size=128k,compression_type=zstd new.image 10M
both_create -f qcow2 -o preallocation=metadata new.image 10M
both_create -f qcow2 -o preallocation=full new.image 3M
both_create -f qcow2 -o data_file=new.data,data_file_raw=on new.image 3M
both_create -f qcow2 -o size=3M new.image
both_create -f qcow2 -b base.raw -F raw new.image
both_create -f qcow2 -b top.qcow2 -F qcow2 new.image 20M
both_create -f qcow2 -o backing_file=top.qcow2,backing_fmt=qcow2 new.image
both_create -f qcow2 -u -b 'with,comma.raw' -F raw new.image 1M
both_create -f qcow2 -o backing_file=with,,comma.raw,backing_fmt=raw -u new.image 1M
both_create new.image 1024
both_create -f qed new.image 1G
both_create -f qed -b base.raw -F raw -o cluster_size=128k new.image
both_create -f raw -o preallocation=full new.image 1M
"$penstock" create -f qcow2 -o help | has '^  cluster_size=<size> *- ' || fail "create -o help"

say "resize"
both_resize() {
  local image=$1 ours=0 theirs=0
  shift
  cp "$image" ours.image
  cp "$image" theirs.image
  "$penstock" resize "${flags[@]}" ours.image "$@" >ours.out 2>ours.err || ours=$?
  qemu-img resize "${flags[@]}" theirs.image "$@" >theirs.out 2>theirs.err || theirs=$?
  diff -u theirs.out ours.out || fail "penstock resize $image $* prints something else: $(cat ours.err)"
  [ "$ours" -eq "$theirs" ] || fail "penstock resize $image $* exits $ours, qemu-img $theirs: $(cat ours.err theirs.err)"
  if [ "${image%.raw}" = "$image" ]; then
    [ "$ours" -ne 0 ] || qemu-img check -q ours.image || fail "penstock resize $image $* leaves an unsound image"
    qemu-img compare -s -f qcow2 -F qcow2 theirs.image ours.image >compare.log || [ "$ours" -ne 0 ] ||
      fail "penstock resize $image $*: $(cat compare.log)"
  else
    same_bytes theirs.image ours.image
  fi
  compared=$((compared + 1))
}
flags=()
both_resize fresh.qcow2 2G
both_resize fresh.qcow2 +512M
both_resize top.qcow2 4M
both_resize long.qcow2 +1M
both_resize fresh.qcow2 512M
both_resize v2.qcow2 20M
flags=(--shrink)
both_resize overlay.qcow2 1M
both_resize small.qcow2 -- -1M
flags=(-f raw -q)
both_resize base.raw 5M
flags=(-f raw --shrink)
both_resize base.raw 1M
"$penstock" resize --shrink small.qcow2 -2M >/dev/null || fail "resize takes no negative size"

say "$compared outputs are the same"
