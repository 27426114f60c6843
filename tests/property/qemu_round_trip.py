#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""QEMU makes images of every kind; penstock reads them, changes them through a mount from several threads, and QEMU
must find what a plain file that had the same changes holds, with nothing wrong and nothing leaked.

Every case prints its seed. A failure prints the command that repeats it.
"""

import argparse
import concurrent.futures
import itertools
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from random_changes import change_from_threads, first_difference  # noqa: E402
from round_trip import Wrong, run, sum_of  # noqa: E402

KIB, MIB = 1 << 10, 1 << 20
CLUSTERS = [512, 4 * KIB, 64 * KIB, 2 * MIB]
REFCOUNT_BITS = [1, 4, 16, 64]
BACKINGS = ["none", "raw", "qcow2", "chain"]
FEATURES = ["plain", "lazy", "extended", "data", "rawdata"]
CHAIN = 8


def matrix():
    for version, cluster, bits, backing, feature in itertools.product(
            [2, 3], CLUSTERS, REFCOUNT_BITS, BACKINGS, FEATURES):
        if version == 2 and (bits != 16 or feature != "plain"):
            continue
        if feature == "extended" and cluster < 16 * KIB:
            continue
        if feature == "rawdata" and backing != "none":
            continue
        yield f"v{version}-c{cluster}-r{bits}-{backing}-{feature}"


class Case:
    def __init__(self, name, seed, penstock, folder):
        self.name, self.seed, self.penstock, self.folder = name, seed, penstock, folder
        self.random = random.Random(f"{name} {seed}")
        version, cluster, bits, self.backing, self.feature = name.split("-")
        self.version, self.cluster, self.bits = int(version[1:]), int(cluster[1:]), int(bits[1:])
        # QEMU's sizes are multiples of 512; of the cluster, sometimes.
        self.size = max(MIB, self.cluster * self.random.randint(3, 12)) + self.random.randint(0, 2047) * 512
        self.top = self.path("top.qcow2")
        self.model = self.path("model.raw")

    def path(self, name):
        return os.path.join(self.folder, name)

    def layer_size(self):
        """Shorter, longer or as long as the top."""
        return self.random.choice([self.size, self.size // 2 // 512 * 512, self.size * 3 // 2 // 512 * 512])

    def qemu_changes(self, path, size, cluster, compress):
        """QEMU writes, zeroes, discards and compresses at random."""
        commands = ["qemu-io", "-f", "qcow2"]
        for _ in range(self.random.randint(4, 14)):
            kind = self.random.choice(["write", "write", "write", "zero", "unmap", "discard"] + ["packed"] * compress)
            if kind == "packed":
                offset = self.random.randrange(0, size // cluster) * cluster if size >= cluster else 0
                length = min(cluster, size - offset)
            else:
                offset = self.random.randrange(0, size // 512) * 512
                length = min(size - offset, 512 * int(2 ** self.random.uniform(0, 11)))
            what = {"write": f"write -P {self.random.randint(1, 255)}", "zero": "write -z", "unmap": "write -zu",
                    "discard": "discard", "packed": f"write -c -P {self.random.randint(1, 255)}"}[kind]
            commands += ["-c", f"{what} {offset} {length}"]
        # A refused compressed write (the cluster has data already) is no matter.
        run(*commands, path, allowed=(0, 1))

    def make_backing(self):
        """The layers below the top, from the bottom up; answers name and format of the upper one."""
        if self.backing == "none":
            return None
        size = self.layer_size()
        name = "base.raw"
        with open(self.path(name), "wb") as file:
            # The end of a raw file lies anywhere.
            size -= self.random.choice([0, self.random.randint(1, 511)])
            file.truncate(size)
            for _ in range(6):
                at = self.random.randrange(size)
                file.seek(at)
                file.write(self.random.randbytes(min(size - at, self.random.randint(1, size // 4))))
        below = (name, "raw")
        depth = {"raw": 0, "qcow2": 1, "chain": CHAIN - 1}[self.backing]
        for number in range(depth):
            name = f"layer{number}.qcow2"
            size = self.layer_size()
            cluster = self.random.choice(CLUSTERS)
            options = [f"cluster_size={cluster}", f"compat={self.random.choice(['0.10', '1.1'])}"]
            if options[1] == "compat=1.1":
                options.append(f"compression_type={self.random.choice(['zlib', 'zstd'])}")
            reference = ["-b", below[0], "-F", below[1]]
            if self.backing == "qcow2":  # without a layer of its own below
                shutil.move(self.path(below[0]), self.path("unused.raw"))
                reference = []
            self.make_by_qemu(self.path(name), size, cluster, options, reference, 2, True)
            below = (name, "qcow2")
        return below

    def make_top(self, below):
        options = [f"cluster_size={self.cluster}", f"compat={'0.10' if self.version == 2 else '1.1'}"]
        if self.version == 3:
            options.append(f"refcount_bits={self.bits}")
            if self.feature not in ("data", "rawdata"):
                options.append(f"compression_type={self.random.choice(['zlib', 'zstd'])}")
        options += {"plain": [], "lazy": ["lazy_refcounts=on"], "extended": ["extended_l2=on"],
                    "data": [f"data_file={self.path('data.bin')}"],
                    "rawdata": [f"data_file={self.path('data.bin')}", "data_file_raw=on"]}[self.feature]
        reference = ["-b", below[0], "-F", below[1]] if below else []
        self.make_by_qemu(self.top, self.size, self.cluster, options, reference,
                          0 if self.feature in ("data", "rawdata") else 1, self.random.random() < 0.7)

    def make_by_qemu(self, path, size, cluster, options, reference, compress, change):
        """QEMU 7.2 now and then damages an image to which it writes compressed clusters among others (a reference too
        many, or the corrupt bit): such a one is made again without them."""
        for packed in (compress, 0):
            run("qemu-img", "create", "-q", "-f", "qcow2", "-o", ",".join(options), *reference, path, str(size))
            if change:
                self.qemu_changes(path, size, cluster, packed)
            sound = subprocess.run(["qemu-img", "check", "-q", path], check=False, capture_output=True).returncode == 0
            if sound and '"corrupt": true' not in run("qemu-img", "info", "--output=json", path):
                return
        raise Wrong("qemu-img check finds damage in what QEMU made without compression")

    def mount(self, *flags):
        mountpoint = tempfile.mkdtemp(prefix="mnt-", dir=self.folder)
        run(self.penstock, "mount", "-f", "qcow2", *flags, self.top, mountpoint)
        return mountpoint, os.path.join(mountpoint, "top.raw")

    def unmount(self, mountpoint):
        run(self.penstock, "umount", mountpoint)
        os.rmdir(mountpoint)

    def same(self, view, when):
        at = first_difference(view, self.model)
        if at is not None:
            raise Wrong(f"{when}: the view differs from the model at {at} (cluster {at // self.cluster})")

    def run(self):
        below = self.make_backing()
        self.make_top(below)
        run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", self.top, self.model)
        run(self.penstock, "compare", "-f", "qcow2", "-F", "raw", self.top, self.model)
        lower = {name: sum_of(self.path(name)) for name in os.listdir(self.folder) if name.startswith(("base", "layer"))}

        mountpoint = None
        try:
            mountpoint, view = self.mount("--discard", self.random.choice(["ignore", "unmap"]))
            self.same(view, "before any change")
            change_from_threads(view, self.model, self.cluster, self.random.randrange(1 << 62), threads=4, changes=60)
            self.same(view, "after the changes")
            self.unmount(mountpoint)
            mountpoint = None
        finally:
            if mountpoint:
                subprocess.run(["umount", "-l", mountpoint], check=False, stderr=subprocess.DEVNULL)

        run("qemu-img", "check", "-q", self.top)  # leaks are failures too
        run(self.penstock, "check", self.top)
        run("qemu-img", "compare", "-f", "qcow2", "-F", "raw", self.top, self.model)
        run(self.penstock, "compare", "-f", "qcow2", "-F", "raw", self.top, self.model)
        if self.feature == "rawdata":
            # The file may end with the last cluster, as QEMU makes it.
            at = first_difference(self.path("data.bin"), self.model)
            if at is not None and at != self.size:
                raise Wrong(f"the raw data file alone differs from the disk at {at}")
        for name, before in lower.items():
            if sum_of(self.path(name)) != before:
                raise Wrong(f"{name}, which lies below the overlay, changed")
        # And QEMU goes on with what penstock left.
        self.qemu_changes(self.top, self.size, self.cluster, compress=0)
        run("qemu-img", "check", "-q", self.top)


def one(name, seed, arguments):
    folder = tempfile.mkdtemp(prefix="penstock-round-trip-", dir=os.environ.get("PENSTOCK_TEST_DIRECTORY", "/var/tmp"))
    began = time.monotonic()
    try:
        Case(name, seed, arguments.penstock, folder).run()
    except (Wrong, OSError, subprocess.TimeoutExpired, ValueError) as error:
        return f"{name}: {type(error).__name__}: {error}", time.monotonic() - began
    finally:
        if not arguments.keep:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f"kept {folder}")
    return None, time.monotonic() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--penstock", default=os.environ.get("PENSTOCK", "penstock"))
    parser.add_argument("--seed", type=int, default=int(os.environ.get("PENSTOCK_SEED", random.randrange(1 << 31))))
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("PENSTOCK_SECONDS", 100)),
                        help="begin no case after this long")
    parser.add_argument("--all", action="store_true", help="the whole matrix, however long it takes")
    parser.add_argument("--case", action="append", help="only this one (may be given again)")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--keep", action="store_true", help="keep the files")
    arguments = parser.parse_args()
    for tool in ("qemu-img", "qemu-io"):
        if not shutil.which(tool):
            print(f"SKIP: {tool} is not installed")
            return 77
    if not os.access("/dev/fuse", os.W_OK):
        print("SKIP: no /dev/fuse")
        return 77

    names = arguments.case or list(matrix())
    if not arguments.case:
        random.Random(arguments.seed).shuffle(names)
    print(f"seed {arguments.seed}, {len(names)} cases to choose from", flush=True)
    deadline = time.monotonic() + (1e9 if arguments.all else arguments.seconds)
    failures, ran = [], 0
    left = iter(names)
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        running = {}
        while True:
            while len(running) < arguments.jobs and len(failures) < 5 and time.monotonic() < deadline:
                name = next(left, None)
                if name is None:
                    break
                running[pool.submit(one, name, arguments.seed, arguments)] = name
            if not running:
                break
            done, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
            for future in done:
                name = running.pop(future)
                problem, seconds = future.result()
                ran += 1
                print(f"{'FAILED' if problem else 'ok'}  {seconds:5.1f} s  seed {arguments.seed}  {name}", flush=True)
                if problem:
                    failures.append(problem)
                    print(f"  {problem}\n  again: {sys.argv[0]} --penstock {arguments.penstock} --keep "
                          f"--seed {arguments.seed} --case {name}", flush=True)
    print(f"{ran} cases, {len(failures)} failed")
    return 1 if failures or not ran else 0


if __name__ == "__main__":
    sys.exit(main())
