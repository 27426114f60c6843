#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# How the first inputs of the corpora were made: tests/fuzz/make_seeds.sh PENSTOCK OUT. Small images by our own create
# and by qemu-img, with data, zeroes, compressed clusters, snapshots, bitmaps, damage; what the fuzzer found is beside
# them.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
penstock=$(realpath "$1")
out=$(mkdir -p "$2" && realpath "$2")
work=$(mktemp -d "${TMPDIR:-/tmp}/penstock-seeds-XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
cd "$work"
mkdir -p "$out"/{qcow2,qed,add_cow}_{header,image} "$out"/{unpack,name,qmp,status}

# keep FORMAT NAME IMAGE: as a whole, and its header alone with the byte that says how long the file is.
keep() {
  "$here/pack.py" "$3" "$out/$1_image/$2"
  [ "$(stat -c %s "$out/$1_image/$2")" -le 8000 ] || rm "$out/$1_image/$2"
  python3 - "$3" "$out/$1_header/$2" <<'PYTHON'
import sys
head = open(sys.argv[1], "rb").read(1024).rstrip(b"\0")
open(sys.argv[2], "wb").write(head.ljust(112, b"\0") + bytes([24]))
PYTHON
}
qemu-img create -q -f raw base 256k
fill() { "$penstock" io -f "$1" -c 'write -P 0x5a 4k 20k' -c 'write -z 64k 8k' -c 'write -P 0x21 130k 3k' -c 'discard 8k 4k' "$2" >/dev/null; }
made() {
  local format=$1 name=$2 options=$3 create=("$penstock" create)
  # It also makes what only we can open.
  [ "$format" != qed ] || create=(qemu-img create)
  "${create[@]}" -q -f "$format" -o "$options" "$name" 256k
  fill "$format" "$name"
  keep "${format//-/_}" "$name" "$name"
  [[ "$options" != *raw=on* ]] || return 0
  "${create[@]}" -q -f "$format" -b base -F raw -o "${options//data=*/data=o$name}" "over-$name" 256k
  fill "$format" "over-$name"
  keep "${format//-/_}" "over-$name" "over-$name"
}
made qcow2 small cluster_size=512
made qcow2 usual cluster_size=4k
made qcow2 refcounts1 cluster_size=512,refcount_bits=1
made qcow2 refcounts64 cluster_size=1k,refcount_bits=64
made qcow2 extended cluster_size=16k,extended_l2=on
made qcow2 old cluster_size=1k,compat=0.10
made qcow2 lazy cluster_size=4k,lazy_refcounts=on
made qcow2 data cluster_size=4k,data_file=data1
made qcow2 rawdata cluster_size=4k,data_file=data2,data_file_raw=on
made qcow2 large cluster_size=2M
made qcow2 zstd cluster_size=4k,compression_type=zstd
made qed qed cluster_size=4k,table_size=1
made qed wide cluster_size=4k,table_size=2
"$penstock" create -q -f qed -b base -F raw -o cluster_size=4k,table_size=2,copy_on_read=on,stream=on started 256k
keep qed started started
"$penstock" create -q -f add-cow -b base -F raw -o cluster_size=4k,image_file=raw1 cow 256k
fill add-cow cow
keep add_cow cow cow
"$penstock" create -q -f add-cow -o cluster_size=4k,image_file=raw2 alone 256k
keep add_cow alone alone
"$penstock" create -q -f add-cow -b base -F raw -o cluster_size=64k,image_file=raw3 cow64 256k
keep add_cow cow64 cow64
yes 'compressible' | head -c 256k >text || true
for type in zlib zstd; do
  qemu-img convert -q -c -f raw -O qcow2 -o cluster_size=4k,compression_type=$type text packed-$type
  keep qcow2 packed-$type packed-$type
done
qemu-img create -q -f qcow2 -o cluster_size=512 snapshots 64k
qemu-io -f qcow2 -c 'write -P 1 0 4k' snapshots >/dev/null
qemu-img snapshot -c one snapshots
qemu-io -f qcow2 -c 'write -P 2 0 2k' snapshots >/dev/null
qemu-img snapshot -c two snapshots
keep qcow2 snapshots snapshots
qemu-img create -q -f qcow2 -o cluster_size=4k bitmaps 256k
qemu-img bitmap --add -g 4k bitmaps b0
qemu-img bitmap --add --disable bitmaps b1
keep qcow2 bitmaps bitmaps
qemu-img create -q -f qed -o cluster_size=4k,table_size=2 foreign-qed 256k
qemu-io -f qed -c 'write 0 8k' foreign-qed >/dev/null
keep qed foreign-qed foreign-qed

python3 - "$out" <<'PYTHON'
import os, sys, zlib
out = sys.argv[1]
def put(folder, name, data):
    with open(os.path.join(out, folder, name), "wb") as file:
        file.write(data)
for name, data in {"zeroes": bytes(4096), "text": (b"penstock " * 500)[:4096], "steps": bytes(range(256)) * 16}.items():
    for level in (1, 9):
        packer = zlib.compressobj(level, zlib.DEFLATED, -12)
        put("unpack", f"{name}-{level}", bytes([6]) + packer.compress(data) + packer.flush())
put("unpack", "zstd-stored", bytes([1]) + b"\x28\xb5\x2f\xfd\x60\x00\x01\x01\x10\x00" + bytes(512))
for number, name in enumerate([
    b"base.img", b"../a/b", b"/dev/sda", b"file:/x", b"nbd:localhost:10809", b"https://host/image", b"a:b", b"./a:b", b"",
    b"json:", b'json:{"driver":"qcow2","file":{"driver":"file","filename":"/a"}}', b'{"file.filename":"a"}',
    b'json:{"driver":"raw","offset":512,"size":"1024","file.filename":"/a"}', b'json:{"driver":"file","filename":"a"}',
    b'{"driver":"nbd","host":"h"}', b'{"file":{"driver":"nbd","host":"h"}}', b'{"a":' * 40 + b"1" + b"}" * 40]):
    put("name", f"name{number}", name)
for number, text in enumerate([
    '{"execute":"query-block-jobs"}', '{"execute":"query-commands","id":{"a":[1]}}{"execute":"nosuch"}',
    '{"execute":"block-stream","arguments":{"device":"disk0","speed":1048576,"base":"/images/base","job-id":"j"}}',
    '{"execute":"block-job-set-speed","arguments":{"device":"disk0","speed":0}}',
    '{"execute":"block-job-cancel","arguments":{"device":"disk0","force":true}}', '{"execute":"quit"}',
    '{"execute":"block-job-pause","arguments":{"device":"disk0"}}{"execute":"block-job-resume","arguments":{"device":"disk0"}}',
    '{"execute":"query-jobs"}', 'hello\n{"execute":1}', '{"execute":"block-job-dismiss","arguments":{"id":"disk0"}}']):
    put("qmp", f"qmp{number}", b"\xff" + text.encode())
put("status", "mounts", b"36 35 98:0 / /mnt rw,noatime master:1 - ext3 /dev/root rw\n37 36 0:55 / /mnt/a\\040b rw - fuse.penstock x rw\n")
put("status", "status", b'{"image":"/a","format":"qcow2","virtual-size":1048576,"read-only":false,"stream":{"state":"running",'
    b'"len":10,"offset":5,"speed":0},"guest":{"reads":1,"read-latency":{"p50":1}},"provisioned":{"data":1},'
    b'"layers":[{"filename":"/a","format":"qcow2","virtual-size":1,"actual-size":1}],"copy-on-read":{"enabled":true}}')
PYTHON
