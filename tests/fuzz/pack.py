#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Images as the image targets take them, and back.

    pack.py IMAGE OUT            the file's length and its runs of bytes that are not zero (fuzz.hpp: unpack_file)
    pack.py --unpack INPUT OUT   the image that an input stands for
"""

import struct
import sys

GAP = 16  # zeroes that end a run
RUN_MAX = 4096


def runs(data):
    at = 0
    while at < len(data):
        if data[at] == 0:
            at += 1
            continue
        end = data.find(bytes(GAP), at)
        end = len(data) if end < 0 else end
        end = min(end, at + RUN_MAX)
        yield at, data[at:end]
        at = end


def pack(data):
    # Guest data of one byte all over (as seeds have it) says nothing: its first bytes do.
    out = struct.pack("<Q", len(data))
    for at, run in runs(data):
        if len(run) > 64 and len(set(run)) == 1:
            run = run[:16]
        out += struct.pack("<IH", at, len(run)) + run
    return out


def unpack(packed, out):
    (size,) = struct.unpack("<Q", packed[:8].ljust(8, b"\0"))
    at = 8
    while at < len(packed):
        offset, length = struct.unpack("<IH", packed[at : at + 6].ljust(6, b"\0"))
        out.seek(offset)
        out.write(packed[at + 6 : at + 6 + length])
        at += 6 + length
    out.truncate(min(size & (2**63 - 1), 1 << 40))


def main():
    if sys.argv[1] == "--unpack":
        with open(sys.argv[2], "rb") as file, open(sys.argv[3], "wb") as out:
            unpack(file.read(), out)
    else:
        with open(sys.argv[1], "rb") as file, open(sys.argv[2], "wb") as out:
            out.write(pack(file.read()))


if __name__ == "__main__":
    main()
