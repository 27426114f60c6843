#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A next format and a next transport, each a folder and one line (tests/toys): they mount, stream, wait and fail as those
# that there are, by nothing that was written for them elsewhere.
. "$(dirname "$0")/lib.sh"
need_fuse
need qemu-img cmp python3
penstock=${PENSTOCK_WITH_TOYS:?the program with the toys}
toys=$(cd "$(dirname "$0")/../toys" && pwd)
mkdir "$work/mnt"
on_exit "force_unmount '$work/mnt'"

say "a format that is only read"
# 64 KiB clusters, some in a second file, some of the base.
python3 "$toys/toy_format/make_toy.py" "$work/disk.toy" 16 'aAB.0b.Cc.' --second second.bin --backing base.raw
"$penstock" create -q -f raw "$work/base.raw" 600k
"$penstock" io -f raw -c "write -P 120 0 600k" "$work/base.raw" >/dev/null
python3 - "$work" <<'END'
import sys
base = open(sys.argv[1] + "/base.raw", "rb").read().ljust(655360, b"\0")
with open(sys.argv[1] + "/wanted", "wb") as out:
    for i, c in enumerate("aAB.0b.Cc."):
        out.write(base[i * 65536:(i + 1) * 65536] if c == "." else (c.encode() if c.isalpha() else b"\0") * 65536)
END
"$penstock" info "$work/disk.toy" | has -x "file format: toy" || fail "info"
"$penstock" mount -r "$work/disk.toy" "$work/mnt"
cmp "$work/wanted" "$work/mnt/disk.raw" || fail "the mount shows something else"
"$penstock" status "$work/mnt" | has toy || fail "status does not tell the format"
"$penstock" umount "$work/mnt"
must_fail "can only be read" "$penstock" mount "$work/disk.toy" "$work/mnt"
[ "$(wc -l <<<"$said")" -eq 1 ] || fail "more than one line: $said"
not is_mounted "$work/mnt" || fail "mounted for writing"
must_fail "cannot be made" "$penstock" create -f toy "$work/new.toy" 1M
[ ! -e "$work/new.toy" ] || fail "made"
status=0
"$penstock" check "$work/disk.toy" >/dev/null 2>&1 || status=$?
[ $status -eq 63 ] || fail "check: exit status $status, not that of a format without one"
"$penstock" convert -q -O qcow2 "$work/disk.toy" "$work/copy.qcow2"
qemu-img compare -q -f raw -F qcow2 "$work/wanted" "$work/copy.qcow2" || fail "convert"

say "an overlay on it streams, and needs it no more"
"$penstock" create -q -f qcow2 -b disk.toy -F toy "$work/over.qcow2"
"$penstock" mount --stream "$work/over.qcow2" "$work/mnt"
"$penstock" umount --wait -q "$work/mnt"
rm "$work/disk.toy"
qemu-img compare -q -f raw -F qcow2 "$work/wanted" "$work/over.qcow2" || fail "the streamed overlay"
qemu-img check -q "$work/over.qcow2" || fail "the streamed overlay's tables"

# shows_what_came NAME: the first MiB of the data, read without reading ahead, which would ask for more.
shows_what_came() {
  dd if="$work/mnt/$1.raw" of="$work/came" bs=64k count=16 iflag=direct status=none
  cmp "$work/came" <(head -c 1M "$work/data") || fail "$1: what came is not shown"
}
say "a transport that is slow"
head -c 4M /dev/urandom >"$work/data"
# A quarter at once, the rest when it is let go on.
mkfifo "$work/go"
slow="program:4194304,head -c 1M '$work/data'; read x <'$work/go'; tail -c 3M '$work/data'"
"$penstock" create -q -f qcow2 -u -b "$slow" -F raw "$work/slow.qcow2" 4M
"$penstock" mount "$work/slow.qcow2" "$work/mnt"
shows_what_came slow
dd if=/dev/zero of="$work/mnt/slow.raw" bs=64k seek=48 count=1 conv=notrunc,fsync status=none
head -c 1 <(dd if="$work/mnt/slow.raw" bs=4k skip=512 count=1 iflag=direct status=none) >"$work/byte" &
reader=$!
on_exit "end_child $reader"
sleep 0.2
[ -d "/proc/$reader" ] && [ ! -s "$work/byte" ] || fail "a byte was shown that has not come"
begin=$(now_ms)
dd if="$work/mnt/slow.raw" of="$work/local" bs=64k skip=48 count=1 iflag=direct status=none
[ $(($(now_ms) - begin)) -lt 2000 ] || fail "a read of local data waited for the program"
cmp -s -n 65536 "$work/local" /dev/zero || fail "local data"
echo >"$work/go"
wait "$reader"
cmp -s <(head -c 1 "$work/byte") <(tail -c +2097153 "$work/data" | head -c 1) || fail "the byte that was waited for"
"$penstock" stream start "$work/mnt"
"$penstock" umount --wait -q "$work/mnt"
{ head -c 3M "$work/data"; head -c 64k /dev/zero; tail -c +3211265 "$work/data"; } >"$work/wanted"
qemu-img compare -q -f raw -F qcow2 "$work/wanted" "$work/slow.qcow2" || fail "the streamed overlay"
qemu-img check -q "$work/slow.qcow2" || fail "the streamed overlay's tables"

say "a transport that fails"
"$penstock" create -q -f qcow2 -u -b "program:4194304,head -c 1M '$work/data'; exit 1" -F raw "$work/failing.qcow2" 4M
"$penstock" mount --stream "$work/failing.qcow2" "$work/mnt"
shows_what_came failing
must_fail "Input/output error" dd if="$work/mnt/failing.raw" of=/dev/null bs=64k skip=32 count=1 iflag=direct
job_failed() { "$penstock" status "$work/mnt" | has failed; }
wait_until 60 job_failed || fail "status does not tell that the job failed"
"$penstock" umount -q "$work/mnt"
must_fail "program:SIZE,COMMAND" "$penstock" info "program:what"
[ "$(wc -l <<<"$said")" -eq 1 ] || fail "more than one line: $said"

say "what they cost outside their folders"
lines=$(grep -c "// the line" "$toys/registries.cpp")
[ "$lines" -eq 2 ] || fail "$lines lines"
