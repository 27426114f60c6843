# SPDX-License-Identifier: Apache-2.0
"""Random changes of a file and of its model at the same time, from several threads."""

import ctypes
import os
import random
import threading

KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16

libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


def fallocate(file, mode, offset, length):
    if libc.fallocate(file, mode, offset, length) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"fallocate mode {mode} at {offset}, {length} bytes: {os.strerror(number)}")


def first_difference(one, other):
    """The offset of the first byte that differs, or None."""
    with open(one, "rb") as left, open(other, "rb") as right:
        at = 0
        while True:
            a, b = left.read(1 << 20), right.read(1 << 20)
            if a != b:
                for index, pair in enumerate(zip(a, b)):
                    if pair[0] != pair[1]:
                        return at + index
                return at + min(len(a), len(b))
            if not a:
                return None
            at += len(a)


class Changer(threading.Thread):
    """Changes only its own stretches of the disk, whose borders lie anywhere: threads meet in clusters, not in bytes."""

    def __init__(self, view, model, stretches, unit, seed, changes):
        super().__init__()
        self.view, self.model, self.stretches, self.unit, self.changes = view, model, stretches, unit, changes
        self.random = random.Random(seed)
        self.problem = None

    def piece(self):
        begin, end = self.random.choice(self.stretches)
        length = min(end - begin, max(1, int(2 ** self.random.uniform(0, (4 * self.unit).bit_length()))))
        offset = self.random.randint(begin, end - length)
        if self.random.random() < 0.4:  # whole clusters, where they fit
            first, last = -(-offset // self.unit) * self.unit, (offset + length) // self.unit * self.unit
            if first < last:
                return first, last - first
        return offset, length

    def change(self, view, model):
        offset, length = self.piece()
        kind = self.random.choice(["write"] * 6 + ["zeroes", "zero", "zero", "punch", "punch", "allocate", "read", "sync"])
        if kind in ("write", "zeroes"):
            data = self.random.randbytes(length) if kind == "write" else bytes(length)
            if os.pwrite(view, data, offset) != length:
                raise RuntimeError(f"short write at {offset}")
            os.pwrite(model, data, offset)
        elif kind in ("zero", "punch"):
            mode = KEEP_SIZE | (ZERO_RANGE if kind == "zero" else PUNCH_HOLE)
            fallocate(view, mode, offset, length)
            fallocate(model, mode, offset, length)
        elif kind == "allocate":
            fallocate(view, KEEP_SIZE, offset, length)
        elif kind == "sync":
            os.fsync(view)
        elif os.pread(view, length, offset) != os.pread(model, length, offset):
            raise RuntimeError(f"read of {length} bytes at {offset} differs from the model")

    def run(self):
        try:
            view, model = os.open(self.view, os.O_RDWR), os.open(self.model, os.O_RDWR)
            try:
                for _ in range(self.changes):
                    self.change(view, model)
                os.fsync(view)
            finally:
                os.close(view)
                os.close(model)
        except (OSError, RuntimeError) as error:
            self.problem = error


def change_from_threads(view, model, unit, seed, threads, changes):
    """Raises what went wrong in any thread."""
    size = os.stat(model).st_size
    source = random.Random(seed)
    borders = sorted({0, size, *(source.randrange(1, size) for _ in range(threads * 6))})
    stretches = list(zip(borders, borders[1:]))
    changers = [Changer(view, model, stretches[number::threads], unit, f"{seed} {number}", changes)
                for number in range(threads)]
    for changer in changers:
        changer.start()
    for changer in changers:
        changer.join()
    for changer in changers:
        if changer.problem:
            raise ValueError(str(changer.problem))
