#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# An image opens the files of the chain that it names and no others, whatever its names look like: no network, no
# program, no device. What the guest of a raw disk wrote into it is never taken for the header of an image.
. "$(dirname "$0")/lib.sh"
need_fuse
need qemu-img strace python3
export LSAN_OPTIONS=detect_leaks=0 # which cannot work under a tracer

printf 'root:secret\n' >"$work/secret"
truncate -s 1M "$work/base.raw"

# traced COMMAND...: what it opens, connects to and runs, in $work/trace.*; its own status is not asked.
traced() {
  rm -f "$work"/trace.*
  timeout 60 strace -ff -o "$work/trace" -e trace=open,openat,openat2,connect,socket,execve,io_uring_setup \
    "$@" >"$work/said" 2>&1 || true
  cat "$work"/trace.* >"$work/traced"
}
# opened: the files of $work that were opened, without those of the tests.
opened() {
  grep -oE "open(at2?)?\((AT_FDCWD, )?\"$work/[^\"]*\".*= [0-9]+" "$work/traced" | sed -E "s|.*\"$work/([^\"]*)\".*|\1|" |
    grep -vE '^(mnt|trace|said)' | sort -u | tr '\n' ' '
}
# only FILES: nothing else of ours was opened, nothing was connected to but the log, nothing was run but mounting.
only() {
  local files connected
  files=$(opened)
  [ "$files" = "$1" ] || fail "opened '$files', not '$1': $(cat "$work/said")"
  not grep -E 'socket\((AF_INET|AF_INET6|AF_VSOCK|AF_NETLINK)' "$work/traced" || fail "a network was reached for"
  connected=$(grep 'connect(' "$work/traced" | grep -vE '/dev/log|/penstock' || true)
  [ -z "$connected" ] || fail "connected to $connected"
  [ "$(grep 'execve(' "$work/traced" | grep -vc fusermount3)" -eq 1 ] || fail "a program was run: $(grep 'execve(' "$work/traced")"
}
mountpoint=$work/mnt
mkdir "$mountpoint"
on_exit "force_unmount '$mountpoint'"
say "the chain, and nothing beside it"
qemu-img create -q -f qcow2 -b base.raw -F raw "$work/middle.qcow2"
qemu-img create -q -f qcow2 -b middle.qcow2 -F qcow2 "$work/top.qcow2"
: >"$work/base" >"$work/top" >"$work/middle.raw"
# check looks at the image alone.
traced "$penstock" check "$work/top.qcow2"
only 'top.qcow2 '
traced "$penstock" info --backing-chain "$work/top.qcow2"
only 'base.raw middle.qcow2 top.qcow2 '
traced "$penstock" map "$work/top.qcow2"
only 'base.raw middle.qcow2 top.qcow2 '
strace -ff -o "$work/live" -e trace=open,openat,openat2,connect,socket,execve "$penstock" mount --foreground \
  "$work/top.qcow2" "$mountpoint" >"$work/said" 2>&1 &
tracer=$!
wait_until 60 is_mounted "$mountpoint" || fail "not mounted: $(cat "$work/said")"
wait_until 60 cat "$mountpoint/top.raw" >/dev/null || fail "the view cannot be read"
"$penstock" umount "$mountpoint" >/dev/null
wait "$tracer" || true
cat "$work"/live.* >"$work/traced"
only 'base.raw middle.qcow2 top.qcow2 '

