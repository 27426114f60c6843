#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""penstock check must count what qemu-img check counts, and repair what it repairs, on damaged images.

usage: qcow2_check_against_qemu.py PENSTOCK [ROUNDS]
Damages small images of every kind in their metadata. For each: exit status and counts are compared with qemu-img's;
after `check -r all` qemu-img must find no more than after its own repair, and what the guest could read before it must
still read. PENSTOCK_SEED repeats a run. Exit status 77 without qemu-img.
"""
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile

COUNTS = ["corruptions", "leaks", "allocated-clusters", "fragmented-clusters", "compressed-clusters", "total-clusters",
          "image-end-offset"]
# What penstock reports and QEMU overlooks: counts differ by design when one of these lines is there.
OWN_FINDINGS = ["zero cluster in a version 2 image", "marked as allocated without a host cluster", "is not the guest offset", "Unallocated cluster has corrupted subcluster", "zero flag in an extended l2 entry"]

KINDS = {
    "plain": "",
    "small": "cluster_size=512",
    "middle": "cluster_size=4k",
    "narrow": "cluster_size=512,refcount_bits=1",
    "wide": "cluster_size=1k,refcount_bits=64",
    "four": "cluster_size=2k,refcount_bits=4",
    "old": "compat=0.10,cluster_size=1k",
    "subclusters": "extended_l2=on,cluster_size=16k",
    "data_file": "data_file=d.raw,cluster_size=4k",
    "snapshots": "cluster_size=1k",
    "bitmaps": "cluster_size=4k",
    "packed": "cluster_size=4k",
    "overlay": "cluster_size=1k,backing_file=base.raw,backing_fmt=raw",
}


def run(*arguments, timeout=60, **more):
    return subprocess.run(arguments, capture_output=True, timeout=timeout, **more)


def must(*arguments):
    done = run(*arguments)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(arguments)}: {done.stderr.decode(errors='replace')}")


def make_image(kind, options, rng):
    """An image of 1 MiB with data, zeroes, discards and whatever its kind is about."""
    name = kind + ".qcow2"
    if kind == "packed":
        must("qemu-io", "-f", "raw", "-c", "write -P 5 0 200k", "-c", "write -P 6 300k 100k", "base.raw")
        must("qemu-img", "convert", "-f", "raw", "-c", "-O", "qcow2", "-o", options, "base.raw", name)
    else:
        must("qemu-img", "create", "-q", "-f", "qcow2", *(["-o", options] if options else []), name, "1M")
    io = []
    for _ in range(12):
        offset = rng.randrange(0, 1 << 20, 512)
        length = min(rng.randrange(512, 96 << 10, 512), (1 << 20) - offset)
        what = rng.choice(["write -P %d" % rng.randrange(1, 255)] * 4 + ["write -z", "write -z -u", "discard"])
        io += ["-c", f"{what} {offset} {length}"]
    must("qemu-io", "-f", "qcow2", *io, name)
    if kind == "snapshots":
        must("qemu-img", "snapshot", "-c", "one", name)
        must("qemu-io", "-f", "qcow2", "-c", "write -P 9 100k 50k", name)
        must("qemu-img", "snapshot", "-c", "two", name)
        must("qemu-io", "-f", "qcow2", "-c", "write -P 10 120k 50k", name)
    if kind == "bitmaps":
        must("qemu-img", "bitmap", "--add", "-g", "4k", name, "b0")
        must("qemu-io", "-f", "qcow2", "-c", "write -P 9 100k 50k", name)
    return name


class Map:
    """Where the metadata of an image lies, so that damage hits something."""

    def __init__(self, data):
        (self.l1_entries, self.l1, self.table, self.table_clusters) = struct.unpack(">IQQI", data[36:60])
        self.cluster = 1 << struct.unpack(">I", data[20:24])[0]
        self.words = []  # offsets of 64-bit entries
        self.words += range(self.l1, self.l1 + 8 * self.l1_entries, 8)
        for at in list(self.words):
            self.add_table(data, at)
        table = range(self.table, self.table + self.table_clusters * self.cluster, 8)
        used = [at for at in table if self.word(data, at)]
        self.words += used * 3 + list(table)[:len(used) + 2]
        self.blocks = [(self.word(data, at) & ~511, self.cluster) for at in used]
        snapshots, offset = struct.unpack(">IQ", data[60:72])
        self.bytes = [(offset, 40 * snapshots + 40)] if snapshots else []

    @staticmethod
    def word(data, at):
        return struct.unpack(">Q", data[at:at + 8].ljust(8, b"\0"))[0]

    def add_table(self, data, at):
        table = self.word(data, at) & 0x00fffffffffffe00
        if table == 0 or table + self.cluster > len(data):
            return
        entries = [a for a in range(table, table + self.cluster, 8) if self.word(data, a)]
        self.words += entries + [table + 8 * 7]


def damage(data, rng):
    data = bytearray(data)
    places = Map(data)
    clusters = len(data) // places.cluster + 2
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        kind = rng.randrange(10)
        if kind < 6:
            at = rng.choice(places.words)
            old = places.word(data, at)
            new = rng.choice([
                lambda: old ^ (1 << rng.randrange(64)),
                lambda: 0,
                lambda: places.word(data, rng.choice(places.words)),
                lambda: old + rng.choice([512, places.cluster, -places.cluster, 1 << 40]),
                lambda: (old & ~0x00fffffffffffe00) | rng.randrange(clusters) * places.cluster,
                lambda: (old & ~0x00fffffffffffe00) | (places.table + rng.randrange(3) * places.cluster),
                lambda: old ^ (1 << 63),
            ])() & (1 << 64) - 1
            data[at:at + 8] = struct.pack(">Q", new)
        elif kind < 9:
            start, length = rng.choice(places.blocks + places.bytes)
            at = start + rng.randrange(min(length, 600 if rng.randrange(2) else 40))
            if at < len(data):
                data[at] = rng.choice([0, 1, 2, 255, data[at] ^ (1 << rng.randrange(8))])
        else:
            at = rng.choice([39, 43, 46, 47, 54, 55, 59, 63, 71, 79, 95])
            data[at] ^= 1 << rng.randrange(8)
    if rng.randrange(20) == 0:
        del data[rng.randrange(len(data) // 2, len(data)):]
    return bytes(data)


# QEMU 7.2 repairs some damaged images for ever. What usually takes milliseconds is then given up, as QEMU's failure.
ENDLESS = "QEMU's check does not end"


def check(program, name, *more):
    try:
        limit = 20 if program[0] == "qemu-img" else 60
        done = run(*program, "check", "--output=json", "-f", "qcow2", *more, name, timeout=limit)
    except subprocess.TimeoutExpired:
        if program[0] != "qemu-img":
            raise
        print(f"{ENDLESS}: {name} {' '.join(more)}", flush=True)
        return 1, {}, ENDLESS
    try:
        report = json.loads(done.stdout)
    except ValueError:
        report = {}
    return done.returncode, report, (done.stdout + done.stderr).decode(errors="replace")


def readable(name, out):
    """Whether QEMU can read the whole disk; the contents go to `out`."""
    return run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", name, out).returncode == 0


def left(report):
    """Damage left that penstock repairs where QEMU does.

    It does not write to tables that something else lies over, nor trust counts that have overflowed, nor make up what
    snapshots lack.
    """
    lines = report[2].splitlines()
    kept = [line for line in lines if "OFLAG_COPIED" in line or "overflow" in line or "is incomplete" in line]
    return report[1].get("corruptions", 0) - len(kept)


def compare_reports(mine, theirs, own):
    if theirs[2] == ENDLESS:
        return None
    if "Can't get refcount" in theirs[2]:  # QEMU gives up on damage that it is to find
        return None if mine[0] == 2 else f"exit status {mine[0]}"
    if "snapshot table reaches past the end" in mine[2]:  # QEMU takes zeroes for the rest
        return None if mine[0] == 1 else f"exit status {mine[0]}"
    if theirs[0] == 1 or mine[0] == 1:
        return None if theirs[0] == mine[0] else f"exit status {mine[0]}, qemu-img {theirs[0]}"
    if own:
        return None
    for key in COUNTS:
        if mine[1].get(key, 0) != theirs[1].get(key, 0):
            return f"{key} {mine[1].get(key, 0)}, qemu-img {theirs[1].get(key, 0)}"
    return None if mine[0] == theirs[0] else f"exit status {mine[0]}, qemu-img {theirs[0]}"


def one_round(penstock, name, rng):
    """What is wrong, or None."""
    original = open(name, "rb").read()
    broken = damage(original, rng)
    with open("broken.qcow2", "wb") as out:
        out.write(broken)
    theirs = check(["qemu-img"], "broken.qcow2")
    mine = check([penstock], "broken.qcow2")
    if mine[0] < 0 or mine[0] not in (0, 1, 2, 3):
        return f"exit status {mine[0]}"
    own = any(line in mine[2] for line in OWN_FINDINGS)
    # An entry that takes the header for a table finds something else in it after each repair.
    header_is_table = "4649fb" in mine[2]
    problem = compare_reports(mine, theirs, own)
    if problem is not None:
        return problem + "\n" + theirs[2] + "---\n" + mine[2]

    shutil.copy("broken.qcow2", "theirs.qcow2")
    shutil.copy("broken.qcow2", "mine.qcow2")
    before = readable("broken.qcow2", "before.raw")
    theirs_before = theirs
    their_repair = check(["qemu-img"], "theirs.qcow2", "-r", "all")
    my_repair = check([penstock], "mine.qcow2", "-r", "all")
    theirs = check(["qemu-img"], "theirs.qcow2")
    after = check(["qemu-img"], "mine.qcow2")
    if after[2] == ENDLESS:
        return f"after -r all: {ENDLESS}\n{my_repair[2]}"
    # qemu-img 7.2 forgets all snapshots when it clears an unknown autoclear bit before a repair.
    lost_snapshots = their_repair[1].get("leaks-fixed", 0) > theirs_before[1].get("leaks", 0) + 50
    comparable = 1 not in (my_repair[0], their_repair[0], theirs[0], after[0])
    comparable = comparable and not (own or header_is_table or lost_snapshots)
    if comparable and left(after) > left(theirs):
        return (f"after -r all: {after[2]}\n{my_repair[2]}\n--- qemu-img repaired: {their_repair[2]}"
                f"\n--- and left: {theirs[2]}")
    if my_repair[0] != 1 and after[1].get("leaks", 0) and not header_is_table:
        return f"leaks after -r all: {after[2]}"
    if before:
        if not readable("mine.qcow2", "after.raw"):
            return "unreadable after -r all"
        if open("before.raw", "rb").read() != open("after.raw", "rb").read():
            return f"guest data changed by -r all\n{my_repair[2]}"
    return None


def main():
    if shutil.which("qemu-img") is None:
        sys.exit(77)
    penstock = os.path.abspath(sys.argv[1])
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 200
    seed = int(os.environ.get("PENSTOCK_SEED", random.randrange(1 << 32)))
    print(f"PENSTOCK_SEED={seed}", flush=True)
    rng = random.Random(seed)
    failures = 0
    keep = os.environ.get("PENSTOCK_KEEP")
    with tempfile.TemporaryDirectory(dir=os.environ.get("PENSTOCK_TEST_DIRECTORY", "/var/tmp")) as directory:
        os.chdir(directory)
        must("qemu-img", "create", "-q", "-f", "raw", "base.raw", "1M")
        must("qemu-io", "-f", "raw", "-c", "write -P 77 0 1M", "base.raw")
        images = []
        for kind, options in KINDS.items():
            if kind == "packed":
                shutil.copy("base.raw", "old_base.raw")
            images.append(make_image(kind, options, rng))
            if kind == "packed":
                shutil.move("old_base.raw", "base.raw")
        for number in range(rounds):
            name = images[number % len(images)]
            problem = one_round(penstock, name, rng)
            if problem is None:
                continue
            failures += 1
            print(f"round {number}, {name}: {problem[:3000]}", flush=True)
            if keep:
                os.makedirs(keep, exist_ok=True)
                shutil.copy("broken.qcow2", os.path.join(keep, f"{number}-{name}"))
    print(f"{rounds} damaged images, {failures} failures")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
