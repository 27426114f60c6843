# SPDX-License-Identifier: Apache-2.0
"""What is not measured with fio: the time until a mount answers, what idle mounts cost, the rate of punches, the memory
of a huge image."""

import ctypes
import os
import statistics
import time

from targets import Penstock, Qemu, run
from workloads import WORKLOADS, fio, verdict

# What is asked of penstock: until the first byte of any image, how much later that of a huge one may come, and memory.
FIRST_BYTE_MS, FIRST_BYTE_MORE_MS, PEAK_MIB = 50, 10, 64
# Of overlays on one base, which nobody uses: how many are mounted, the time for all, and what each may have.
IDLE_MOUNTS, IDLE_MOUNTS_S, IDLE_THREADS, IDLE_MIB = 100, 3, 8, 5
PUNCH_HOLE, ZERO_RANGE, KEEP_SIZE = 2, 16, 1
LIBC = ctypes.CDLL(None, use_errno=True)


def first_byte(target, image, folder, tools):
    """Milliseconds from the command to the first byte read; unmounted again."""
    view = target(image, "qcow2", folder, tools)
    begin = time.monotonic()
    view.open()
    with open(view.file, "rb", buffering=0) as file:
        file.read(4096)
    taken = (time.monotonic() - begin) * 1000
    view.close()
    return taken


class PenstockOnlyMount(Penstock):
    """Without asking for the daemon's process."""

    def open(self):
        self.file = self.point()
        os.spawnv(os.P_WAIT, self.tools["penstock"],
                  [self.tools["penstock"], "mount", "-f", self.format, self.image, self.file])


def idle_mounts(base, folder, tools):
    """Seconds to mount them one after the other; then threads and MiB of each, with its helper process."""
    views = []
    for number in range(IDLE_MOUNTS):
        image = os.path.join(folder, f"idle-{number}.qcow2")
        run(tools["penstock"], "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", image)
        views.append(PenstockOnlyMount(image, "qcow2", folder, tools))
    begin = time.monotonic()
    for view in views:
        view.open()
    seconds = time.monotonic() - begin
    threads = kibibytes = 0
    for view in views:
        view.find_daemon()
        daemon = view.pids[0]
        for pid in [daemon, *children(daemon)]:
            threads += len(os.listdir(f"/proc/{pid}/task"))
            with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as rollup:
                kibibytes += sum(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    for view in views:
        view.close()
        os.unlink(view.image)
    return seconds, threads / IDLE_MOUNTS, kibibytes / 1024 / IDLE_MOUNTS


def children(pid):
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
            found += [int(child) for child in file.read().split()]
    return found


def zeroing_rate(target, mode, image, images, folder, tools):
    """fallocate(2) of each cluster in turn."""
    copy = images.copy(image)
    with target(copy, images.format_of("full"), folder, tools) as view:
        file = os.open(view.file, os.O_RDWR)
        offset = ctypes.c_int64
        begin = time.monotonic()
        done = 0
        for cluster in range(images.size >> 16):
            if LIBC.fallocate(file, mode | KEEP_SIZE, offset(cluster << 16), offset(1 << 16)) != 0:
                os.close(file)
                return 0
            done += 1
        rate = done / (time.monotonic() - begin)
        os.close(file)
    images.remove_copy(copy)
    return rate


def peak_memory(target, image, folder, tools, seconds):
    """MiB after 4k random reads all over the disk."""
    workload = next(w for w in WORKLOADS if w.name == "4k random read, depth 32")
    with target(image, "qcow2", folder, tools) as view:
        fio(workload, view.file, folder, 1 << 40, seconds)
        return view.peak_bytes() / (1 << 20)


def run_all(images, folder, tools, rounds, only, full):
    rows = []

    def row(name, unit, values, most=None):
        medians = {target: statistics.median(all_of) for target, all_of in values.items()}
        rows.append({"probe": name, "unit": unit, "values": values})
        bar = "" if most is None else f"  {verdict(medians['penstock'] <= most, f'at most {most:.0f}')}"
        print(f"{name:42}" + "".join(f"  {target} {value:.1f}" for target, value in medians.items()) + f"  {unit}{bar}",
              flush=True)
        return medians["penstock"]

    def wanted(name):
        return not only or only in name

    if images.format != "qcow2":
        return rows
    most = FIRST_BYTE_MS
    for size in ("1G", "1T"):
        name = f"mount to first byte, {size}"
        if not wanted(name):
            continue
        image = images.get(f"huge {size}")
        found = {}
        for _ in range(2 * rounds + 1):
            found.setdefault("penstock", []).append(first_byte(PenstockOnlyMount, image, folder, tools))
            found.setdefault("qemu", []).append(first_byte(Qemu, image, folder, tools))
        most = min(most, row(name, "ms", found, most) + FIRST_BYTE_MORE_MS)
    name = f"{IDLE_MOUNTS} idle mounts"
    if wanted(name):
        taken = [idle_mounts(images.get("huge 1G"), folder, tools) for _ in range(rounds)]
        for number, (what, unit, most) in enumerate((("to mount them", "s", IDLE_MOUNTS_S),
                                                     ("threads of each", "", IDLE_THREADS),
                                                     ("memory of each", "MiB", IDLE_MIB))):
            row(f"{name}, {what}", unit, {"penstock": [values[number] for values in taken]}, most)
    for name, mode in (("punch 64 KiB", PUNCH_HOLE), ("zero range 64 KiB", ZERO_RANGE)):
        if wanted(name):
            found = {}
            for _ in range(rounds):
                for target in (Penstock, Qemu):
                    found.setdefault(target.name, []).append(
                        zeroing_rate(target, mode, images.get("full"), images, folder, tools))
            row(name, "a second", found)
    name = "peak memory, 1 TiB, 4k random reads"
    if wanted(name):
        image = images.get("huge 1T")
        row(name, "MiB", {target.name: [peak_memory(target, image, folder, tools, 20 if full else 5)]
                          for target in (Penstock, Qemu)}, PEAK_MIB)
    return rows
