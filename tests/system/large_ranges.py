# SPDX-License-Identifier: Apache-2.0
"""Punch, zero and seek over more than 4 GiB, unaligned, on a view of 10 GiB with islands of data.

  large_ranges.py VIEW
"""
import ctypes
import os
import sys

KEEP, PUNCH, ZERO = 1, 2, 16
SEEK_DATA, SEEK_HOLE = 3, 4
GIB = 1 << 30
libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
view = os.open(sys.argv[1], os.O_RDWR)
size = os.fstat(view).st_size
assert size == 10 * GIB + 512, size
islands = [0, GIB, 2 * GIB - 5, 4 * GIB - 3, 4 * GIB + 65536 * 3 + 1, 5 * GIB, 7 * GIB + 1, 9 * GIB, size - 5000]
ISLAND = 4999


def fill():
    for at in islands:
        assert os.pwrite(view, bytes([1 + at % 251]) * ISLAND, at) == ISLAND


def expect(begin, end, what):
    """[begin, end) reads as zero, all other islands as they were."""
    for at in islands:
        wanted = bytes(0 if begin <= at + i < end else 1 + at % 251 for i in range(ISLAND))
        if os.pread(view, ISLAND, at) != wanted:
            sys.exit(f"{what}: wrong bytes at {at}")


def data_islands():
    """What SEEK_DATA and SEEK_HOLE name, as ranges."""
    out, at = [], 0
    while at < size:
        try:
            begin = os.lseek(view, at, SEEK_DATA)
        except OSError:
            break
        at = os.lseek(view, begin, SEEK_HOLE)
        assert begin < at <= size, (begin, at)
        out.append((begin, at))
    return out


def zero(mode, begin, length, what):
    if libc.fallocate(view, mode, begin, length) != 0:
        sys.exit(f"{what}: {os.strerror(ctypes.get_errno())}")
    expect(begin, begin + length, what)


fill()
expect(0, 0, "filling")
found = data_islands()
for at in islands:
    if not any(begin <= at and at + ISLAND <= end for begin, end in found):
        sys.exit(f"seek passes over the data at {at}: {found}")
if sum(end - begin for begin, end in found) > len(islands) * 3 * (2 << 20):
    sys.exit(f"seek calls holes data: {found}")
for at in (4 * GIB - 4, 4 * GIB, 4 * GIB + 1, size - 1):
    assert os.lseek(view, at, SEEK_HOLE) >= at

for mode, name in ((PUNCH | KEEP, "punch"), (ZERO | KEEP, "zero")):
    for begin, length in ((GIB + 100, 5 * GIB + 7), (0, 4 * GIB), (4 * GIB - 1, 2), (3, size), (4 * GIB - 100, 4 * GIB)):
        fill()
        zero(mode, begin, length, f"{name} of {length} at {begin}")
fill()
zero(PUNCH | KEEP, 0, size + 12345, "punch of everything and more")
# The block that the end of a host file cuts cannot be given back there.
assert all(begin >= size - 4096 for begin, end in data_islands()), data_islands()
assert os.fstat(view).st_size == size
os.fsync(view)
blocks = os.fstat(view).st_blocks
print(f"{blocks * 512 >> 10} KiB in use after punching everything")
if blocks * 512 > 64 << 20:
    sys.exit("punching gave no room back")
