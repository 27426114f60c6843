# SPDX-License-Identifier: Apache-2.0
"""Reads of local data beside requests that wait: beside_who_waits.py VIEW LOCAL REQUESTS CLUSTERS FIRST.

The first 32 MiB of VIEW (clusters of 64 KiB) come from a layer that takes long; LOCAL lies at 32 MiB. Half of the
REQUESTS write and half read, on CLUSTERS clusters, every third from FIRST on, which nobody has read yet. Fails when one of twenty local reads, with which nobody has to wait
for anything, takes longer than LIMIT, or any bytes are wrong."""

import mmap
import os
import sys
import threading
import time

LIMIT = 0.05  # seconds
CLUSTER = 64 * 1024
PAGE = 4096

view_path, local_path = sys.argv[1:3]
requests, clusters, first = (int(number) for number in sys.argv[3:6])
local = open(local_path, "rb").read()
view = os.open(view_path, os.O_RDWR | os.O_DIRECT)
problems = []
written = bytes([7]) * PAGE


def place(number):
    # The middle of the cluster, so that what is around comes from below; a page of its own for each writer.
    return (first + number % clusters * 3) * CLUSTER + (1 + number // clusters % 15) * PAGE


def ask(number):
    page = mmap.mmap(-1, PAGE)
    at = place(number)
    if number % 2 == 0:
        page[:] = written
        done = os.pwritev(view, [page], at)
    else:
        done = os.preadv(view, [page], at)
    if done != PAGE:
        problems.append(number)


threads = [threading.Thread(target=ask, args=(number,)) for number in range(requests)]
begin = time.monotonic()
for thread in threads:
    thread.start()
time.sleep(0.1)
page = mmap.mmap(-1, PAGE)
times = []
while threads[0].is_alive() and len(times) < 20:
    at = len(times) * 3 % 256 * PAGE
    before = time.monotonic()
    os.preadv(view, [page], (32 << 20) + at)
    times.append(time.monotonic() - before)
    if page[:] != local[at:at + PAGE]:
        problems.append(f"local data at {at}")
    time.sleep(0.02)
assert len(times) >= 5, "the requests did not wait"
for thread in threads:
    thread.join()
taken = time.monotonic() - begin
for number in range(0, requests, 2):
    at = place(number)
    os.preadv(view, [page], at)
    if page[:] != written:
        problems.append(f"written data at {at}")
print(f"{requests} requests for {clusters} clusters took {taken:.2f} s; the slowest of {len(times)} local reads beside them"
      f" {max(times) * 1000:.1f} ms")
assert not problems, problems
assert max(times) <= LIMIT, times
