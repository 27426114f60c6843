#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""fio over penstock, over qemu-storage-daemon's FUSE export and over a plain file.

Rounds are interleaved, so that what else the machine does meets all three alike, and the medians are compared. Each
measurement has a new copy of its image, warm in the page cache. The two daemons are asked with O_DIRECT, so that the
requests reach them; the plain file without, since both daemons read and write through the host's page cache: it is
the bound, not a rival.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

TESTS = {  # name: fio's arguments, what is counted
    "randread 4k x1": (["--rw=randread", "--bs=4k", "--iodepth=1"], "iops"),
    "randread 4k x32": (["--rw=randread", "--bs=4k", "--iodepth=32"], "iops"),
    "randwrite 4k x1": (["--rw=randwrite", "--bs=4k", "--iodepth=1"], "iops"),
    "randwrite 4k x32": (["--rw=randwrite", "--bs=4k", "--iodepth=32"], "iops"),
    "read 1M x4": (["--rw=read", "--bs=1M", "--iodepth=4"], "MiB/s"),
    "write 1M x4": (["--rw=write", "--bs=1M", "--iodepth=4"], "MiB/s"),
}
KINDS = ["raw fresh", "raw allocated", "qcow2 allocated", "qcow2 overlay"]
SYSTEMS = ["penstock", "qemu", "plain"]
CHAIN = 4


def run(*command):
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def wait_for(condition, what):
    deadline = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited a minute for {what}")
        time.sleep(0.02)


def mounted(path):
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        return any(line.split()[1] == path for line in mounts)


class Images:
    def __init__(self, folder, size):
        self.folder, self.size = folder, size
        self.full = self.path("full.raw")
        with open(self.full, "wb") as file:
            for _ in range(size >> 20):
                file.write(os.urandom(1 << 20))
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", self.full, self.path("full.qcow2"))
        below = "full.qcow2"
        for layer in range(CHAIN):
            upper = f"layer{layer}.qcow2"
            run("qemu-img", "create", "-q", "-f", "qcow2", "-b", below, "-F", "qcow2", self.path(upper))
            below = upper
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", below, "-F", "qcow2", self.path("overlay.qcow2"))

    def path(self, name):
        return os.path.join(self.folder, name)

    def make(self, kind):
        """A new image: its path and format."""
        name = self.path("image." + kind.split()[0])
        if kind == "raw fresh":
            with open(name, "wb") as file:
                file.truncate(self.size)
        else:
            source = {"raw allocated": "full.raw", "qcow2 allocated": "full.qcow2", "qcow2 overlay": "overlay.qcow2"}
            shutil.copyfile(self.path(source[kind]), name)
            os.sync()
        return name, kind.split()[0]


class Mounted:
    """The image as a file, by one of the systems."""

    def __init__(self, system, image, image_format, folder, penstock):
        self.system, self.penstock = system, penstock
        self.file, self.daemon = image, None
        if system == "penstock":
            self.point = tempfile.mkdtemp(dir=folder)
            run(penstock, "mount", "-f", image_format, image, self.point)
            self.file = os.path.join(self.point, os.listdir(self.point)[0])
        elif system == "qemu":
            self.point = tempfile.mkstemp(dir=folder)[1]
            self.daemon = subprocess.Popen(
                ["qemu-storage-daemon", "--blockdev",
                 f"driver={image_format},node-name=n,file.driver=file,file.filename={image}", "--export",
                 f"type=fuse,id=e,node-name=n,mountpoint={self.point},writable=on"], stdin=subprocess.DEVNULL)
            wait_for(lambda: mounted(self.point), "qemu-storage-daemon")
            self.file = self.point

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.system == "penstock":
            run(self.penstock, "umount", self.point)
            os.rmdir(self.point)
        elif self.system == "qemu":
            self.daemon.terminate()
            self.daemon.wait()
            if mounted(self.point):
                run("umount", self.point)
            os.unlink(self.point)


def measure(test, mounted_image, seconds, size, folder):
    arguments, unit = TESTS[test]
    done = subprocess.run(
        ["fio", "--name=bench", "--output-format=json", "--ioengine=libaio", "--randrepeat=1", "--time_based",
         f"--runtime={seconds}", f"--size={size}", f"--filename={mounted_image.file}", "--allow_file_create=0",
         "--fallocate=none", "--invalidate=0", f"--direct={0 if mounted_image.system == 'plain' else 1}",
         f"--aux-path={folder}", *arguments], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    # fio may put a warning in front.
    job = json.loads(done.stdout[done.stdout.index("{"):])["jobs"][0]
    side = job["write" if "write" in test else "read"]
    return side["iops"] if unit == "iops" else side["bw_bytes"] / (1 << 20)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--penstock", required=True)
    parser.add_argument("--rounds", type=int, default=int(os.environ.get("PENSTOCK_BENCH_ROUNDS", 3)))
    parser.add_argument("--seconds", type=int, default=int(os.environ.get("PENSTOCK_BENCH_SECONDS", 3)))
    parser.add_argument("--mib", type=int, default=512, help="size of the disk")
    parser.add_argument("--only", help="tests and kinds whose name contains this")
    parser.add_argument("--json", help="write all measurements there")
    arguments = parser.parse_args()
    for tool in ("fio", "qemu-img", "qemu-storage-daemon"):
        if not shutil.which(tool):
            print(f"bench.py: {tool} is not installed", file=sys.stderr)
            return 1

    size = arguments.mib << 20
    folder = tempfile.mkdtemp(prefix="penstock-bench-", dir=os.environ.get("PENSTOCK_TEST_DIRECTORY", "/var/tmp"))
    found = {}
    try:
        images = Images(folder, size)
        cases = [(kind, test) for kind in KINDS for test in TESTS
                 if not arguments.only or arguments.only in f"{kind} {test}"]
        for number in range(arguments.rounds):
            for kind, test in cases:
                for system in SYSTEMS[number % 3:] + SYSTEMS[:number % 3]:
                    # A plain file has no layers: it is the allocated raw file then.
                    image, image_format = images.make(kind if system != "plain" or kind == "raw fresh"
                                                      else "raw allocated")
                    with Mounted(system, image, image_format, folder, arguments.penstock) as view:
                        value = measure(test, view, arguments.seconds, size, folder)
                    os.unlink(image)
                    found.setdefault((kind, test, system), []).append(value)
                print(f"round {number + 1} of {arguments.rounds}: {kind}, {test}", file=sys.stderr)
    finally:
        shutil.rmtree(folder, ignore_errors=True)

    print(f"{'':32}{'penstock':>12}{'qemu':>12}{'plain':>12}{'of qemu':>10}{'of plain':>10}")
    for kind, test in cases:
        penstock, qemu, plain = (statistics.median(found[kind, test, system]) for system in SYSTEMS)
        print(f"{kind + ', ' + test:32}{penstock:12.0f}{qemu:12.0f}{plain:12.0f}{penstock / qemu:10.2f}"
              f"{penstock / plain:10.2f}  {TESTS[test][1]}")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({", ".join(key): values for key, values in found.items()}, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
