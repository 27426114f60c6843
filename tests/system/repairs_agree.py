# SPDX-License-Identifier: Apache-2.0
"""For repairs-agree-with-qemu.sh: damages QED and qcow2 images, repairs them, and asks QEMU.

usage: repairs_agree.py PENSTOCK, in an empty directory
"""
import os
import shutil
import struct
import subprocess
import sys

KIB = 1 << 10
MIB = 1 << 20
COPIED = 1 << 63
OFFSET = 0x00FFFFFFFFFFFE00


def run(*arguments):
    return subprocess.run(arguments, capture_output=True, text=True, timeout=60)


def must(*arguments):
    done = run(*arguments)
    if done.returncode != 0:
        raise SystemExit(f"FAIL: {' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done.stdout


class File:
    """An image file as words."""

    def __init__(self, name, order):
        self.name, self.order = name, order

    def get(self, at, kind="Q"):
        with open(self.name, "rb") as file:
            file.seek(at)
            return struct.unpack(self.order + kind, file.read(struct.calcsize(kind)))[0]

    def put(self, at, value, kind="Q"):
        with open(self.name, "r+b") as file:
            file.seek(at)
            file.write(struct.pack(self.order + kind, value))

    def size(self):
        return os.path.getsize(self.name)

    def grow(self, length):
        os.truncate(self.name, self.size() + length)


class Qed(File):
    """Clusters of 4 KiB, tables of two of them: an L2 table maps 4 MiB."""

    cluster = 4 * KIB
    create = ["-f", "qed", "-o", "cluster_size=4k,table_size=2"]

    def __init__(self, name):
        super().__init__(name, "<")
        self.l1 = self.get(40)
        self.l2 = self.get(self.l1)

    def l2_at(self, index):
        return self.l2 + index * 8


class Qcow2(File):
    """Clusters of 4 KiB: an L2 table maps 2 MiB."""

    cluster = 4 * KIB
    create = ["-f", "qcow2", "-o", "cluster_size=4k"]

    def __init__(self, name):
        super().__init__(name, ">")
        self.l1 = self.get(40)
        self.l2 = self.get(self.l1) & OFFSET
        self.refcounts = self.get(48)
        self.block = self.get(self.refcounts)

    def l2_at(self, index):
        return self.l2 + index * 8

    def count_at(self, index):
        """Where the refcount of the host cluster of an entry lies."""
        return self.block + (self.get(self.l2_at(index)) & OFFSET) // self.cluster * 2


class Lazy(Qcow2):
    create = ["-f", "qcow2", "-o", "cluster_size=4k,lazy_refcounts=on"]


class Old(Qcow2):
    create = ["-f", "qcow2", "-o", "cluster_size=4k,compat=0.10"]


def entry(index, value):
    """The guest's cluster `index` is mapped by `value` from now on."""
    return lambda image: image.put(image.l2_at(index), value(image) if callable(value) else value)


def several(*damages):
    def do(image):
        for damage in damages:
            damage(image)
    return do


def behind_end(image):
    return image.size() + 16 * image.cluster


def flag(bit):
    return lambda image: image.put(72, image.get(72) | bit)


def need_check(image):
    image.put(16, image.get(16) | 2)


# name, kind, damage, guest ranges that are lost by it (then zero, or the backing file's), whether it can be repaired
CASES = [
    ("L1 entry 1", Qed, lambda i: i.put(i.l1, 1), [(0, 4 * MIB)], True),
    ("L1 entry misaligned", Qed, lambda i: i.put(i.l1, i.l2 + 512), [(0, 4 * MIB)], True),
    ("L1 entry behind the end", Qed, lambda i: i.put(i.l1, behind_end(i)), [(0, 4 * MIB)], True),
    ("L2 entry 2", Qed, entry(1, 2), [(4 * KIB, 4 * KIB)], True),
    ("L2 entry misaligned", Qed, entry(1, lambda i: i.get(i.l2_at(1)) + 512), [(4 * KIB, 4 * KIB)], True),
    ("L2 entry behind the end", Qed, entry(2, behind_end), [(8 * KIB, 4 * KIB)], True),
    ("L2 entry 2^63", Qed, entry(0, 1 << 63), [(0, 4 * KIB)], True),
    ("leak at the end", Qed, lambda i: i.grow(3 * i.cluster), [], True),
    ("not closed", Qed, need_check, [], True),
    ("not closed, entry behind the end", Qed, several(need_check, entry(3, behind_end)), [(12 * KIB, 4 * KIB)], True),
    ("not closed, leak", Qed, several(need_check, lambda i: i.grow(i.cluster)), [], True),
    ("cluster named twice", Qed, entry(200, lambda i: i.get(i.l2_at(0))), None, False),
    ("table named twice", Qed, lambda i: i.put(i.l1 + 8, i.l2), None, False),
    ("cluster in a table", Qed, entry(200, lambda i: i.l2), None, False),
    ("leak", Qcow2, entry(1, 0), [(4 * KIB, 4 * KIB)], True),
    ("count too high", Qcow2, lambda i: i.put(i.count_at(1), 3, "H"), [], True),
    ("count too low", Qcow2, lambda i: i.put(i.count_at(1), 0, "H"), [], True),
    ("counts of all clusters gone", Qcow2, lambda i: [i.put(i.block + at, 0) for at in range(0, i.cluster, 8)], [],
     True),
    ("cluster counted that is not there", Qcow2, lambda i: i.put(i.block + 500, 1, "H"), [], True),
    ("COPIED missing in L2", Qcow2, entry(1, lambda i: i.get(i.l2_at(1)) & ~COPIED), [], True),
    ("COPIED missing in L1", Qcow2, lambda i: i.put(i.l1, i.get(i.l1) & ~COPIED), [], True),
    ("cluster named twice", Qcow2, entry(1, lambda i: i.get(i.l2_at(0))), None, True),
    ("no refcount block", Qcow2, lambda i: i.put(i.refcounts, 0), [], True),
    ("refcount block behind the end", Qcow2, lambda i: i.put(i.refcounts, behind_end(i)), [], True),
    ("preallocated zero misaligned", Qcow2, entry(1, lambda i: i.get(i.l2_at(1)) + 512 | 1), [(4 * KIB, 4 * KIB)],
     True),
    ("corrupt bit", Qcow2, flag(2), [], True),
    ("dirty, count too low", Lazy, several(flag(1), lambda i: i.put(i.count_at(2), 0, "H")), [], True),
    ("dirty, count too high", Lazy, several(flag(1), lambda i: i.put(i.count_at(2), 7, "H")), [], True),
    ("version 2, leak", Old, entry(1, 0), [(4 * KIB, 4 * KIB)], True),
    ("version 2, count too low", Old, lambda i: i.put(i.count_at(1), 0, "H"), [], True),
    ("data misaligned", Qcow2, entry(1, lambda i: i.get(i.l2_at(1)) + 512), None, False),
    ("data behind the end", Qcow2, entry(1, lambda i: behind_end(i) | COPIED), None, False),
    ("reserved bit", Qcow2, entry(1, lambda i: i.get(i.l2_at(1)) | 2), None, False),
]


def make(kind, backing):
    """10 MiB: data in the first four clusters and elsewhere, zeroes in the fifth."""
    flags = ["-b", "base.raw", "-F", "raw"] if backing else []
    must("qemu-img", "create", "-q", *kind.create, *flags, "image", "10M")
    must("qemu-io", "-c", "write -P 1 0 4k", "-c", "write -P 2 4k 4k", "-c", "write -P 3 8k 8k", "-c", "write -z 16k 4k",
         "-c", "write -P 4 1M 20k", "-c", "write -P 5 9M 4k", "image")
    must("qemu-img", "convert", "-O", "raw", "image", "model.raw")


def contents(name):
    with open(name, "rb") as file:
        return file.read()


def check(penstock, kind, name, damage, lost, mended, backing):
    make(kind, backing)
    image = kind("image")
    damage(image)
    shutil.copy("image", "damaged")
    what = f"{kind.__name__}, {name}, {'over a backing file' if backing else 'alone'}"
    ours = run(penstock, "check", "-r", "all", "image")
    theirs = run("qemu-img", "check", "image")
    if not mended:
        if ours.returncode != 2 or theirs.returncode != 2:
            raise SystemExit(f"FAIL: {what}: exit {ours.returncode} and QEMU's {theirs.returncode}, not 2:\n{ours.stdout}"
                             f"{ours.stderr}{theirs.stdout}{theirs.stderr}")
        # qcow2's flags are true again where that can be known; entries lead where they led.
        mask = ~COPIED if image.order == ">" else -1
        old = File("damaged", image.order)
        for index in [0, 1, 2, 3, 4, 200]:
            if image.get(image.l2_at(index)) & mask != old.get(image.l2_at(index)) & mask:
                raise SystemExit(f"FAIL: {what}: L2 entry {index} was changed")
        return
    # What an entry led to is lost room in a QED image: the format has no free list.
    leaks = 3 if kind is Qed and lost and ours.returncode == 3 else 0
    if ours.returncode != leaks:
        raise SystemExit(f"FAIL: {what}: exit {ours.returncode}:\n{ours.stdout}{ours.stderr}")
    if theirs.returncode != leaks:
        raise SystemExit(f"FAIL: {what}: qemu-img check exits {theirs.returncode}:\n{theirs.stdout}{theirs.stderr}"
                         f"after\n{ours.stdout}")
    if run(penstock, "check", "-q", "image").returncode != leaks:
        raise SystemExit(f"FAIL: {what}: not clean in a second look")
    must("qemu-img", "convert", "-O", "raw", "image", "after.raw")
    if lost is None:  # the damage itself shows something: it stays
        must("qemu-img", "convert", "-O", "raw", "damaged", "model.raw")
    model = bytearray(contents("model.raw"))
    zero_flag = "preallocated zero" in name
    for at, length in lost or []:
        shown = base[at:at + length] if backing and not zero_flag else bytes(length)
        model[at:at + length] = shown
    if contents("after.raw") != model:
        raise SystemExit(f"FAIL: {what}: the guest sees something else than before")


base = bytes([0xB5]) * (10 * MIB)
with open("base.raw", "wb") as file:
    file.write(base)
done = 0
for name, kind, damage, lost, mended in CASES:
    for backing in False, True:
        check(sys.argv[1], kind, name, damage, lost, mended, backing)
        done += 1
if contents("base.raw") != base:
    raise SystemExit("FAIL: the backing file was changed")
print(f"-- {done} images repaired or left alone as QEMU would")
