#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""make_files.py FOLDER MIB: the same files everywhere, for a test to put on a disk: so many MiB of text and of bytes that
cannot be packed, of sizes around every power of four up to 4 MiB, with hard and symbolic links, an empty folder, and
blanks in their names.
"""

import os
import random
import sys

SIZES = [4**power + more for power in range(12) for more in (-1, 0, 1)]


def main():
    root, left = sys.argv[1], int(sys.argv[2]) << 20
    source = random.Random(12)
    number = 0
    while left:
        folder = os.path.join(root, f"folder {number // 100}", f"part {number // 10 % 10}")
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, f"file {number}")
        size = min(left, source.randrange(20000) if number % 4 else SIZES[number // 4 % len(SIZES)])
        if number // 4 % 2:
            data = source.randbytes(size)
        else:
            # No two blocks are the same: one in another's place would be seen.
            data = "".join(f"file {number}, line {line}, as text\n" for line in range(size // 24 + 1)).encode()[:size]
        with open(path, "wb") as file:
            file.write(data)
        if number % 20 == 0:
            os.link(path, path + " again")
            os.symlink(os.path.basename(path), path + " by name")
        left -= size
        number += 1
    os.mkdir(os.path.join(root, "empty"))
    os.symlink("nowhere", os.path.join(root, "leads nowhere"))


if __name__ == "__main__":
    main()
