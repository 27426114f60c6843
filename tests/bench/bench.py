#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""penstock beside the bare FUSE server, QEMU, nbdfuse and the plain file; one table, ratios of medians.

Rounds are interleaved, so that what else the machine does meets all alike. Images are warm in the page cache unless a
workload says "cold": what is compared is the work of the programs, not the disk. The views are asked with O_DIRECT
unless a workload says "buffered", so that every request reaches the daemon; the plain file is then read through the
page cache, since that is what the daemons do: it is the bound, not a rival.

Whoever does not come up, or fails, is left out from then on, and a line says so. What was measured is told however the
rest ends. Exit status: 0, 1 if penstock was left out or the rest could not be measured, 130 if interrupted.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import platform
import shutil
import statistics
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import stream_bench  # noqa: E402
import times  # noqa: E402
from images import Images  # noqa: E402
from targets import FAILURES, Folder, Lineup, TARGETS, interruptible, output_of  # noqa: E402
from workloads import DROP_CACHES, WORKLOADS, judged, measure, verdict  # noqa: E402


def say(text):
    print(f"bench.py: {text}", file=sys.stderr, flush=True)


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), "?")
    qemu = output_of("qemu-img", "--version").split()[2]
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores, {model}, Linux {platform.release().split('-')[0]}, QEMU {qemu}"


def one(workload, target, images, folder, tools, seconds, lineup):
    kind = TARGETS[target]
    image = images.flat(workload.kind) if kind.flat else images.get(workload.kind)
    flags = workload.flags if target == "penstock" else ()
    wanted = workload
    if target == "plain" and workload.state != "cold":
        wanted = dataclasses.replace(workload, direct=False)

    def of_view(path):
        with kind(path, "raw" if kind.flat else images.format_of(workload.kind), folder, tools, *flags) as view:
            return *measure(wanted, view, folder, images.size, seconds), view.peak_bytes()

    with images.copied(image) if workload.writes else contextlib.nullcontext(image) as path:
        return lineup.attempt(target, of_view, path)


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


def measure_all(found, wanted, lineup, rounds, *rest):
    """Round by round, each beginning with another target."""
    images = rest[0]
    for number in range(rounds):
        for workload in wanted:
            usable = [name for name in lineup.names if name in workload.targets]
            first = number % max(1, len(usable))
            for target in usable[first:] + usable[:first]:
                if target in lineup.left_out:
                    continue
                result = one(workload, target, *rest, lineup)
                if result is not None:
                    found.setdefault((workload.name, target), []).append(result)
            if workload.state == "cold":
                images.warm()
            print(f"round {number + 1} of {rounds}: {workload.name}", file=sys.stderr, flush=True)


def print_found(found, wanted, names, image_format):
    names = [name for name in names if any(target == name for _, target in found)]
    print(machine())
    print(f"{image_format:42}" + "".join(f"{name:>11}" for name in names))
    medians = {key: statistics.median(value for value, _, _ in all_of) for key, all_of in found.items()}
    for workload in wanted:
        if any(name == workload.name for name, _ in found):
            print_row(workload, medians, names)
    print("\nprocessor time of the daemons for each request, and their peak memory")
    for workload in wanted:
        if any(name == workload.name for name, _ in found):
            print_costs(workload, found, names)
    print(flush=True)


def write_json(path, image_format, found, probes):
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"machine": machine(), "format": image_format,
                   "measurements": [{"workload": name, "target": target, "values": [v for v, _, _ in all_of],
                                     "cpu_us_per_request": [c for _, c, _ in all_of],
                                     "peak_bytes": max(p for _, _, p in all_of)}
                                    for (name, target), all_of in found.items()],
                   "probes": probes}, file, indent=1)


def main(words=None):
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
    arguments = parser.parse_args(words)
    for tool in ("fio", "qemu-img", "qemu-io"):
        if not shutil.which(tool):
            say(f"{tool} is not installed")
            return 1
    names = [name for name in arguments.targets.split(",") if name]
    for name in names:
        if name not in TARGETS:
            parser.error(f"no target {name}: there are {', '.join(TARGETS)}")
    rounds = arguments.rounds or (5 if arguments.full else 3)
    seconds = arguments.seconds or (4 if arguments.full else 1)
    wanted = [w for w in WORKLOADS if (arguments.full or w.quick or arguments.only)
              and (not arguments.only or arguments.only in w.name)]
    if arguments.format == "add-cow":
        wanted = [w for w in wanted if w.kind in ("full", "overlay", "fresh")]
        names = [name for name in names if name in ("penstock", "bare", "plain")]
    if any(w.state == "cold" for w in wanted) and not os.access(DROP_CACHES, os.W_OK):
        say(f"what is cold is left out: {DROP_CACHES} cannot be written to")
        wanted = [w for w in wanted if w.state != "cold"]
    lineup = Lineup(names)
    tools = {"penstock": os.path.abspath(arguments.penstock), "bare": os.path.abspath(arguments.bare)}
    if arguments.json:
        with open(arguments.json, "a", encoding="utf-8"):  # what cannot be written is told before all the work
            pass

    found, probes = {}, []
    told = False
    status = 0
    interruptible()
    try:
        with Folder() as folder:
            images = Images(folder, arguments.mib << 20, arguments.format, tools["penstock"])
            measure_all(found, wanted, lineup, rounds, images, folder, tools, seconds)
            print_found(found, wanted, names, arguments.format)
            told = True
            times.run_all(images, folder, tools, rounds, arguments.only, arguments.full, lineup, probes)
            if arguments.full and arguments.format == "qcow2" and not arguments.only:
                stream_bench.times(folder, tools["penstock"], rounds, 4096, lineup, probes)
    except KeyboardInterrupt:
        say("interrupted")
        status = 130
    except FAILURES as error:
        say(f"gives up: {error}")
        status = 1
    finally:
        try:
            if not told:
                print_found(found, wanted, names, arguments.format)
        finally:
            if arguments.json:
                write_json(arguments.json, arguments.format, found, probes)
    return status or int("penstock" in lineup.left_out)


if __name__ == "__main__":
    sys.exit(main())