say "names with a transport, a device, a pipe, a directory"
mkfifo "$work/fifo"
number=0
for name in 'nbd:localhost:10809' 'nbd+unix:///x?socket=/run/x' 'https://localhost:1/x' 'http://localhost:1/x' \
  'ftp://localhost/x' 'ssh://localhost/x' 'rbd:pool/x' 'iscsi://localhost/x' 'fd:0' 'data:,x' 'vvfat:/etc' 'blkdebug::x' \
  'json:{"driver":"nbd","host":"localhost"}' 'json:{"driver":"raw","file":{"driver":"https","url":"https://localhost/x"}}' \
  'json:{"driver":"raw","file":{"driver":"host_cdrom","filename":"/dev/sr0"}}' \
  "json:{\"driver\":\"raw\",\"file.filename\":\"$work/secret\",\"file.driver\":\"nosuch\"}" \
  '/dev/null' '/dev/tty' fifo . "|cat $work/secret" '$(cat secret)' '../../../../../../nosuch'; do
  number=$((number + 1))
  image=$work/h$number.qcow2
  python3 - "$image" "$name" <<'PYTHON'
import struct, subprocess, sys
subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", sys.argv[1], "1M"], check=True)
with open(sys.argv[1], "r+b") as file:
    name = sys.argv[2].encode()
    # Behind the end marker of the extensions; the format extension says raw.
    file.seek(112)
    file.write(struct.pack(">II8s", 0xE2792ACA, 3, b"raw") + struct.pack(">II", 0, 0) + name)
    file.seek(8)
    file.write(struct.pack(">QI", 112 + 24, len(name)))
PYTHON
  qemu-img info -U "$image" 2>/dev/null | has -F "backing file" || fail "the header is wrong: $(qemu-img info "$image" 2>&1)"
  traced "$penstock" info --backing-chain "$image"
  only "h$number.qcow2 "
  traced "$penstock" map "$image"
  only "h$number.qcow2 "
  traced "$penstock" mount -r --foreground "$image" "$mountpoint"
  only "h$number.qcow2 "
  not is_mounted "$mountpoint" || fail "mounted with a backing file called $name"
done

say "a raw disk whose guest wrote a header"
qemu-img create -q -f qcow2 -u -b secret -F raw "$work/written.qcow2" 1M
truncate -s 4M "$work/disk.raw" "$work/disk.img"
"$penstock" mount -f raw "$work/disk.raw" "$mountpoint"
dd if="$work/written.qcow2" of="$mountpoint/disk.raw" conv=notrunc status=none
"$penstock" umount "$mountpoint" >/dev/null
cp "$work/disk.raw" "$work/disk.img"
for disk in disk.raw disk.img; do
  must_fail 'say --format=qcow2 or --format=raw' "$penstock" mount "$work/$disk" "$mountpoint"
  for command in map 'info --backing-chain' "compare $work/$disk" 'mount -r --foreground'; do
    # shellcheck disable=SC2086
    traced "$penstock" $command "$work/$disk" $([[ "$command" != mount* ]] || echo "$mountpoint")
    only "$disk "
  done
done
# As a layer that is stored as raw it stays raw.
qemu-img create -q -f qcow2 -b disk.raw -F raw "$work/over.qcow2"
for command in map 'info --backing-chain'; do
  # shellcheck disable=SC2086
  traced "$penstock" $command "$work/over.qcow2"
  only 'disk.raw over.qcow2 '
done
[ "$("$penstock" info --output=json "$work/over.qcow2" | python3 -c 'import json, sys; print(json.load(sys.stdin)["virtual-size"])')" -eq $((4 << 20)) ] ||
  fail "the layer below was taken for something else"
# A layer without a stored format is not guessed at.
python3 - "$work/over.qcow2" <<'PYTHON'
import sys
with open(sys.argv[1], "r+b") as file:
    head = file.read(4096)
    file.seek(head.index(b"\xe2\x79\x2a\xca"))
    file.write(b"\x12\x34\x56\x78")
PYTHON
must_fail 'not stored' "$penstock" map "$work/over.qcow2"
traced "$penstock" map "$work/over.qcow2"
only 'disk.raw over.qcow2 '

say "--no-data-file"
qemu-img create -q -f qcow2 -o data_file="$work/data" "$work/outer.qcow2" 1M
traced "$penstock" mount -r --foreground --no-data-file "$work/outer.qcow2" "$mountpoint"
only 'outer.qcow2 '
