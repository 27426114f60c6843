# SPDX-License-Identifier: Apache-2.0
"""The programs that show an image as a file, each as a context: `file` is the view, `pids` are its daemons.

A program that does not come up, or goes down, is a Failure with one line that says why.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

TICK = os.sysconf("SC_CLK_TCK")
PATIENCE_SECONDS = 60


class Failure(Exception):
    """Of a program; its text is one line."""


# What may go wrong with a program that is measured. Everything else is a mistake of the benchmark's own.
FAILURES = (Failure, OSError, RuntimeError, subprocess.SubprocessError, ValueError)


def interruptible():
    """Every way of being told to end is one that cleans up."""
    def interrupt(*_):
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return ": " + lines[-1] if lines else ""


def how_it_ended(status):
    if status >= 0:
        return f"ended with exit status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"


def output_of(*command):
    """What a command prints that succeeds."""
    try:
        done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              errors="replace")
    except OSError as error:
        raise Failure(f"{command[0]}: {error.strerror}") from error
    if done.returncode != 0:
        raise Failure(f"{os.path.basename(command[0])} {how_it_ended(done.returncode)}{last_line(done.stderr)}")
    return done.stdout


def run(*command):
    output_of(*command)


def wait_for(condition, what, daemons=()):
    """Until `condition` holds. Whoever is to see to it must be alive."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        for daemon in daemons:
            if daemon.poll() is not None:
                raise Failure(f"{what} {how_it_ended(daemon.returncode)}")
        if time.monotonic() > deadline:
            raise Failure(f"waited {PATIENCE_SECONDS} seconds for {what}")
        time.sleep(0.0005)


def mount_points():
    """The kernel writes blanks and the like as three octal digits."""
    with open("/proc/self/mounts", "rb") as mounts:
        for line in mounts:
            point = re.sub(rb"\\([0-7]{3})", lambda code: bytes([int(code[1], 8)]), line.split()[1])
            yield os.fsdecode(point)


def mounted(path):
    return path in mount_points()


def unmount(path):
    """However it is; a view that is in use goes when its last user does."""
    for lazily in ("-u", "-uz"):
        if mounted(path):
            subprocess.run(["fusermount3", lazily, path], check=False, stdin=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)


class Folder:
    """One to work in, as a context. Nothing is mounted below it any more when it goes."""

    def __enter__(self):
        # By its real name: as it is among the mounts.
        self.path = os.path.realpath(tempfile.mkdtemp(prefix="penstock-bench-",
                                                      dir=os.environ.get("PENSTOCK_TEST_DIRECTORY", "/var/tmp")))
        return self.path

    def __exit__(self, *_):
        for point in list(mount_points()):
            if point.startswith(self.path + "/"):
                unmount(point)
        shutil.rmtree(self.path, ignore_errors=True)


class Lineup:
    """Who takes part. Whoever fails once is left out from then on, with a line that says so."""

    def __init__(self, names):
        self.names, self.left_out = list(names), {}
        for name in names:
            missing = [tool for tool in TARGETS[name].needs if not shutil.which(tool)] if name in TARGETS else []
            if missing:
                self.leave_out(name, f"{missing[0]} is not installed")

    def leave_out(self, name, why):
        self.left_out[name] = why
        print(f"{os.path.basename(sys.argv[0])}: {name} is left out: {why}", file=sys.stderr, flush=True)

    def attempt(self, name, measure, *arguments):
        """What `measure` finds; nothing if `name` is left out."""
        if name in self.left_out:
            return None
        try:
            return measure(*arguments)
        except FAILURES as error:
            self.leave_out(name, " ".join(str(error).split()))
            return None


