#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A thread that waits for a slow disk is replaced by another: with one serving thread, 16 reads that take a second each are
# under way together, and what needs no disk is answered meanwhile.
. "$(dirname "$0")/lib.sh"
need_fuse
need python3
cd "$work"
random_bytes 3 $((8 << 20)) disk.raw
show_slowly disk.raw 32 1000
mount_image -f raw -r --threads 1 slow.raw

python3 - "$view" disk.raw <<'END'
import mmap, os, sys, threading, time
wanted = open(sys.argv[2], "rb").read()
view = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)
begin = time.monotonic()
problems = []
def read(at):
    page = mmap.mmap(-1, 4096)
    if os.preadv(view, [page], at) != 4096 or page[:] != wanted[at:at + 4096]:
        problems.append(at)
threads = [threading.Thread(target=read, args=(number * 300 * 1024 // 4096 * 4096,)) for number in range(16)]
for thread in threads:
    thread.start()
time.sleep(0.05)
before = time.monotonic()
os.statvfs(sys.argv[1])
asked = time.monotonic() - before
for thread in threads:
    thread.join()
taken = time.monotonic() - begin
print(f"16 reads of a second took {taken:.2f} s, a question meanwhile {asked * 1000:.0f} ms")
assert not problems, problems
# One after the other they take 16 s.
assert taken < 10, taken
END
unmount_image
