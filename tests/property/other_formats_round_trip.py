#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""QED and add-cow images of every kind: made by penstock, changed through a mount from several threads, and read by
somebody else (QEMU, or the small reader beside this file), who must find what a plain file with the same changes holds.
QED images are made and changed by QEMU as well.

    other_formats_round_trip.py PENSTOCK [all | CASE...]     without cases a sample; PENSTOCK_SEED repeats a run
"""

import itertools
import os
import random
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from add_cow_reader import flatten  # noqa: E402
from random_changes import change_from_threads, first_difference  # noqa: E402
from round_trip import Wrong, main_of_cases, run, sum_of  # noqa: E402

KIB, MIB = 1 << 10, 1 << 20
BACKINGS = ["none", "raw", "qcow2", "qed"]
SAMPLE = 16


def matrix():
    for cluster, table, backing in itertools.product([4 * KIB, 64 * KIB, MIB], [1, 2, 4, 16], BACKINGS):
        yield f"qed-{cluster}-{table}-{backing}"
    for cluster, backing in itertools.product([4 * KIB, 64 * KIB, 2 * MIB], BACKINGS):
        yield f"add_cow-{cluster}-0-{backing}"


class Case:
    def __init__(self, name, seed, penstock, folder):
        self.name, self.penstock, self.folder = name, penstock, folder
        self.random = random.Random(f"{name} {seed}")
        self.form, cluster, table, self.backing = name.split("-")
        self.cluster, self.table = int(cluster), int(table)
        self.size = max(MIB, self.cluster * self.random.randint(3, 9)) + self.random.randint(0, 2047) * 512
        self.flag = {"qed": "qed", "add_cow": "add-cow"}[self.form]
        self.top, self.model = self.path("top." + self.form), self.path("model.raw")

    def path(self, name):
        return os.path.join(self.folder, name)

    def make_backing(self):
        if self.backing == "none":
            return []
        size = self.random.choice([self.size, self.size // 2, self.size * 3 // 2]) // 512 * 512
        with open(self.path("base.raw"), "wb") as file:
            file.truncate(size)
            for _ in range(6):
                at = self.random.randrange(size)
                file.seek(at)
                file.write(self.random.randbytes(min(size - at, self.random.randint(1, size // 4))))
        name = "base.raw"
        if self.backing != "raw":
            name = "base." + self.backing
            run("qemu-img", "convert", "-f", "raw", "-O", self.backing, self.path("base.raw"), self.path(name))
        return ["-b", name, "-F", self.backing]

    def make_top(self, reference):
        options = f"cluster_size={self.cluster}"
        if self.form == "qed":
            options += f",table_size={self.table}"
        else:
            options += ",image_file=top.data"
        # What only we can open is made by QEMU alone.
        create = "qemu-img" if self.form == "qed" and self.table == 1 else self.penstock
        run(create, "create", "-q", "-f", self.flag, *reference, "-o", options, self.top, str(self.size))
        if self.by_qemu() and self.random.random() < 0.7:
            at = self.random.randrange(0, self.size // 512 - 8) * 512
            run("qemu-io", "-f", "qed", "-c", f"write -P 77 {at} 2k", "-c", f"write -z 0 {self.cluster}", self.top)

    def by_qemu(self):
        # QEMU makes images with tables of one cluster, but cannot open them.
        return self.form == "qed" and self.table > 1

    def changes(self, model):
        mountpoint = tempfile.mkdtemp(prefix="mnt-", dir=self.folder)
        view = os.path.join(mountpoint, "top.raw")
        run(self.penstock, "mount", "-f", self.flag, self.top, mountpoint)
        try:
            shutil.copyfile(view, model)
            change_from_threads(view, model, self.cluster, self.random.randrange(1 << 62), threads=4, changes=60)
            at = first_difference(view, model)
            if at is not None:
                raise Wrong(f"the view differs from the model at {at}")
            run(self.penstock, "umount", mountpoint)
        except Exception:
            subprocess.run(["umount", "-l", mountpoint], check=False, stderr=subprocess.DEVNULL)
            raise

    def read_by_others(self):
        run(self.penstock, "check", self.top)
        run(self.penstock, "compare", "-f", self.flag, "-F", "raw", self.top, self.model)
        if self.form == "add_cow":
            with open(self.model, "rb") as file:
                if flatten(self.top) != file.read():
                    raise Wrong("the independent reader finds other contents")
        elif self.by_qemu():
            # QEMU counts leaks that do not exist where a file has many clusters; ours has found none.
            large = os.path.getsize(self.top) >= (self.cluster - 1) * self.cluster
            run("qemu-img", "check", "-q", "-f", "qed", self.top, allowed=(0, 3) if large else (0,))
            run("qemu-img", "compare", "-q", "-f", "qed", "-F", "raw", self.top, self.model)

    def run(self):
        self.make_top(self.make_backing())
        lower = {name: sum_of(self.path(name)) for name in os.listdir(self.folder) if name.startswith("base")}
        self.changes(self.model)
        self.read_by_others()
        self.changes(self.model)
        self.read_by_others()
        for name, before in lower.items():
            if sum_of(self.path(name)) != before:
                raise Wrong(f"{name}, which lies below the overlay, changed")


if __name__ == "__main__":
    main_of_cases(__doc__, matrix, SAMPLE, lambda *case: Case(*case).run())
