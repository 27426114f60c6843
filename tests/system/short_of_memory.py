#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes and reads while a daemon may take no more memory.

    short_of_memory.py VIEW BASE DAEMON   BASE.model says afterwards what VIEW must hold; a request that failed is
                                          made again once there is memory
    short_of_memory.py verify FILE MODEL
"""

import os
import random
import resource
import sys

REQUESTS = 400


def limit(daemon, extra):
    size = 0
    with open(f"/proc/{daemon}/status", encoding="ascii") as file:
        for line in file:
            if line.startswith("VmSize:"):
                size = int(line.split()[1]) * 1024
    most = resource.RLIM_INFINITY if extra is None else size + extra
    resource.prlimit(daemon, resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))


def load(view, base, daemon):
    source = random.Random(int(os.environ.get("PENSTOCK_SEED", "1")))
    with open(base, "rb") as file:
        model = bytearray(file.read())
    fd = os.open(view, os.O_RDWR)
    failed = []
    limit(daemon, 0)
    for number in range(REQUESTS):
        if number % 100 == 50:
            limit(daemon, source.choice([0, 1 << 16, 1 << 20]))
        length = source.choice([512, 4096, 70000, 300000, 1 << 20])
        at = source.randrange(len(model) - length)
        try:
            if number % 3 == 2:
                got = os.pread(fd, length, at)
                # Where a write has failed, either may be there.
                if not any(at < end and start < at + length for start, end in failed) and got != model[at : at + length]:
                    print(f"read of {length} bytes at {at}: wrong")
                    return 1
                continue
            data = source.randbytes(length)
            failed.append((at, at + length))
            done = os.pwrite(fd, data, at)
            model[at : at + done] = data[:done]
            if done == length:
                failed.pop()
            if number % 20 == 0:
                os.fsync(fd)
        except OSError as error:
            if number % 3 == 2:
                continue
            # The model says what it is to be, not what it is.
            print(f"   request {number}: {error.strerror}")
    limit(daemon, None)
    # The same bytes once more where a request failed: now they must be taken.
    for start, end in failed:
        if os.pwrite(fd, model[start:end], start) != end - start:
            print("a short write with memory again")
            return 1
    os.fsync(fd)
    os.close(fd)
    with open(base + ".model", "wb") as file:
        file.write(model)
    print(f"   {REQUESTS} requests, {len(failed)} failed")
    return verify(view, base + ".model")


def verify(name, model):
    with open(name, "rb") as one, open(model, "rb") as other:
        at = 0
        while piece := other.read(1 << 20):
            if one.read(len(piece)) != piece:
                print(f"{name} differs within 1 MiB of {at}")
                return 1
            at += len(piece)
    return 0


def main():
    if sys.argv[1] == "verify":
        return verify(*sys.argv[2:])
    return load(sys.argv[1], sys.argv[2], int(sys.argv[3]))


if __name__ == "__main__":
    sys.exit(main())
