#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Streaming, beside cp and QEMU's ways to the same end.

time     how long it takes until an overlay of a disk (half of it zero bytes, a quarter holes, a quarter data) stands
         alone: penstock's stream, cp --sparse=always of the flat file, qemu-img convert, qemu-img rebase -b "", and
         qemu-storage-daemon's block-stream
latency  a guest's 4k random reads at depth 1 of a disk that is warm, while a stream without a limit runs beside them,
         and without: the ratio of the two 99th percentiles, of penstock and of qemu-storage-daemon
speed    what is copied in ten seconds under a limit

Rounds are interleaved, medians are compared, all is warm in the page cache. Whoever fails is left out from then on, and
a line says so; what was measured is told however the rest ends.
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import targets  # noqa: E402
from targets import FAILURES, Failure, Folder, Lineup, run  # noqa: E402
from workloads import fio_file, fio_result, verdict  # noqa: E402

MIB = 1 << 20
# Of what these take, penstock should take so much at most.
MOST = {"qemu-img convert": 0.8, "qemu block-stream": 0.5}


def make_base(path, size, data_parts):
    """Pieces of 1 MiB in turn; `data_parts` of four of them are data, the last is a hole, the rest zero bytes."""
    with open(path, "wb") as file:
        file.truncate(size)
        for number in range(size // MIB):
            part = number % 4
            if part < data_parts:
                os.pwrite(file.fileno(), os.urandom(MIB), number * MIB)
            elif part < 3:
                os.pwrite(file.fileno(), bytes(MIB), number * MIB)
    os.sync()


class Penstock(targets.Penstock):
    def __init__(self, folder, penstock, top, speed=0):
        super().__init__(top, "qcow2", folder, {"penstock": penstock})
        self.speed = speed

    def start(self):
        limit = ["--speed", str(self.speed)] if self.speed else []
        run(self.tools["penstock"], "stream", "start", *limit, self.file)

    def job(self):
        return json.loads(targets.output_of(self.tools["penstock"], "status", "--json", self.file))["stream"]

    def going(self):
        return self.job()["state"] in ("running", "waiting", "finishing")

    def wait(self):
        run(self.tools["penstock"], "stream", "wait", self.file)


class Qemu(targets.Qemu):
    layers = "driver={},node-name=n,file.driver=file,file.aio={},file.filename={}"
    aio = "threads"
    writable = "off"  # QEMU 7.2 does not stream below a writable FUSE export.

    def __init__(self, folder, _, top):
        super().__init__(top, "qcow2", folder, {})
        self.file_of_qmp = None

    def open(self):
        path = os.path.join(self.folder, "qmp")
        super().open("--chardev", f"socket,path={path.replace(',', ',,')},server=on,wait=off,id=c", "--monitor", "chardev=c")
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(path)
            self.file_of_qmp = connection.makefile("rw")
        self.file_of_qmp.readline()
        self.ask("qmp_capabilities")

    def ask(self, command, **arguments):
        self.file_of_qmp.write(json.dumps({"execute": command, "arguments": arguments}))
        self.file_of_qmp.flush()
        while line := self.file_of_qmp.readline():
            message = json.loads(line)
            if "error" in message:
                raise Failure(message["error"]["desc"])
            if "return" in message:
                return message["return"]
        raise Failure("qemu-storage-daemon hung up")

    def start(self):
        self.ask("block-stream", **{"job-id": "j", "device": "n"})

    def going(self):
        return bool(self.ask("query-block-jobs"))

    def wait(self):
        while self.going():
            time.sleep(0.01)

    def close(self):
        if self.file_of_qmp:
            with self.file_of_qmp:
                self.ask("quit")
            self.daemons[0].wait(targets.PATIENCE_SECONDS)


def overlay(folder):
    top = os.path.join(folder, "top.qcow2")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", top)
    return top


def by_stream(system, folder, penstock):
    top = overlay(folder)
    began = time.monotonic()
    with system(folder, penstock, top) as side:
        side.start()
        side.wait()
    return time.monotonic() - began


def by_command(folder, *command):
    began = time.monotonic()
    run(*command)
    with open(os.path.join(folder, "copy"), "a", encoding="utf-8") as file:
        os.fsync(file.fileno())
    return time.monotonic() - began


def times(folder, penstock, rounds, mib, lineup, probes=None):
    """Seconds of each way, told and put in `probes` even if the rest fails."""
    base, copy = os.path.join(folder, "base.raw"), os.path.join(folder, "copy")
    make_base(base, mib * MIB, 1)
    ways = {
        "penstock": ("penstock", lambda: by_stream(Penstock, folder, penstock)),
        "cp": ("cp", lambda: by_command(folder, "cp", "--sparse=always", base, copy)),
        "qemu-img convert": ("qemu-img convert", lambda: by_command(folder, "qemu-img", "convert", "-f", "raw", "-O",
                                                                    "qcow2", base, copy)),
        "qemu-img rebase": ("qemu-img rebase", lambda: rebase(folder, copy)),
        "qemu block-stream": ("qemu", lambda: by_stream(Qemu, folder, penstock)),
    }
    found = {}
    try:
        for _ in range(rounds):
            for name, (target, way) in ways.items():
                for leftover in (copy, os.path.join(folder, "top.qcow2")):
                    if os.path.exists(leftover):
                        os.unlink(leftover)
                os.sync()
                seconds = lineup.attempt(target, way)
                if seconds is not None:
                    found.setdefault(name, []).append(seconds)
    finally:
        if probes is not None and found:
            probes.append({"probe": "until it stands alone", "unit": "s", "values": found})
        tell_times(mib, {name: statistics.median(seconds) for name, seconds in found.items()})


def tell_times(mib, medians):
    for name, seconds in medians.items():
        bar = ""
        if name != "penstock" and "penstock" in medians:
            bar = f"  penstock takes {medians['penstock'] / seconds:.2f} of it"
            if name in MOST:
                bar += f" {verdict(medians['penstock'] <= MOST[name] * seconds, MOST[name])}"
        print(f"{mib} MiB until it stands alone, {name:18} {seconds:7.2f} s{bar}", flush=True)


def rebase(folder, copy):
    shutil.copyfile(overlay(folder), copy)
    return by_command(folder, "qemu-img", "rebase", "-b", "", copy)


def p99(view, seconds, folder):
    """Microseconds."""
    job = fio_result("--ioengine=psync", "--rw=randread", "--bs=4k", "--direct=1", "--time_based", f"--runtime={seconds}",
                     f"--filename={fio_file(view)}", "--allow_file_create=0", "--fallocate=none", "--invalidate=0",
                     f"--aux-path={folder}")["read"]
    return job["clat_ns"]["percentile"]["99.000000"] / 1000


def latency(system, folder, penstock):
    with system(folder, penstock, overlay(folder)) as side:
        idle = p99(side.file, 2, folder)
        side.start()
        busy = p99(side.file, 2, folder)
        outlasted = side.going()
        side.wait()
    return busy / idle, idle, busy, outlasted


def latencies(folder, penstock, rounds, mib, lineup):
    make_base(os.path.join(folder, "base.raw"), mib * MIB, 3)
    found = {}
    try:
        for _ in range(rounds):
            for name, system in (("penstock", Penstock), ("qemu", Qemu)):
                value = lineup.attempt(name, latency, system, folder, penstock)
                if value is not None:
                    found.setdefault(name, []).append(value)
    finally:
        for name, values in found.items():
            ratio, idle, busy = (statistics.median(value[i] for value in values) for i in range(3))
            print(f"4k random reads, 99th percentile, {name:9} {idle:7.0f} us idle {busy:7.0f} us while streaming"
                  f"  ratio {ratio:5.2f}{'' if all(value[3] for value in values) else '  (the stream ended before)'}",
                  flush=True)


def speed(folder, penstock, limit):
    with Penstock(folder, penstock, overlay(folder), limit) as side:
        side.start()
        time.sleep(1)
        first, began = side.job()["copied"], time.monotonic()
        time.sleep(10)
        return (side.job()["copied"] - first) / (time.monotonic() - began)


def speeds(folder, penstock, lineup):
    make_base(os.path.join(folder, "base.raw"), 1024 * MIB, 4)
    for limit in (10 * MIB, 50 * MIB):
        rate = lineup.attempt("penstock", speed, folder, penstock, limit)
        if rate is not None:
            print(f"limit {limit // MIB} MiB/s: {rate / MIB:.2f} MiB/s over 10 s", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--penstock", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mib", type=int, default=4096, help="size of the disk in the time test")
    parser.add_argument("--only", choices=["time", "latency", "speed"])
    arguments = parser.parse_args()
    penstock = os.path.abspath(arguments.penstock)
    # cp and qemu-img make the images, too.
    for tool in ("qemu-img", "fio"):
        if not shutil.which(tool):
            print(f"stream_bench.py: {tool} is not installed", file=sys.stderr)
            return 1
    lineup = Lineup(("penstock", "qemu"))
    targets.interruptible()
    try:
        with Folder() as folder:
            if arguments.only in (None, "time"):
                times(folder, penstock, arguments.rounds, arguments.mib, lineup)
            if arguments.only in (None, "latency"):
                latencies(folder, penstock, arguments.rounds, 2048, lineup)
            if arguments.only in (None, "speed"):
                speeds(folder, penstock, lineup)
    except KeyboardInterrupt:
        print("stream_bench.py: interrupted", file=sys.stderr)
        return 130
    except FAILURES as error:
        print(f"stream_bench.py: gives up: {error}", file=sys.stderr)
        return 1
    return int("penstock" in lineup.left_out)


if __name__ == "__main__":
    sys.exit(main())
