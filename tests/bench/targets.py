# SPDX-License-Identifier: Apache-2.0
"""The programs that show an image as a file, each as a context: `file` is the view, `pids` are its daemons."""

import os
import shutil
import subprocess
import tempfile
import time

TICK = os.sysconf("SC_CLK_TCK")


def run(*command):
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def wait_for(condition, what):
    deadline = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited a minute for {what}")
        time.sleep(0.002)


def mounted(path):
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        return any(line.split()[1] == path for line in mounts)


class Target:
    """`image` in `image_format`, shown by one program. Tools are found through `tools`: name -> path."""

    name = "?"
    flat = False  # shows the flat file of the same contents, since it knows no formats
    needs = ()

    def __init__(self, image, image_format, folder, tools):
        self.image, self.format, self.folder, self.tools = image, image_format, folder, tools
        self.file, self.pids, self.daemons = image, [], []

    def point(self):
        return tempfile.mkstemp(dir=self.folder)[1]

    def start(self, *command):
        daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        self.daemons.append(daemon)
        self.pids.append(daemon.pid)
        return daemon

    def __enter__(self):
        self.open()
        return self

    def __exit__(self, *_):
        self.close()

    def open(self):
        pass

    def close(self):
        if mounted(self.file):
            subprocess.run(["umount", self.file], check=False, stdin=subprocess.DEVNULL)
        for daemon in self.daemons:
            if daemon.poll() is None:
                daemon.terminate()
            daemon.wait()
        if self.file != self.image:
            os.unlink(self.file)

    def cpu_seconds(self):
        """Of all daemons together, until now."""
        total = 0
        for pid in self.pids:
            with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
                fields = stat.read().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICK

    def peak_bytes(self):
        total = 0
        for pid in self.pids:
            with open(f"/proc/{pid}/status", encoding="utf-8") as status:
                total += sum(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM"))
        return total


class Plain(Target):
    """The file itself: the bound, not a rival."""

    name = "plain"
    flat = True


class Bare(Target):
    """bare.cpp: the least that a FUSE server can do."""

    name = "bare"
    flat = True

    def open(self):
        self.file = self.point()
        self.start(self.tools["bare"], self.image, self.file)
        wait_for(lambda: mounted(self.file), "the bare server")


class Penstock(Target):
    name = "penstock"

    def __init__(self, image, image_format, folder, tools, *flags):
        super().__init__(image, image_format, folder, tools)
        self.flags = flags

    def open(self):
        self.file = self.point()
        run(self.tools["penstock"], "mount", "-f", self.format, *self.flags, self.image, self.file)
        self.find_daemon()

    def find_daemon(self):
        # Field pid of the status, by way of the attribute that names the control socket.
        out = subprocess.check_output([self.tools["penstock"], "status", "--json", self.file], text=True)
        self.pids = [int(out.split('"pid":')[1].split(",")[0].split("}")[0])]

    def close(self):
        run(self.tools["penstock"], "umount", self.file)
        os.unlink(self.file)


class Qemu(Target):
    """qemu-storage-daemon's FUSE export, its file node with io_uring: its best setting."""

    name = "qemu"
    needs = ("qemu-storage-daemon",)
    aio = "io_uring"

    def open(self):
        self.file = self.point()
        # discard=unmap: punches are to give room back, as ours do.
        layers = ("driver={},node-name=n,discard=unmap,file.driver=file,file.discard=unmap,file.aio={},"
                  "file.filename={}").format(self.format, self.aio, self.image)
        self.start("qemu-storage-daemon", "--blockdev", layers, "--export",
                   f"type=fuse,id=e,node-name=n,mountpoint={self.file},writable=on")
        wait_for(lambda: mounted(self.file), "qemu-storage-daemon")


class Nbdfuse(Target):
    """qemu-nbd and nbdfuse in front of it."""

    name = "nbdfuse"
    needs = ("qemu-nbd", "nbdfuse")

    def open(self):
        self.file = self.point()
        path = os.path.join(self.folder, "nbd.socket")
        self.start("qemu-nbd", "-t", "-e", "8", "-f", self.format, "--aio", "io_uring", "-k", path, self.image)
        wait_for(lambda: os.path.exists(path), "qemu-nbd")
        self.start("nbdfuse", self.file, f"nbd+unix:///?socket={path}")
        wait_for(lambda: mounted(self.file), "nbdfuse")

    def close(self):
        run("fusermount3", "-u", self.file)
        self.daemons[1].wait()
        super().close()


class Qcowmount(Target):
    """libqcow's: read-only, and qcow2 without a backing file alone."""

    name = "qcowmount"
    needs = ("qcowmount",)

    def open(self):
        self.directory = tempfile.mkdtemp(dir=self.folder)
        self.start("qcowmount", "-f", self.image, self.directory)
        wait_for(lambda: mounted(self.directory), "qcowmount")
        self.file = os.path.join(self.directory, os.listdir(self.directory)[0])

    def close(self):
        run("umount", self.directory)
        for daemon in self.daemons:
            daemon.wait()
        os.rmdir(self.directory)


TARGETS = {target.name: target for target in (Penstock, Bare, Qemu, Nbdfuse, Qcowmount, Plain)}


def available(names):
    return [name for name in names if all(shutil.which(tool) for tool in TARGETS[name].needs)]
