# SPDX-License-Identifier: Apache-2.0
"""What is measured with fio, and the ratio that each is meant to reach."""

import dataclasses
import json
import os
import sys

from targets import output_of, run

ALL = ("penstock", "bare", "qemu", "nbdfuse", "plain")


@dataclasses.dataclass(frozen=True)
class Workload:
    name: str
    kind: str  # of image: see images.py
    fio: str
    unit: str = "iops"  # or MiB/s
    bars: tuple = ()  # (other, least ratio)...; other is a target, or "=NAME": penstock itself in that workload
    targets: tuple = ALL
    direct: bool = True
    state: str = "warm"  # cold: nothing is in the page cache; second: all was read through the view before
    once: bool = False  # to the end of the disk or of number_ios, not for so many seconds
    flags: tuple = ()  # of penstock mount
    quick: bool = True  # part of the short run

    @property
    def writes(self):
        return "write" in self.fio or "--copy-on-read" in self.flags


READ, WRITE = "--rw=randread --bs=4k", "--rw=randwrite --bs=4k"
SMALL_WRITES = "--rw=write --bs=4k --ioengine=psync --end_fsync=1"
MIXED_SEQUENTIAL = "--bs=1M --iodepth=4"

WORKLOADS = (
    Workload("4k random read, depth 1", "full", f"{READ} --iodepth=1", bars=(("bare", 0.95), ("qemu", 1.15))),
    Workload("4k random read, 4 jobs", "full", f"{READ} --iodepth=1 --numjobs=4", bars=(("bare", 0.95),)),
    Workload("4k random read, depth 32", "full", f"{READ} --iodepth=32", bars=(("bare", 0.95), ("qemu", 1.7))),
    Workload("1M read, direct", "full", f"--rw=read {MIXED_SEQUENTIAL}", "MiB/s", (("bare", 1.0), ("qemu", 3.0))),
    Workload("1M read, buffered", "full", "--rw=read --bs=1M --ioengine=psync", "MiB/s",
             (("bare", 1.0), ("qemu", 3.0)), direct=False, state="dropped", once=True),
    Workload("second 4k random read, buffered", "full", f"{READ} --ioengine=psync", bars=(("plain", 0.8),),
             targets=("penstock", "bare", "plain"), direct=False, state="second"),
    Workload("second 1M read, buffered", "full", "--rw=read --bs=1M --ioengine=psync", "MiB/s", (("plain", 0.8),),
             ("penstock", "bare", "plain"), direct=False, state="second"),
    Workload("4k random write, depth 1", "full", f"{WRITE} --iodepth=1", bars=(("bare", 0.9), ("qemu", 2.0))),
    Workload("4k random write, 4 jobs", "full", f"{WRITE} --iodepth=1 --numjobs=4", quick=False),
    Workload("4k random write, depth 32", "full", f"{WRITE} --iodepth=32", bars=(("bare", 0.9), ("qemu", 2.0))),
    Workload("1M write, direct", "full", f"--rw=write {MIXED_SEQUENTIAL}", "MiB/s", quick=False),
    Workload("4k random write, unallocated, depth 1", "overlay", f"{WRITE} --iodepth=1 --number_ios=8000",
             bars=(("qemu", 2.0),), once=True),
    Workload("4k random write, unallocated, depth 32", "overlay", f"{WRITE} --iodepth=32 --number_ios=8000",
             bars=(("qemu", 2.0),), once=True),
    Workload("1M write, fresh overlay", "fresh", f"--rw=write {MIXED_SEQUENTIAL}", "MiB/s",
             (("bare", 0.8), ("qemu", 2.0)), once=True),
    Workload("4k sequential write, buffered", "full", SMALL_WRITES, bars=(("qemu", 3.0),), direct=False, once=True),
    # With the kernel's writeback cache, which the others do not have.
    Workload("the same with -o writeback", "full", SMALL_WRITES, bars=(("qemu", 3.0), ("bare", 1.0)), direct=False,
             once=True, flags=("-o", "writeback")),
    Workload("chain of 1, 4k random read, depth 32", "chain 1", f"{READ} --iodepth=32", targets=("penstock", "qemu")),
    Workload("chain of 8, 4k random read, depth 32", "chain 8", f"{READ} --iodepth=32",
             bars=(("=chain of 1, 4k random read, depth 32", 0.95),), targets=("penstock", "qemu"), quick=False),
    Workload("chain of 32, 4k random read, depth 32", "chain 32", f"{READ} --iodepth=32",
             bars=(("=chain of 1, 4k random read, depth 32", 0.95), ("qemu", 5.0)), targets=("penstock", "qemu")),
    Workload("chain of 64, 4k random read, depth 32", "chain 64", f"{READ} --iodepth=32",
             bars=(("=chain of 1, 4k random read, depth 32", 0.95),), targets=("penstock", "qemu")),
    # Each block once, so that all of them are cold.
    Workload("cold 4k random read, depth 32", "full", f"{READ} --iodepth=32 --number_ios=60000",
             bars=(("plain", 0.6), ("qemu", 1.3)), state="cold", once=True),
    Workload("1M read, compressed", "compressed", f"--rw=read {MIXED_SEQUENTIAL}", "MiB/s", (("qemu", 1.7),),
             ("penstock", "qemu", "nbdfuse", "qcowmount"), once=True),
    Workload("copy-on-read, first pass", "overlay", f"--rw=read {MIXED_SEQUENTIAL}", "MiB/s", targets=("penstock",),
             once=True, quick=False, flags=("--copy-on-read",)),
    Workload("copy-on-read, second pass", "overlay", f"--rw=read {MIXED_SEQUENTIAL}", "MiB/s",
             (("=1M read, direct", 0.95),), ("penstock",), state="second", once=True, quick=False,
             flags=("--copy-on-read",)),
)


