#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""threads_load.py VIEW BASE SECONDS: six threads on blocks of their own in the same clusters, and one that drives the
control socket, streaming included; BASE.model says what VIEW must hold afterwards, which is checked."""

import ctypes
import json
import os
import random
import socket
import sys
import threading
import time

BLOCK = 1536  # no divisor of any cluster
THREADS = 6

libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
problems = []


def write_and_read(number, view, model, until):
    try:
        source = random.Random(number)
        fd = os.open(view, os.O_RDWR)
        blocks = len(model) // BLOCK // THREADS
        while time.monotonic() < until:
            at = (source.randrange(blocks) * THREADS + number) * BLOCK
            choice = source.random()
            if choice < 0.45:
                data = source.randbytes(BLOCK)
                if os.pwrite(fd, data, at) != BLOCK:
                    raise OSError("a short write")
                model[at : at + BLOCK] = data
            elif choice < 0.55:
                if libc.fallocate(fd, source.choice([3, 17]), at, BLOCK) != 0:
                    raise OSError(ctypes.get_errno(), "fallocate")
                model[at : at + BLOCK] = bytes(BLOCK)
            elif choice < 0.97:
                if os.pread(fd, BLOCK, at) != model[at : at + BLOCK]:
                    raise OSError(f"block at {at} holds something else")
            else:
                os.fsync(fd)
    except OSError as problem:
        problems.append(f"thread {number}: {problem}")


def control(view, until):
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(os.getxattr(view, "user.penstock.control").decode())
            lines = connection.makefile("rw")
            source = random.Random(99)

            def execute(command, **arguments):
                lines.write(json.dumps({"execute": command, "arguments": arguments}))
                lines.flush()
                while True:
                    answer = json.loads(lines.readline())
                    if "return" in answer or "error" in answer:
                        return answer

            lines.readline()
            execute("qmp_capabilities")
            execute("block-stream", device="disk0", speed=4 << 20)
            while time.monotonic() < until:
                # Answers may be errors: the job may have ended.
                command = source.choice(["query-penstock", "query-penstock-cells", "query-block-jobs", "block-job-pause",
                                         "block-job-resume", "block-job-set-speed", "query-named-block-nodes"])
                arguments = {"device": "disk0"} if command.startswith("block-job-") else {}
                if command == "block-job-set-speed":
                    arguments["speed"] = source.choice([1 << 20, 8 << 20, 0])
                if command == "query-penstock-cells":
                    arguments["cells"] = 50
                execute(command, **arguments)
                time.sleep(0.02)
            execute("block-job-resume", device="disk0")
    except (OSError, ValueError) as problem:
        problems.append(f"control: {problem!r}")


def main():
    view, base, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    with open(base, "rb") as file:
        model = bytearray(file.read())
    until = time.monotonic() + seconds
    threads = [threading.Thread(target=write_and_read, args=(number, view, model, until)) for number in range(THREADS)]
    threads.append(threading.Thread(target=control, args=(view, until)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with open(base + ".model", "wb") as file:
        file.write(model)
    with open(view, "rb") as file:
        if file.read() != model:
            problems.append("the view does not hold what was written")
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
