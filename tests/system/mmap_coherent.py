# SPDX-License-Identifier: Apache-2.0
"""Random writes through one way and reads through another: two mappings, buffered and direct files, punched holes.
Every read must see every write that returned before it.

  mmap_coherent.py VIEW SEED
"""
import ctypes
import mmap
import os
import random
import sys
import threading

PUNCH_KEEP, ZERO_KEEP = 3, 17
LENGTH = 4 << 20
libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


class Ways:
    def __init__(self, path):
        self.buffered = os.open(path, os.O_RDWR)
        self.direct = os.open(path, os.O_RDWR | os.O_DIRECT)
        self.maps = [mmap.mmap(os.open(path, os.O_RDWR), LENGTH) for _ in range(2)]
        self.direct_map = mmap.mmap(self.direct, LENGTH)
        self.local = threading.local()

    def bounce(self, data=None, length=0):
        if not hasattr(self.local, "buffer"):
            self.local.buffer = mmap.mmap(-1, LENGTH)
        length = len(data) if data is not None else length
        if data is not None:
            self.local.buffer[:length] = data
        return memoryview(self.local.buffer)[:length]

    def write(self, way, offset, data):
        if way == 0:
            self.maps[0][offset : offset + len(data)] = data
        elif way == 1:
            self.maps[1][offset : offset + len(data)] = data
        elif way == 2:
            assert os.pwrite(self.buffered, data, offset) == len(data)
        else:
            assert os.pwrite(self.direct, self.bounce(data), offset) == len(data)

    def zero(self, way, offset, length):
        if libc.fallocate(self.buffered, PUNCH_KEEP if way == 0 else ZERO_KEEP, offset, length) != 0:
            raise OSError(ctypes.get_errno(), "fallocate")

    def read(self, way, offset, length):
        if way in (0, 1):
            return self.maps[way][offset : offset + length]
        if way == 2:
            return os.pread(self.buffered, length, offset)
        if way == 3:
            return self.direct_map[offset : offset + length]
        buffer = self.bounce(length=length)
        assert os.preadv(self.direct, [buffer], offset) == length
        return bytes(buffer)


def exercise(ways, seed, begin, end, steps, failures):
    """[begin, end) belongs to this thread alone; other threads share its last pages' neighbours."""
    source = random.Random(seed)
    model = bytearray(ways.read(4, begin, end - begin))
    for step in range(steps):
        length = source.choice((1, 100, 512, 4096, 5000, 65536, 150000))
        length = min(length, end - begin)
        offset = source.randrange(begin, end - length + 1)
        aligned = source.random() < 0.5
        if aligned:
            offset -= offset % 4096
            length = max(4096, length - length % 4096)
            offset = max(begin, min(offset, end - length))
        kind = source.randrange(6)
        if kind < 4:
            data = source.randbytes(length)
            ways.write(kind, offset, data)
            model[offset - begin : offset - begin + length] = data
        else:
            ways.zero(kind - 4, offset, length)
            model[offset - begin : offset - begin + length] = bytes(length)
        look = source.randrange(begin, end - 4096)
        for at, count in ((offset, length), (look, 4096)):
            way = source.randrange(5)
            if ways.read(way, at, count) != model[at - begin : at - begin + count]:
                failures.append(f"step {step}: after change {kind} of {length} at {offset}, read way {way} of {count} "
                                f"at {at} is stale")
                return
    for way in range(5):
        if ways.read(way, begin, end - begin) != model:
            failures.append(f"at the end: read way {way} of [{begin}, {end}) is stale")


def main():
    path, seed = sys.argv[1], int(sys.argv[2])
    ways = Ways(path)
    failures = []
    exercise(ways, seed, 0, LENGTH, 400, failures)
    quarter = LENGTH // 4
    threads = [threading.Thread(target=exercise, args=(ways, seed + 1 + i, i * quarter, (i + 1) * quarter, 150, failures))
               for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for failure in failures:
        print(failure, file=sys.stderr)
    sys.exit(1 if failures else 0)


main()