def verdict(holds, bar):
    return f"({'met' if holds else 'NOT met'}: {bar})"


def judged(workload, medians):
    """(ratio, to what, the least that is asked) for each bar; `medians`: (workload, target) -> value, where measured."""
    mine = medians.get((workload.name, "penstock"))
    for other, least in workload.bars:
        own = other.startswith("=")
        base = medians.get((other[1:], "penstock") if own else (workload.name, other))
        if base and mine:
            yield mine / base, "own " + other[1:].split(",")[0] if own else other, least


DROP_CACHES = "/proc/sys/vm/drop_caches"


def drop_page_cache():
    os.sync()
    with open(DROP_CACHES, "w", encoding="ascii") as file:
        file.write("1\n")


def fio_file(path):
    """As fio wants to have it: it takes colons for commas."""
    return path.replace("\\", "\\\\").replace(":", "\\:")


def fio_result(*command):
    """What fio tells of its one job."""
    out = output_of("fio", "--name=bench", "--output-format=json", *command)
    return json.loads(out[out.index("{"):])["jobs"][0]  # it may put a warning in front


def fio(workload, file, folder, size, seconds, extra=()):
    command = ["--ioengine=libaio", "--randrepeat=1", f"--size={size}", f"--filename={fio_file(file)}",
               "--allow_file_create=0", "--fallocate=none", "--invalidate=0", "--group_reporting",
               f"--direct={int(workload.direct)}", f"--aux-path={folder}", *workload.fio.split(), *extra]
    if not workload.once:
        command += ["--time_based", f"--runtime={round(seconds * 1000)}ms"]
    return fio_result(*command)


def measure(workload, view, folder, size, seconds):
    """iops or MiB/s, and the daemons' CPU time per request in microseconds."""
    if workload.state == "second":
        with open(view.file, "rb") as file:
            while file.read(1 << 20):
                pass
    elif workload.state == "cold":
        drop_page_cache()
    elif workload.state == "dropped" and view.name != "plain":
        # The view's own pages alone: the host's copy of the image stays.
        run(sys.executable, "-c", "import os,sys;f=os.open(sys.argv[1],os.O_RDONLY);"
            "os.posix_fadvise(f,0,0,os.POSIX_FADV_DONTNEED)", view.file)
    before = view.cpu_seconds()
    fio_writes = "write" in workload.fio
    side = fio(workload, view.file, folder, size, seconds)["write" if fio_writes else "read"]
    cpu = view.cpu_seconds() - before
    value = side["iops"] if workload.unit == "iops" else side["bw_bytes"] / (1 << 20)
    return value, cpu / max(side["total_ios"], 1) * 1e6
