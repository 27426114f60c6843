# SPDX-License-Identifier: Apache-2.0
"""The images that are measured: made once, copied for every measurement that writes."""

import contextlib
import os
import random
import tempfile

from targets import run

CLUSTER = 64 << 10
MIB = 1 << 20


def settle(path, small=False):
    """Has the page cache hold all data of a file, in pieces that are the same whoever wrote it and however.

    Linux (ext4, 6.18) keeps a file in folios as large as it was written or read at a time, and a write of 4 KiB costs
    three times as much in a folio of 2 MiB as in one of 4 KiB. `small`: of 4 KiB. Else as reading ahead makes them.
    """
    with open(path, "rb", buffering=0) as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        if small:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        offset = 0
        while True:
            try:
                offset = os.lseek(file.fileno(), offset, os.SEEK_DATA)
            except OSError:  # ENXIO: a hole up to the end
                return
            end = os.lseek(file.fileno(), offset, os.SEEK_HOLE)
            while offset < end:
                offset += len(os.pread(file.fileno(), min(MIB, end - offset), offset))


class Images:
    """`size` is that of the disk with random bytes in all clusters, `image_format` that of what is shown."""

    def __init__(self, folder, size, image_format, penstock):
        self.folder, self.size, self.format, self.penstock = folder, size, image_format, penstock
        self.made = {}

    def path(self, name):
        return os.path.join(self.folder, name)

    def flat(self, kind):
        """The raw file with the same contents, for what knows no formats."""
        return self.get("raw sparse" if kind == "fresh" else "raw packable" if kind == "compressed" else "raw")

    def format_of(self, kind):
        """The chain and the compressed image are qcow2 whatever is asked for: no other format has them."""
        return "qcow2" if kind.startswith(("chain", "compressed", "huge")) else self.format

    def get(self, kind):
        """The image of that kind; not to be written."""
        if kind not in self.made:
            self.made[kind] = self.make(kind)
            self.warm()
        return self.made[kind]

    def warm(self):
        """All of them in the page cache again, and in the same way: as whoever reads them from end to end leaves it."""
        os.sync()
        for entry in os.scandir(self.folder):
            if entry.is_file():
                settle(entry.path)

    @contextlib.contextmanager
    def copied(self, path):
        """A new one that may be written, warm in the page cache, in small pieces."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            out = os.path.join(folder, os.path.basename(path))
            run("cp", "--sparse=auto", path, out)  # what was a hole stays one: a fresh file is as fresh for all
            if os.path.exists(path + ".data"):  # add-cow's raw file, which it knows by a relative name
                run("cp", "--sparse=auto", path + ".data", out + ".data")
                settle(out + ".data", True)
            settle(out, True)
            yield out

    def create(self, name, *arguments):
        # QEMU's tools where they can: the images are the same for all.
        if self.format == "add-cow":
            run(self.penstock, "create", "-q", "-f", "add-cow", "-o", f"image_file={os.path.basename(name)}.data",
                *arguments)
        else:
            run("qemu-img", "create", "-q", "-f", self.format, *arguments)

    def make(self, kind):
        path = self.path(kind.replace(" ", "-") + "." + self.format)
        if kind == "raw":
            path = self.path("full.raw")
            with open(path, "wb") as file:
                for _ in range(self.size // MIB):
                    file.write(os.urandom(MIB))
        elif kind == "raw packable":
            # Packs to about a half, as programs and text do.
            path = self.path("packable.raw")
            with open(path, "wb") as file:
                for _ in range(self.size // MIB):
                    file.write(b"".join(os.urandom(64) + bytes(64) for _ in range(MIB // 128)))
        elif kind == "raw sparse":
            path = self.path("sparse.raw")
            with open(path, "wb") as file:
                file.truncate(self.size)
        elif kind == "full":
            if self.format == "add-cow":
                run(self.penstock, "convert", "-q", "-f", "raw", "-O", "add-cow", "-o",
                    f"image_file={os.path.basename(path)}.data", self.get("raw"), path)
            else:
                run("qemu-img", "convert", "-f", "raw", "-O", self.format, self.get("raw"), path)
        elif kind in ("overlay", "fresh"):
            run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", self.get("raw"), self.path(kind + "-base.qcow2"))
            self.create(path, "-b", self.path(kind + "-base.qcow2"), "-F", "qcow2", path)
        elif kind == "compressed":
            run("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", self.get("raw packable"), path)
        elif kind.startswith("chain"):
            self.make_chain(path, int(kind.split()[1]))
        elif kind.startswith("huge"):
            self.make_huge(path, kind.split()[1])
        return path

    def make_chain(self, top, depth):
        """Every cluster lies in one layer or another, over a base that has them all."""
        source = random.Random(depth)
        below, below_format = self.get("raw"), "raw"
        places = [[] for _ in range(depth)]
        for cluster in range(self.size // CLUSTER):
            places[source.randrange(depth)].append(cluster)
        for layer in range(depth):
            path = top if layer == depth - 1 else f"{top}.{layer}"
            run("qemu-img", "create", "-q", "-f", "qcow2", "-b", below, "-F", below_format, path)
            writes = [word for cluster in places[layer]
                      for word in ("-c", f"write -q -P {layer + 1} {cluster * CLUSTER} {CLUSTER}")]
            for first in range(0, len(writes), 2000):
                run("qemu-io", "-f", "qcow2", *writes[first:first + 2000], path)
            below, below_format = path, "qcow2"

    def make_huge(self, path, size):
        """All of its tables are there, all of its data are holes of the file."""
        run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "preallocation=metadata", path, size)
