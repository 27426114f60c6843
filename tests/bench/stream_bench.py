#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Streaming, beside cp and QEMU's ways to the same end.

time     how long it takes until an overlay of a disk (half of it zero bytes, a quarter holes, a quarter data) stands
         alone: penstock's stream, cp --sparse=always of the flat file, qemu-img convert, qemu-img rebase -b "", and
         qemu-storage-daemon's block-stream
latency  a guest's 4k random reads at depth 1 of a disk that is warm, while a stream without a limit runs beside them,
         and without: the ratio of the two 99th percentiles, of penstock and of qemu-storage-daemon
speed    what is copied in ten seconds under a limit

Rounds are interleaved, medians are compared, all is warm in the page cache.
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from targets import mounted, run, wait_for  # noqa: E402
from workloads import verdict  # noqa: E402

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


class Penstock:
    def __init__(self, folder, penstock, top, speed=0):
        self.penstock, self.point = penstock, tempfile.mkdtemp(dir=folder)
        self.speed = speed
        run(penstock, "mount", "-f", "qcow2", top, self.point)
        self.view = os.path.join(self.point, os.listdir(self.point)[0])

    def start(self):
        limit = ["--speed", str(self.speed)] if self.speed else []
        run(self.penstock, "stream", "start", *limit, self.point)

    def job(self):
        return json.loads(subprocess.check_output([self.penstock, "status", "--json", self.point]))["stream"]

    def going(self):
        return self.job()["state"] in ("running", "waiting", "finishing")

    def wait(self):
        subprocess.run([self.penstock, "stream", "wait", self.point], check=True, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def close(self):
        run(self.penstock, "umount", self.point)
        os.rmdir(self.point)


class Qemu:
    def __init__(self, folder, _, top):
        self.view = tempfile.mkstemp(dir=folder)[1]
        path = os.path.join(folder, "qmp")
        self.daemon = subprocess.Popen(
            ["qemu-storage-daemon", "--blockdev", f"driver=qcow2,node-name=n,file.driver=file,file.filename={top}",
             "--chardev", f"socket,path={path},server=on,wait=off,id=c", "--monitor", "chardev=c", "--export",
             # QEMU 7.2 does not stream below a writable FUSE export.
             f"type=fuse,id=e,node-name=n,mountpoint={self.view},writable=off"], stdin=subprocess.DEVNULL)
        wait_for(lambda: mounted(self.view), "qemu-storage-daemon")
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.file = self.socket.makefile("r")
        self.file.readline()
        self.ask("qmp_capabilities")

    def ask(self, command, **arguments):
        self.socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        while True:
            message = json.loads(self.file.readline())
            if "error" in message:
                raise RuntimeError(message["error"]["desc"])
            if "return" in message:
                return message["return"]

    def start(self):
        self.ask("block-stream", **{"job-id": "j", "device": "n"})

    def going(self):
        return bool(self.ask("query-block-jobs"))

    def wait(self):
        while self.going():
            time.sleep(0.01)

    def close(self):
        self.ask("quit")
        self.daemon.wait()
        wait_for(lambda: not mounted(self.view), "the end of qemu-storage-daemon")
        os.unlink(self.view)


def overlay(folder):
    top = os.path.join(folder, "top.qcow2")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", top)
    return top


def by_stream(system, folder, penstock):
    side = system(folder, penstock, overlay(folder))
    began = time.monotonic()
    side.start()
    side.wait()
    side.close()
    return time.monotonic() - began


def by_command(folder, *command):
    began = time.monotonic()
    run(*command)
    with open(os.path.join(folder, "copy"), "a", encoding="utf-8") as file:
        os.fsync(file.fileno())
    return time.monotonic() - began


def times(folder, penstock, rounds, mib):
    base, copy = os.path.join(folder, "base.raw"), os.path.join(folder, "copy")
    make_base(base, mib * MIB, 1)
    ways = {
        "penstock": lambda: by_stream(Penstock, folder, penstock),
        "cp": lambda: by_command(folder, "cp", "--sparse=always", base, copy),
        "qemu-img convert": lambda: by_command(folder, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", base, copy),
        "qemu-img rebase": lambda: rebase(folder, copy),
        "qemu block-stream": lambda: by_stream(Qemu, folder, penstock),
    }
    found = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            for leftover in (copy, os.path.join(folder, "top.qcow2")):
                if os.path.exists(leftover):
                    os.unlink(leftover)
            os.sync()
            found[name].append(way())
    medians = {name: statistics.median(seconds) for name, seconds in found.items()}
    for name, seconds in medians.items():
        bar = f"  penstock takes {medians['penstock'] / seconds:.2f} of it"
        if name in MOST:
            bar += f" {verdict(medians['penstock'] <= MOST[name] * seconds, MOST[name])}"
        print(f"{mib} MiB until it stands alone, {name:18} {seconds:7.2f} s{bar if name != 'penstock' else ''}",
              flush=True)
    return found


def rebase(folder, copy):
    shutil.copyfile(overlay(folder), copy)
    return by_command(folder, "qemu-img", "rebase", "-b", "", copy)


def p99(view, seconds, folder, log_name):
    """Microseconds."""
    done = subprocess.check_output(
        ["fio", "--name=bench", "--output-format=json", "--ioengine=psync", "--rw=randread", "--bs=4k", "--direct=1",
         "--time_based", f"--runtime={seconds}", f"--filename={view}", "--allow_file_create=0", "--fallocate=none",
         "--invalidate=0", f"--aux-path={folder}", f"--description={log_name}"], stdin=subprocess.DEVNULL, text=True)
    job = json.loads(done[done.index("{"):])["jobs"][0]["read"]
    return job["clat_ns"]["percentile"]["99.000000"] / 1000


def latencies(folder, penstock, rounds, mib):
    make_base(os.path.join(folder, "base.raw"), mib * MIB, 3)
    found = {}
    for _ in range(rounds):
        for name, system in (("penstock", Penstock), ("qemu", Qemu)):
            side = system(folder, penstock, overlay(folder))
            idle = p99(side.view, 2, folder, "idle")
            side.start()
            busy = p99(side.view, 2, folder, "busy")
            outlasted = side.going()
            side.wait()
            side.close()
            os.unlink(os.path.join(folder, "top.qcow2"))
            found.setdefault(name, []).append((busy / idle, idle, busy, outlasted))
    for name, values in found.items():
        ratio, idle, busy = (statistics.median(value[i] for value in values) for i in range(3))
        print(f"4k random reads, 99th percentile, {name:9} {idle:7.0f} us idle {busy:7.0f} us while streaming"
              f"  ratio {ratio:5.2f}{'' if all(value[3] for value in values) else '  (the stream ended before)'}")


def speeds(folder, penstock):
    make_base(os.path.join(folder, "base.raw"), 1024 * MIB, 4)
    for limit in (10 * MIB, 50 * MIB):
        side = Penstock(folder, penstock, overlay(folder), limit)
        side.start()
        time.sleep(1)
        first, began = side.job()["copied"], time.monotonic()
        time.sleep(10)
        rate = (side.job()["copied"] - first) / (time.monotonic() - began)
        side.close()
        os.unlink(os.path.join(folder, "top.qcow2"))
        print(f"limit {limit // MIB} MiB/s: {rate / MIB:.2f} MiB/s over 10 s")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--penstock", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mib", type=int, default=4096, help="size of the disk in the time test")
    parser.add_argument("--only", choices=["time", "latency", "speed"])
    arguments = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="penstock-bench-", dir=os.environ.get("PENSTOCK_TEST_DIRECTORY", "/var/tmp"))
    try:
        if arguments.only in (None, "time"):
            times(folder, arguments.penstock, arguments.rounds, arguments.mib)
        if arguments.only in (None, "latency"):
            latencies(folder, arguments.penstock, arguments.rounds, 2048)
        if arguments.only in (None, "speed"):
            speeds(folder, arguments.penstock)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
