#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A reader of add-cow images that shares nothing with penstock's driver: it follows the format page, so that the two
can disagree. No other tool reads the format.

    add_cow_reader.py IMAGE FLAT     writes what the guest sees as a raw file
"""

import os
import struct
import subprocess
import sys
import tempfile


class Malformed(Exception):
    pass


def text(field):
    return field.split(b"\0", 1)[0].decode()


def beside(image, name):
    return name if name.startswith("/") else os.path.join(os.path.dirname(image), name)


def backing_bytes(path, form):
    """What a backing file shows, whatever its format."""
    if form == "raw":
        with open(path, "rb") as file:
            return file.read()
    with tempfile.NamedTemporaryFile(dir=os.path.dirname(path) or ".") as flat:
        subprocess.run(["qemu-img", "convert", "-f", form, "-O", "raw", path, flat.name], check=True)
        return flat.read()


def flatten(image):
    with open(image, "rb") as file:
        raw = file.read()
    if raw[:4] != b"ACOW":
        raise Malformed("magic")
    backing_at, backing_size, data_at, data_size, bits = struct.unpack_from("<5I", raw, 4)
    features, compatible = struct.unpack_from("<2Q", raw, 24)
    header_size, = struct.unpack_from("<I", raw, 40)
    cluster = 1 << bits
    if features != 0 or header_size != max(4096, cluster):
        raise Malformed("features or header size")
    backing_format, image_format = text(raw[44:60]), text(raw[60:76])
    if image_format != "raw":
        raise Malformed("image format " + image_format)
    if any(raw[at] for at in range(76, header_size)
           if not backing_at <= at < backing_at + backing_size and not data_at <= at < data_at + data_size):
        raise Malformed("stray bytes between the names")
    with open(beside(image, raw[data_at:data_at + data_size].decode()), "rb") as file:
        data = file.read()
    count = (len(data) + cluster - 1) // cluster
    bitmap = raw[header_size:]
    if len(bitmap) != ((count + 7) // 8 + cluster - 1) // cluster * cluster:
        raise Malformed(f"bitmap of {len(bitmap)} bytes for {count} clusters")
    present = [bool(bitmap[number // 8] >> (number % 8) & 1) for number in range(len(bitmap) * 8)]
    if any(present[count:]):
        raise Malformed("bits behind the end of the disk")
    if compatible & 1:
        if not all(present[:count]):
            raise Malformed("ALL_ALLOCATED with zero bits")
        return data
    backing = b""
    if backing_at:
        backing = backing_bytes(beside(image, raw[backing_at:backing_at + backing_size].decode()), backing_format)
    flat = bytearray()
    for number in range(count):
        length = min(cluster, len(data) - number * cluster)
        source = data if present[number] else backing
        flat += source[number * cluster:number * cluster + length].ljust(length, b"\0")
    return bytes(flat)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[2], "wb") as out:
        out.write(flatten(sys.argv[1]))
