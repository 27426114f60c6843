#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Streaming down to a base by relative names from any directory; a base that is cut off meanwhile; internal snapshots;
# a damaged base: the image ends as it should or keeps its backing file, and status says what is wrong.
. "$(dirname "$0")/lib.sh"
need_fuse
need qemu-img qemu-io python3

cd "$work"
mkdir sub mnt
on_exit "force_unmount '$work/mnt'"
head -c 8M /dev/urandom >base.raw
cp base.raw keep.raw

say "--stream-base with relative names"
for speed in '' '--stream-speed 2M'; do
  for form in qcow2 qed; do
    qemu-img create -q -f qcow2 -b ../base.raw -F raw sub/middle.qcow2
    qemu-io -c 'write -P 1 0 2M' sub/middle.qcow2 >/dev/null
    qemu-img create -q -f $form -b sub/middle.qcow2 -F qcow2 top.$form
    qemu-img convert -f $form -O raw top.$form model.raw
    # shellcheck disable=SC2086
    "$penstock" mount -f $form --stream --stream-base base.raw $speed top.$form mnt
    "$penstock" stream wait mnt >/dev/null
    "$penstock" umount mnt >said
    grep -q 'new backing file' said || fail "umount says: $(cat said)"
    rm sub/middle.qcow2
    qemu-img compare -q -f $form -F raw top.$form model.raw || fail "$form $speed: $(qemu-img info top.$form)"
    rm top.$form
  done
done

say "stream start --base in an image mounted by a relative name"
qemu-img create -q -f qcow2 -b base.raw -F raw middle.qcow2
qemu-img create -q -f qcow2 -b middle.qcow2 -F qcow2 top.qcow2
"$penstock" mount top.qcow2 mnt
"$penstock" stream start --base base.raw mnt
"$penstock" stream wait mnt >/dev/null
"$penstock" umount mnt >said
grep -q 'new backing file' said || fail "umount says: $(cat said)"
qemu-img info top.qcow2 | has '^backing file: base.raw' || fail "$(qemu-img info top.qcow2)"
rm top.qcow2 middle.qcow2

say "a base that is cut off while it is in use is no zeroes"
qemu-img create -q -f qcow2 -b base.raw -F raw top.qcow2
"$penstock" mount top.qcow2 mnt
truncate -s 5M base.raw
must_fail 'Input/output error' dd if=mnt/top.raw of=/dev/null bs=64k skip=100 count=1
# Started only now: how far a job reads ahead of what it stores is not this test's business.
"$penstock" stream start mnt
must_fail 'cut off' "$penstock" stream wait mnt
"$penstock" status mnt | has 'failed' || fail "$("$penstock" status mnt)"
"$penstock" umount mnt >/dev/null
qemu-img info top.qcow2 | has 'backing file: base.raw' || fail "the backing file was dropped"
cp keep.raw base.raw
qemu-img compare -q -F raw top.qcow2 keep.raw || fail "contents changed"
rm top.qcow2

say "internal snapshots keep their backing file"
qemu-img create -q -f qcow2 -b base.raw -F raw top.qcow2
qemu-img snapshot -c s1 top.qcow2
must_fail 'snapshots' "$penstock" mount --stream top.qcow2 mnt
not is_mounted "$work/mnt"
must_fail 'snapshots' "$penstock" rebase -b '' top.qcow2
rm top.qcow2

say "a damaged base: status and umount go on"
qemu-img create -q -f qcow2 damaged.qcow2 8M
qemu-io -c 'write -P 7 0 8M' damaged.qcow2 >/dev/null
python3 - <<'PYTHON'
import struct
with open("damaged.qcow2", "r+b") as file:
    file.seek(40)
    file.seek(struct.unpack(">Q", file.read(8))[0])
    table = struct.unpack(">Q", file.read(8))[0] & 0xFFFFFFFFFFFE00
    file.seek(table + 512)
    file.write(struct.pack(">Q", 1 << 63 | 1 << 40))
PYTHON
qemu-img create -q -f qcow2 -b damaged.qcow2 -F qcow2 top.qcow2
tells_of_the_damage() { "$penstock" status mnt | has 'behind the end'; }
for policy in report stop; do
  "$penstock" mount --stream --on-error $policy top.qcow2 mnt
  wait_until 60 tells_of_the_damage || fail "$("$penstock" status mnt)"
  "$penstock" status --json mnt >/dev/null || fail "status --json"
  must_fail 'behind the end' "$penstock" umount --wait --deadline 5 mnt
  not is_mounted "$work/mnt" || fail "--on-error $policy: still mounted"
done
