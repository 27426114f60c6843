#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes a toy image: make_toy.py IMAGE CLUSTER-BITS CLUSTERS [--second FILE] [--backing FILE], cluster by cluster what
CLUSTERS says: "." unallocated, "0" zero, "a" to "z" data of that letter, "A" to "Z" the same in the second file.
Clusters of data lie in the order of their letters, so that some runs are not contiguous. Source: toy_format.hpp."""

import argparse
import struct

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("image")
parser.add_argument("bits", type=int)
parser.add_argument("clusters")
parser.add_argument("--second", default="")
parser.add_argument("--backing", default="")
arguments = parser.parse_args()

cluster = 1 << arguments.bits
names = arguments.second.encode() + arguments.backing.encode()
table_bytes = (len(arguments.clusters) * 8 + 511) // 512 * 512
files = {False: bytearray(4096 + table_bytes), True: bytearray()}
offsets = {}
for letter in sorted(set(arguments.clusters) - set(".0")):
    file = files[letter.isupper()]
    offsets[letter] = len(file)
    file.extend(letter.encode() * cluster)
entries = [{".": 0, "0": 1}.get(letter) or (0 if letter == "." else offsets[letter] | (3 if letter.isupper() else 2))
           for letter in arguments.clusters]
files[False][:4096] = (b"TOYDISK1" + struct.pack("<QIIII", len(entries) * cluster, arguments.bits,
                                                 len(arguments.second), len(arguments.backing), 0)
                       + names).ljust(4096, b"\0")
files[False][4096:4096 + table_bytes] = struct.pack(f"<{len(entries)}Q", *entries).ljust(table_bytes, b"\0")
with open(arguments.image, "wb") as out:
    out.write(files[False])
if arguments.second:
    folder = arguments.image[:arguments.image.rfind("/") + 1]
    with open(folder + arguments.second, "wb") as out:
        out.write(files[True])
