# SPDX-License-Identifier: Apache-2.0
"""What is not measured with fio: the time until a mount answers, what idle mounts cost, the rate of punches, the memory
of a huge image."""

import ctypes
import functools
import os
import statistics
import subprocess
import time

from targets import Failure, Penstock, Qemu, how_it_ended, run
from workloads import WORKLOADS, fio, verdict

# What is asked of penstock: until the first byte of any image, how much later that of a huge one may come, and memory.
FIRST_BYTE_MS, FIRST_BYTE_MORE_MS, PEAK_MIB = 50, 10, 64
# Of overlays on one base, which nobody uses: how many are mounted, the time for all, and what each may have.
IDLE_MOUNTS, IDLE_MOUNTS_S, IDLE_THREADS, IDLE_MIB = 100, 3, 8, 5
PUNCH_HOLE, ZERO_RANGE, KEEP_SIZE = 2, 16, 1
LIBC = ctypes.CDLL(None, use_errno=True)


def first_byte(target, image, folder, tools):
    """Milliseconds from the command to the first byte read; unmounted again."""
    begin = time.monotonic()
    with target(image, "qcow2", folder, tools) as view:
        with open(view.file, "rb", buffering=0) as file:
            if len(file.read(4096)) != 4096:
                raise Failure("shows a view without bytes")
        return (time.monotonic() - begin) * 1000


class PenstockOnlyMount(Penstock):
    """Without asking for the daemon's process."""

    def open(self):
        self.file = self.make_point()
        # Started as the others are: os.spawnv would copy this whole process first.
        command = [self.tools["penstock"], "mount", "-f", self.format, self.image, self.file]
        status = subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode
        if status != 0:
            raise Failure(f"penstock mount {how_it_ended(status)}")


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
        for pid in [daemon, *helpers(daemon)]:
            threads += len(os.listdir(f"/proc/{pid}/task"))
            with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as rollup:
                kibibytes += sum(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    for view in views:
        view.close()
        os.unlink(view.image)
    return seconds, threads / IDLE_MOUNTS, kibibytes / 1024 / IDLE_MOUNTS


def helpers(daemon):
    """The processes beside it, which were started by the same command line."""
    with open(f"/proc/{daemon}/cmdline", "rb") as file:
        line = file.read()
    found = []
    for name in os.listdir("/proc"):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                if file.read() == line and name != str(daemon):
                    found.append(int(name))
        except (OSError, ValueError):
            continue  # no process, or one that has just ended
    return found


def zeroing_rate(target, mode, image, images, folder, tools):
    """fallocate(2) of each cluster in turn."""
    with images.copied(image) as copy, target(copy, images.format_of("full"), folder, tools) as view:
        file = os.open(view.file, os.O_RDWR)
        try:
            offset = ctypes.c_int64
            begin = time.monotonic()
            for cluster in range(images.size >> 16):
                if LIBC.fallocate(file, mode | KEEP_SIZE, offset(cluster << 16), offset(1 << 16)) != 0:
                    return 0
            return (images.size >> 16) / (time.monotonic() - begin)
        finally:
            os.close(file)


def peak_memory(target, image, folder, tools, seconds):
    """MiB after 4k random reads all over the disk."""
    workload = next(w for w in WORKLOADS if w.name == "4k random read, depth 32")
    with target(image, "qcow2", folder, tools) as view:
        fio(workload, view.file, folder, 1 << 40, seconds)
        return view.peak_bytes() / (1 << 20)


def run_all(images, folder, tools, rounds, only, full, lineup, probes):
    """What is measured is in `probes` at once, and told even if the rest of it fails."""

    def probe(name, unit, times, measures, most=None):
        """`measures`: target -> what measures it, `times` times in turn. penstock's median, if it has one."""
        found = {}
        try:
            for _ in range(times):
                for target, measure in measures.items():
                    value = lineup.attempt(target, measure)
                    if value is not None:
                        found.setdefault(target, []).append(value)
        finally:
            medians = {target: statistics.median(all_of) for target, all_of in found.items()}
            if found:
                probes.append({"probe": name, "unit": unit, "values": found})
                bar = ""
                if most is not None and "penstock" in medians:
                    bar = f"  {verdict(medians['penstock'] <= most, f'at most {most:.0f}')}"
                print(f"{name:42}" + "".join(f"  {target} {value:.1f}" for target, value in medians.items())
                      + f"  {unit}{bar}", flush=True)
        return medians.get("penstock")

    def wanted(name):
        return not only or only in name

    if images.format != "qcow2":
        return
    both = [target for target in (Penstock, Qemu) if target.name in lineup.names]
    most = FIRST_BYTE_MS
    for size in ("1G", "1T"):
        name = f"mount to first byte, {size}"
        if not wanted(name):
            continue
        image = images.get(f"huge {size}")
        found = probe(name, "ms", 2 * rounds + 1,
                      {target.name: functools.partial(first_byte, PenstockOnlyMount if target is Penstock else target,
                                                      image, folder, tools) for target in both}, most)
        if found is not None:
            most = min(most, found + FIRST_BYTE_MORE_MS)
    name = f"{IDLE_MOUNTS} idle mounts"
    if wanted(name) and Penstock.name in lineup.names:
        image = images.get("huge 1G")
        taken = [lineup.attempt(Penstock.name, functools.partial(idle_mounts, image, folder, tools))
                 for _ in range(rounds)]
        taken = [values for values in taken if values is not None]
        for number, (what, unit, most) in enumerate((("to mount them", "s", IDLE_MOUNTS_S),
                                                     ("threads of each", "", IDLE_THREADS),
                                                     ("memory of each", "MiB", IDLE_MIB))):
            values = iter([of_round[number] for of_round in taken])
            probe(f"{name}, {what}", unit, len(taken), {Penstock.name: functools.partial(next, values)}, most)
    for name, mode in (("punch 64 KiB", PUNCH_HOLE), ("zero range 64 KiB", ZERO_RANGE)):
        if wanted(name):
            image = images.get("full")
            probe(name, "a second", rounds, {target.name: functools.partial(zeroing_rate, target, mode, image, images,
                                                                            folder, tools) for target in both})
    name = "peak memory, 1 TiB, 4k random reads"
    if wanted(name):
        image = images.get("huge 1T")
        probe(name, "MiB", 1, {target.name: functools.partial(peak_memory, target, image, folder, tools,
                                                              20 if full else 5) for target in both}, PEAK_MIB)
