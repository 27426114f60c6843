#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Overlays of every format over bases of every kind are streamed through a mount while threads write, read and discard:
afterwards, with the backing files out of reach, somebody else (QEMU, or the small reader beside this file) finds in the
image alone what a plain file with the same changes holds.

    stream_round_trip.py PENSTOCK [all | CASE...]     without cases a sample; PENSTOCK_SEED repeats a run
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
FORMATS = {"qed": ("qed", "cluster_size=4096"), "v3": ("qcow2", "cluster_size=4096"),
           "v2": ("qcow2", "compat=0.10,cluster_size=8192"), "extended": ("qcow2", "extended_l2=on,cluster_size=16384"),
           "add_cow": ("add-cow", "cluster_size=4096,image_file=top.data")}
BASES = ["raw", "compressed", "chain"]
SAMPLE = 6


def matrix():
    for form, base in itertools.product(FORMATS, BASES):
        yield f"{form}-{base}"


class Case:
    def __init__(self, name, seed, penstock, folder):
        self.penstock, self.folder = penstock, folder
        self.random = random.Random(f"{name} {seed}")
        form, self.base = name.split("-")
        self.format, self.options = FORMATS[form]
        self.size = 6 * MIB + self.random.randint(0, 4095) * 512
        self.top, self.model = self.path("top." + self.format), self.path("model.raw")

    def path(self, name):
        return os.path.join(self.folder, name)

    def below(self, name):
        return os.path.join(self.folder, "below", name)

    def make_base(self):
        """The name and format of the layer below the top."""
        os.mkdir(self.path("below"))
        size = self.random.choice([self.size, self.size // 2, self.size * 3 // 2]) // 512 * 512
        with open(self.below("base.raw"), "wb") as file:
            file.truncate(size)
            for _ in range(12):
                at = self.random.randrange(size)
                file.seek(at)
                file.write(self.random.randbytes(min(size - at, self.random.randint(1, size // 8))))
        if self.base == "raw":
            return "base.raw", "raw"
        if self.base == "compressed":
            run("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", self.below("base.raw"), self.below("base.qcow2"))
            return "base.qcow2", "qcow2"
        name, form = "base.raw", "raw"
        for number, (layer_form, options) in enumerate([("qcow2", "compat=0.10"), ("qed", "cluster_size=4096"),
                                                       ("qcow2", "extended_l2=on"), ("qed", "table_size=2")]):
            layer = f"layer{number}.{layer_form}"
            run("qemu-img", "create", "-q", "-f", layer_form, "-b", name, "-F", form, "-o", options,
                self.below(layer), str(self.size - number * 65536))
            for _ in range(3):
                at = self.random.randrange(0, (self.size - 512 * KIB) // 512) * 512
                change = self.random.choice(["-P 99", "-z", "-P 44"])
                run("qemu-io", "-f", layer_form, "-c", f"write {change} {at} 100k", self.below(layer))
            name, form = layer, layer_form
        return name, form

    def stream(self, life):
        """One mount with changes; the last one waits for the end of the job."""
        mountpoint = tempfile.mkdtemp(prefix="mnt-", dir=self.folder)
        view = os.path.join(mountpoint, "top.raw")
        slow = ["--stream-speed", "128k"] if life == 0 else []
        reading = ["--copy-on-read"] if self.random.random() < 0.5 else []
        wish = ["--stream"] if life == 0 else []  # remembered
        run(self.penstock, "mount", "-f", self.format, *wish, *slow, *reading, self.top, mountpoint)
        try:
            if life == 0:
                shutil.copyfile(view, self.model)
            change_from_threads(view, self.model, 8192, self.random.randrange(1 << 62), threads=3, changes=60)
            if life == 1 and not self.complete:  # copy-on-read may have fetched all of it
                run(self.penstock, "stream", "wait", mountpoint)
            at = first_difference(view, self.model)
            if at is not None:
                raise Wrong(f"life {life}: the view differs from the model at {at}")
            said = run(self.penstock, "umount", mountpoint)
            if life == 0 and "next mount goes on" not in said and "needs no backing file" not in said:
                raise Wrong(f"umount says: {said}")
            if life == 1 and not self.complete and "needs no backing file" not in said:
                raise Wrong(f"umount says: {said}")
            self.complete = "needs no backing file" in said
        except Exception:
            subprocess.run(["umount", "-l", mountpoint], check=False, stderr=subprocess.DEVNULL)
            raise

    def read_by_others(self):
        run(self.penstock, "check", self.top)
        run(self.penstock, "compare", "-f", self.format, "-F", "raw", self.top, self.model)
        if self.format == "add-cow":
            with open(self.model, "rb") as file:
                wanted = file.read()
            if flatten(self.top) != wanted:
                raise Wrong("the independent reader finds other contents")
            with open(self.path("top.data"), "rb") as file:
                if file.read() != wanted:
                    raise Wrong("the raw file alone holds other contents")
        else:
            run("qemu-img", "check", "-q", "-f", self.format, self.top)
            run("qemu-img", "compare", "-q", "-f", self.format, "-F", "raw", self.top, self.model)
            if "backing file" in run("qemu-img", "info", "-f", self.format, self.top):
                raise Wrong("the image still names a backing file")

    def run(self):
        name, form = self.make_base()
        run(self.penstock, "create", "-q", "-f", self.format, "-b", os.path.join("below", name), "-F", form, "-o",
            self.options, self.top, str(self.size))
        lower = {file: sum_of(self.below(file)) for file in os.listdir(self.path("below"))}
        self.stream(0)
        self.stream(1)
        for file, before in lower.items():
            if sum_of(self.below(file)) != before:
                raise Wrong(f"{file}, which lies below the overlay, changed")
        os.rename(self.path("below"), self.path("away"))
        self.read_by_others()


if __name__ == "__main__":
    main_of_cases(__doc__, matrix, SAMPLE, lambda *case: Case(*case).run())
