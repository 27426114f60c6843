#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""penstock beside the bare FUSE server, QEMU, nbdfuse and the plain file; one table, ratios of medians.

Rounds are interleaved, so that what else the machine does meets all alike. Images are warm in the page cache unless a
workload says "cold": what is compared is the work of the programs, not the disk. The views are asked with O_DIRECT
unless a workload says "buffered", so that every request reaches the daemon; the plain file is then read through the
page cache, since that is what the daemons do: it is the bound, not a rival.
"""

import argparse
import dataclasses
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import stream_bench  # noqa: E402
import times  # noqa: E402
from images import Images  # noqa: E402
from targets import TARGETS, available  # noqa: E402
from workloads import WORKLOADS, judged, measure, verdict  # noqa: E402


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), "?")
    qemu = subprocess.run(["qemu-img", "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()[2]
    return f"{os.cpu_count()} cores, {model}, Linux {platform.release().split('-')[0]}, QEMU {qemu}"


def one(workload, target, images, folder, tools, seconds):
    kind = TARGETS[target]
    source = images.flat(workload.kind) if kind.flat else images.get(workload.kind)
    image = images.copy(source) if workload.writes else source
    flags = workload.flags if target == "penstock" else ()
    wanted = workload
    if target == "plain" and workload.state != "cold":
        wanted = dataclasses.replace(workload, direct=False)
    with kind(image, "raw" if kind.flat else images.format_of(workload.kind), folder, tools, *flags) as view:
        value, cpu = measure(wanted, view, folder, images.size, seconds)
        peak = view.peak_bytes()
    if workload.writes:
        images.remove_copy(image)
    return value, cpu, peak


def print_row(workload, medians, targets):
    line = f"{workload.name:42}"
    for target in targets:
        value = medians.get((workload.name, target))
        line += f"{'-':>11}" if value is None else f"{value:11.0f}"
    line += f"{workload.unit:>7}"
    for ratio, label, least in judged(workload, medians):
        line += f"  {ratio:.2f} x {label} {verdict(ratio >= least, least)}"
    print(line, flush=True)


def print_costs(workload, found, targets):
    line = f"{workload.name:42}"
    for target in targets:
        values = found.get((workload.name, target))
        if target == "plain" or not values:
            continue
        cpu, peak = statistics.median(cpu for _, cpu, _ in values), max(peak for _, _, peak in values)
        line += f"  {target} {cpu:.1f} us {peak / (1 << 20):.0f} MiB"
    print(line, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--penstock", required=True)
    parser.add_argument("--bare", required=True, help="the program made of bare.cpp")
    parser.add_argument("--full", action="store_true", help="everything, for half an hour; else five minutes")
    parser.add_argument("--format", default="qcow2", choices=["qcow2", "qed", "add-cow"])
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--mib", type=int, default=512, help="size of the disk")
    parser.add_argument("--only", help="workloads whose name contains this")
    parser.add_argument("--targets", default=",".join(TARGETS), help="which programs, with commas between")
    parser.add_argument("--json", help="write all measurements there")
    arguments = parser.parse_args()
    for tool in ("fio", "qemu-img", "qemu-io"):
        if not shutil.which(tool):
            print(f"bench.py: {tool} is not installed", file=sys.stderr)
            return 1
    rounds = arguments.rounds or (5 if arguments.full else 3)
    seconds = arguments.seconds or (4 if arguments.full else 1)
    wanted = [w for w in WORKLOADS if (arguments.full or w.quick or arguments.only)
              and (not arguments.only or arguments.only in w.name)]
    targets = available([name for name in arguments.targets.split(",") if name])
    if arguments.format == "add-cow":
        wanted = [w for w in wanted if w.kind in ("full", "overlay", "fresh")]
        targets = [name for name in targets if name in ("penstock", "bare", "plain")]
    tools = {"penstock": os.path.abspath(arguments.penstock), "bare": os.path.abspath(arguments.bare)}

    folder = tempfile.mkdtemp(prefix="penstock-bench-", dir=os.environ.get("PENSTOCK_TEST_DIRECTORY", "/var/tmp"))
    found = {}
    probes = []
    try:
        images = Images(folder, arguments.mib << 20, arguments.format, tools["penstock"])
        for number in range(rounds):
            for workload in wanted:
                usable = [name for name in targets if name in workload.targets]
                for target in usable[number % len(usable):] + usable[:number % len(usable)]:
                    found.setdefault((workload.name, target), []).append(
                        one(workload, target, images, folder, tools, seconds))
                if workload.state == "cold":
                    images.warm()
                print(f"round {number + 1} of {rounds}: {workload.name}", file=sys.stderr)
        print(machine())
        print(f"{arguments.format:42}" + "".join(f"{name:>11}" for name in targets))
        medians = {key: statistics.median(value for value, _, _ in all_of) for key, all_of in found.items()}
        for workload in wanted:
            print_row(workload, medians, targets)
        print("\nprocessor time of the daemons for each request, and their peak memory")
        for workload in wanted:
            print_costs(workload, found, targets)
        print()
        probes = times.run_all(images, folder, tools, rounds, arguments.only, arguments.full)
        if arguments.full and arguments.format == "qcow2" and not arguments.only:
            probes.append({"probe": "until it stands alone", "unit": "s",
                           "values": stream_bench.times(folder, tools["penstock"], rounds, 4096)})
    finally:
        shutil.rmtree(folder, ignore_errors=True)

    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({"machine": machine(), "format": arguments.format,
                       "measurements": [{"workload": name, "target": target, "values": [v for v, _, _ in all_of],
                                         "cpu_us_per_request": [c for _, c, _ in all_of],
                                         "peak_bytes": max(p for _, _, p in all_of)}
                                        for (name, target), all_of in found.items()],
                       "probes": probes}, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
