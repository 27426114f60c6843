#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes that know what must be found after a crash.

    kill_load.py base SIZE FILE              a disk whose blocks say that they are old
    kill_load.py load SEED VIEW LOG STARTED  writes, punches and syncs from four threads until VIEW fails; then LOG says
                                             what is allowed where. STARTED appears after the first sync;
                                             STARTED.killed is there before the kill.
    kill_load.py verify LOG FILE             every block holds what LOG allows
    kill_load.py again LOG FILE              writes all blocks of LOG anew, syncs, and notes that in LOG
"""

import ctypes
import errno
import json
import os
import random
import stat
import struct
import sys
import threading

BLOCK = 4096
THREADS = 4
HOLE = 0  # the sequence number that a block of zeroes stands for
OLD = -1
PUNCH_AND_KEEP_SIZE = 3

libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


def contents(block, sequence):
    if sequence == HOLE:
        return bytes(BLOCK)
    return struct.pack("<qq", block, sequence) * (BLOCK // 16)


def punch(file, offset, length):
    if libc.fallocate(file, PUNCH_AND_KEEP_SIZE, offset, length) != 0:
        raise OSError(ctypes.get_errno(), "fallocate")


class Writer(threading.Thread):
    """Owns every THREADS-th block, so that the threads meet in every cluster."""

    def __init__(self, number, seed, view, blocks, started):
        super().__init__()
        self.number, self.view, self.started = number, view, started
        self.random = random.Random(f"{seed} {number}")
        self.own = list(range(number, blocks, THREADS))
        self.synced = {}  # block -> what the last successful sync promised
        self.since = {}  # block -> what was tried after that
        self.ended_by = None
        self.killed = False

    def run(self):
        sequence = 0
        try:
            file = os.open(self.view, os.O_RDWR)
            while True:
                for _ in range(self.random.randint(1, 24)):
                    block = self.random.choice(self.own)
                    sequence += 1
                    hole = self.random.random() < 0.2
                    self.since.setdefault(block, []).append(HOLE if hole else sequence)
                    if hole:
                        punch(file, block * BLOCK, BLOCK)
                    else:
                        data = contents(block, sequence)
                        if os.pwrite(file, data, block * BLOCK) != BLOCK:
                            raise RuntimeError("short write")
                os.fsync(file)
                for block, tried in self.since.items():
                    self.synced[block] = tried[-1]
                self.since = {}
                open(self.started, "w").close()
        except OSError as error:
            self.ended_by = error
            self.killed = os.path.exists(self.started + ".killed")


def load(seed, view, log, started):
    with open(view, "rb") as disk:  # of a block device, too
        blocks = disk.seek(0, os.SEEK_END) // BLOCK
        # Now, for later there may be nobody left to ask.
        device = stat.S_ISBLK(os.fstat(disk.fileno()).st_mode)
    writers = [Writer(number, seed, view, blocks, started) for number in range(THREADS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    allowed = {}
    for writer in writers:
        for block in set(writer.synced) | set(writer.since):
            allowed[block] = [writer.synced.get(block, OLD)] + writer.since.get(block, [])
    with open(log, "w", encoding="utf-8") as file:
        json.dump(allowed, file)
    print(f"   {len(allowed)} blocks, {sum(len(w.synced) for w in writers)} of them synced; "
          f"ended by {', '.join(sorted({str(w.ended_by) for w in writers}))}")
    # ENOTCONN: the daemon is gone. ECONNABORTED: it went while a request was under way. EIO: while it was taking one in or
    # answering, or what a loop device makes of it. ECANCELED: while it was taking one in over io_uring.
    ends = {errno.EIO} if device else {errno.ENOTCONN, errno.ECONNABORTED, errno.ECANCELED, errno.EIO}
    return 0 if all(w.killed and w.ended_by.errno in ends for w in writers) else 1


def verify(log, name):
    with open(log, encoding="utf-8") as file:
        allowed = {int(block): values for block, values in json.load(file).items()}
    wrong = 0
    with open(name, "rb") as file:
        block = 0
        while data := file.read(BLOCK):
            values = allowed.get(block, [OLD])
            if not any(data == contents(block, value) for value in values):
                wrong += 1
                if wrong < 10:
                    print(f"block {block}: allowed {values}, found {struct.unpack('<qq', data[:16])}"
                          f"{'' if data == data[:16] * (BLOCK // 16) else ', torn'}")
            block += 1
    if wrong:
        print(f"{wrong} blocks are wrong in {name}")
    return 1 if wrong else 0


def again(log, name):
    with open(log, encoding="utf-8") as file:
        allowed = {int(block): values for block, values in json.load(file).items()}
    file = os.open(name, os.O_RDWR)
    for block in allowed:
        allowed[block] = [1 << 40]
        os.pwrite(file, contents(block, 1 << 40), block * BLOCK)
    os.fsync(file)
    os.close(file)
    with open(log, "w", encoding="utf-8") as out:
        json.dump(allowed, out)
    return 0


def base(size, name):
    with open(name, "wb") as file:
        for block in range(size // BLOCK):
            file.write(contents(block, OLD))
    return 0


def main():
    what, rest = sys.argv[1], sys.argv[2:]
    if what == "base":
        return base(int(rest[0]), rest[1])
    return {"load": load, "verify": verify, "again": again}[what](*rest)


if __name__ == "__main__":
    sys.exit(main())