class Target:
    """`image` in `image_format`, shown by one program. Tools are found through `tools`: name -> path."""

    name = "?"
    flat = False  # shows the flat file of the same contents, since it knows no formats
    needs = ()

    def __init__(self, image, image_format, folder, tools):
        self.image, self.format, self.folder, self.tools = image, image_format, folder, tools
        self.file, self.pids, self.daemons = image, [], []
        self.point = None  # where it is mounted

    def make_point(self):
        descriptor, self.point = tempfile.mkstemp(dir=self.folder)
        os.close(descriptor)
        return self.point

    def launch(self, *command):
        # Into a file: a pipe that nobody reads would hold it up.
        with tempfile.TemporaryFile(dir=self.folder, buffering=0) as errors:
            try:
                daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors)
            except OSError as error:
                raise Failure(f"{command[0]}: {error.strerror}") from error
            daemon.errors = os.dup(errors.fileno())
        self.daemons.append(daemon)
        self.pids.append(daemon.pid)

    def wait_until_mounted(self, what):
        wait_for(lambda: mounted(self.point), what, self.daemons)

    def death(self):
        """Which of its daemons has ended, and why: the cause of any trouble with the view."""
        for daemon in self.daemons:
            if daemon.poll() is not None:
                said = os.pread(daemon.errors, 1 << 16, max(0, os.fstat(daemon.errors).st_size - (1 << 16)))
                return (f"{os.path.basename(daemon.args[0])} {how_it_ended(daemon.returncode)}"
                        + last_line(said.decode(errors="replace")))
        return None

    def __enter__(self):
        try:
            self.open()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(self, kind, error, _):
        death = self.death() if error is not None else None
        try:
            self.close()
        except FAILURES:
            if error is None:
                raise
        finally:
            self.remove()
        if death and isinstance(error, FAILURES):
            raise Failure(death) from error

    def open(self):
        pass

    def close(self):
        """As its users do."""

    def remove(self):
        """Whatever of it is left."""
        if self.point and mounted(self.point):
            unmount(self.point)
        for daemon in reversed(self.daemons):  # nbdfuse still asks its server
            if daemon.poll() is None:
                daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
            os.close(daemon.errors)
        self.daemons = []
        if self.point and os.path.isdir(self.point):
            os.rmdir(self.point)
        elif self.point:
            os.unlink(self.point)
        self.point = None

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
        self.file = self.make_point()
        self.launch(self.tools["bare"], self.image, self.file)
        self.wait_until_mounted("the bare server")


class Penstock(Target):
    name = "penstock"

    def __init__(self, image, image_format, folder, tools, *flags):
        super().__init__(image, image_format, folder, tools)
        self.flags = flags

    def open(self):
        self.file = self.make_point()
        run(self.tools["penstock"], "mount", "-f", self.format, *self.flags, self.image, self.file)
        self.find_daemon()

    def find_daemon(self):
        # Field pid of the status, by way of the attribute that names the control socket.
        out = output_of(self.tools["penstock"], "status", "--json", self.file)
        self.pids = [int(out.split('"pid":')[1].split(",")[0].split("}")[0])]

    def close(self):
        if mounted(self.point):
            run(self.tools["penstock"], "umount", self.point)


class Qemu(Target):
    """qemu-storage-daemon's FUSE export, its file node with io_uring: its best setting."""

    name = "qemu"
    needs = ("qemu-storage-daemon",)
    aio = "io_uring"
    # discard=unmap: punches are to give room back, as ours do.
    layers = ("driver={},node-name=n,discard=unmap,file.driver=file,file.discard=unmap,file.aio={},file.filename={}")
    writable = "on"

    def open(self, *options):
        self.file = self.make_point()
        self.launch("qemu-storage-daemon", "--blockdev",
                    self.layers.format(self.format, self.aio, self.image.replace(",", ",,")), *options, "--export",
                    f"type=fuse,id=e,node-name=n,mountpoint={self.file.replace(',', ',,')},writable={self.writable}")
        self.wait_until_mounted("qemu-storage-daemon")


class Nbdfuse(Target):
    """qemu-nbd and nbdfuse in front of it."""

    name = "nbdfuse"
    needs = ("qemu-nbd", "nbdfuse")

    def open(self):
        self.file = self.make_point()
        path = self.point + ".socket"
        self.launch("qemu-nbd", "-t", "-e", "8", "-f", self.format, "--aio", "io_uring", "-k", path, self.image)
        wait_for(lambda: os.path.exists(path), "qemu-nbd", self.daemons)
        self.launch("nbdfuse", self.file, f"nbd+unix:///?socket={path}")
        self.wait_until_mounted("nbdfuse")


class Qcowmount(Target):
    """libqcow's: read-only, and qcow2 without a backing file alone."""

    name = "qcowmount"
    needs = ("qcowmount",)

    def open(self):
        self.point = tempfile.mkdtemp(dir=self.folder)
        # -v: in the foreground, and no more words in a program that is built as Debian does.
        self.launch("qcowmount", "-v", self.image, self.point)
        self.wait_until_mounted("qcowmount")
        self.file = os.path.join(self.point, os.listdir(self.point)[0])


TARGETS = {target.name: target for target in (Penstock, Bare, Qemu, Nbdfuse, Qcowmount, Plain)}
