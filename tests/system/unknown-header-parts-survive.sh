#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What a later version of the format added to the header (compatible bits, fields, extensions) is still there, byte for
# byte, after penstock wrote, grew its tables and resized.
. "$(dirname "$0")/lib.sh"
need_fuse
need qemu-img qemu-io

image=$work/disk.qcow2
qemu-img create -q -f qcow2 -o cluster_size=4k,compression_type=zstd "$work/base.qcow2" 64M
qemu-img create -q -f qcow2 -o cluster_size=4k,lazy_refcounts=on,compression_type=zstd -b base.qcow2 -F qcow2 "$image"
python3 - "$image" <<'PYTHON'
import struct, sys

with open(sys.argv[1], "r+b") as file:
    cluster = bytearray(file.read(4096))
    header_length = struct.unpack(">I", cluster[100:104])[0]
    at, extensions = header_length, []
    while (kind := struct.unpack(">II", cluster[at:at + 8]))[0] != 0:
        extensions.append((kind[0], bytes(cluster[at + 8:at + 8 + kind[1]])))
        at += 8 + (kind[1] + 7) // 8 * 8
    name_at, name_length = struct.unpack(">QI", cluster[8:20])
    name = bytes(cluster[name_at:name_at + name_length])
    fields = bytes(cluster[:header_length]).ljust(112, b"\0") + b"FUTUREFIELD-1234"
    extensions.insert(1, (0x12345678, b"an unknown extension of 37 bytes.....")) # padded to 40
    extensions.append((0xabcdef01, b""))
    out = bytearray(fields)
    for number, data in extensions:
        out += struct.pack(">II", number, len(data)) + data.ljust((len(data) + 7) // 8 * 8, b"\0")
    out += bytes(8)
    out[8:20] = struct.pack(">QI", len(out), len(name))
    out[100:104] = struct.pack(">I", len(fields))
    out[80:88] = struct.pack(">Q", struct.unpack(">Q", out[80:88])[0] | 1 << 40)
    out += name
    file.seek(0)
    file.write(bytes(out).ljust(4096, b"\0"))
PYTHON
# The parts of the header that a change of size or of tables may not touch.
kept() {
  python3 -c 'import struct, sys
data = open(sys.argv[1], "rb").read(4096)
length = struct.unpack(">I", data[100:104])[0]
print(data[:24].hex(), data[80:88].hex(), data[96:length].hex())
at = length
while (part := struct.unpack(">II", data[at:at + 8]))[0]:
  print(hex(part[0]), data[at + 8:at + 8 + part[1]])
  at += 8 + (part[1] + 7) // 8 * 8
print(data[at:at + 8].hex(), struct.unpack(">QI", data[8:20]))' "$1"
}
kept "$image" >"$work/before"
check_clean "$image"

mount_image -f qcow2 "$image"
random_bytes 1 30000000 "$work/data"
dd if="$work/data" of="$view" bs=1M conv=notrunc,fsync status=none
unmount_image
kept "$image" >"$work/after"
diff "$work/before" "$work/after" || fail "writing changed the header"
check_clean "$image"

"$penstock" resize "$image" 1G || fail "resize"
kept "$image" >"$work/after"
diff "$work/before" "$work/after" || fail "resizing changed the header"
check_clean "$image"
[ "$(qemu-img info --output=json "$image" | grep -c '"virtual-size": 1073741824')" -ge 1 ] || fail "not resized"
cmp -n 30000000 "$work/data" <(qemu-img convert -f qcow2 -O raw "$image" "$work/all.raw" && cat "$work/all.raw") ||
  fail "the data is not there"
