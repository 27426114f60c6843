# SPDX-License-Identifier: Apache-2.0
"""Does every file operation before, at, across and after the end of file, on a view and on a file on ext4, and compares
what the calls give and what both files hold afterwards.

  end_of_file_matrix.py VIEW ORACLE fixed|UNIT

ORACLE is a file on ext4 with the same size and contents as VIEW. fixed: the view's size does not change, and differs
from the oracle only in what would have to change it: writes end at the end of the disk (with ENOSPC behind it, and for
a direct write that crosses it), fallocate that would grow it gives EFBIG, truncate EPERM. UNIT: the view is resizable, and its sizes are rounded up to UNIT bytes.
"""
import ctypes
import errno
import mmap
import os
import sys

KEEP, PUNCH, ZERO = 1, 2, 16
SEEK_DATA, SEEK_HOLE = 3, 4
libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


def fallocate(fd, mode, offset, length):
    if libc.fallocate(fd, mode, offset, length) != 0:
        raise OSError(ctypes.get_errno(), "fallocate")
    return 0


def outcome(call, *arguments):
    try:
        return call(*arguments)
    except OSError as problem:
        return errno.errorcode[problem.errno]


# Long enough for the longest file; made once, since it takes longer than all calls of the matrix.
UNSALTED = bytes((i * 7 + (i >> 8) * 13) % 255 for i in range(1 << 20))


def pattern(length, salt):
    assert length <= len(UNSALTED)
    return UNSALTED[:length].translate(bytes((salt + value) % 255 + 1 for value in range(256)))


def aligned(data):
    buffer = mmap.mmap(-1, max(len(data), 4096))
    buffer[: len(data)] = data
    return memoryview(buffer)[: len(data)]


def direct_read(fd, length, offset):
    buffer = mmap.mmap(-1, max(length, 4096))
    got = os.preadv(fd, [memoryview(buffer)[:length]], offset)
    return bytes(buffer[:got])


class Matrix:
    def __init__(self, view, oracle, rule):
        self.paths = (view, oracle)
        self.fixed = rule == "fixed"
        self.unit = 1 if self.fixed else int(rule)
        self.view, self.oracle = (os.open(path, os.O_RDWR) for path in self.paths)
        self.direct = os.open(view, os.O_RDWR | os.O_DIRECT)
        self.count = 0
        self.failures = []

    def size(self):
        return os.fstat(self.oracle).st_size

    def check(self, what, got, wanted):
        self.count += 1
        if got != wanted:
            short = [v if not isinstance(v, bytes) or len(v) < 40 else f"{len(v)} bytes" for v in (got, wanted)]
            self.failures.append(f"{what} (size {self.size()}): gives {short[0]}, wanted {short[1]}")

    def same_contents(self, what):
        size = self.size()
        rounded = -(-size // self.unit) * self.unit
        if rounded != size:
            os.ftruncate(self.oracle, rounded)
            size = rounded
        self.check(what + ": size afterwards", os.stat(self.paths[0]).st_size, size)
        wanted = os.pread(self.oracle, size + 8192, 0)
        for fd, how in ((self.view, "buffered"), (self.direct, "direct")):
            read = os.pread if fd == self.view else direct_read
            got = read(fd, size + 8192, 0)
            if got != wanted:
                at = next((i for i, (a, b) in enumerate(zip(got, wanted)) if a != b), min(len(got), len(wanted)))
                self.failures.append(f"{what}: {how} contents differ at {at} (of {len(got)} and {len(wanted)} bytes)")
                os.pwrite(self.view, wanted[: os.fstat(self.view).st_size], 0)  # report each difference once
        self.count += 2

    def write(self, offset, length, salt, direct):
        what = f"write{' direct' if direct else ''} of {length} at {offset}"
        data = pattern(length, salt)
        size = self.size()
        fd = self.direct if direct else self.view
        got = outcome(os.pwrite, fd, aligned(data) if direct else data, offset)
        wanted = length
        if self.fixed and length > 0:
            wanted = "ENOSPC" if offset >= size else min(length, size - offset)
        if isinstance(wanted, int):
            os.pwrite(self.oracle, data[:wanted], offset)
            if direct and wanted < length:
                wanted = "ENOSPC"  # the kernel cannot report a short direct write of a FUSE file
        self.check(what, got, wanted)
        self.same_contents(what)

    def read(self, offset, length):
        wanted = outcome(os.pread, self.oracle, length, offset)
        self.check(f"read of {length} at {offset}", outcome(os.pread, self.view, length, offset), wanted)
        self.check(f"direct read of {length} at {offset}", outcome(direct_read, self.direct, length, offset), wanted)

    def allocate(self, mode, offset, length):
        name = {0: "fallocate", KEEP: "fallocate keep size", KEEP | PUNCH: "punch hole", ZERO: "zero range",
                KEEP | ZERO: "zero range keep size", PUNCH: "punch hole without keep size"}[mode]
        what = f"{name} of {length} at {offset}"
        got = outcome(fallocate, self.view, mode, offset, length)
        if self.fixed and mode in (0, ZERO) and offset >= 0 and length > 0 and offset + length > self.size():
            wanted = "EFBIG"
        else:
            wanted = outcome(fallocate, self.oracle, mode, offset, length)
        self.check(what, got, wanted)
        self.same_contents(what)

    def truncate(self, size):
        what = f"truncate to {size}"
        got = outcome(os.ftruncate, self.view, size)
        if self.fixed and size >= 0 and size != self.size():
            wanted = "EPERM"
        else:
            wanted = outcome(os.ftruncate, self.oracle, size)
        self.check(what, got, wanted)
        self.same_contents(what)

    def seek(self, offset):
        """Where blocks begin is the format's affair; that holes read as zero, and no data is passed over, is not."""
        size = self.size()
        for whence, name in ((SEEK_DATA, "SEEK_DATA"), (SEEK_HOLE, "SEEK_HOLE")):
            what = f"{name} from {offset}"
            got = outcome(os.lseek, self.view, offset, whence)
            if offset < 0 or offset >= size:
                self.check(what, got, outcome(os.lseek, self.oracle, offset, whence))
                continue
            self.count += 1
            if got == "ENXIO" and whence == SEEK_DATA:
                skipped = os.pread(self.oracle, size - offset, offset)
            elif isinstance(got, int) and offset <= got <= size and not (whence == SEEK_DATA and got == size):
                skipped = os.pread(self.oracle, got - offset, offset) if whence == SEEK_DATA else b""
                if whence == SEEK_HOLE and got < size:
                    data = outcome(os.lseek, self.view, got, SEEK_DATA)
                    end = size if data == "ENXIO" else data
                    skipped = os.pread(self.oracle, end - got, got)
            else:
                self.failures.append(f"{what} (size {size}): gives {got}")
                continue
            if any(skipped):
                self.failures.append(f"{what} (size {size}): gives {got} and passes over data")

    def places(self, length):
        """Offsets before, at, across and after the end, on and off sector, page and cluster borders."""
        size = self.size()
        around = [0, 1, 4096, 65536 - 3, size // 2 + 5, size - length - 1, size - length, size - length + 1,
                  size - length // 2, size - 513, size - 1, size, size + 1, size + 511, size + 4096, size + 70000]
        return sorted({offset for offset in around if offset >= 0})

    def run(self):
        start = self.size()
        lengths = [1, 511, 512, 4095, 4096, 5000, 65536, 200000]
        salt = 0
        self.same_contents("at the beginning")
        for length in lengths:
            for offset in self.places(length):
                self.read(offset, length)
                self.seek(offset)
        operations = [lambda o, n, s: self.write(o, n, s, False), lambda o, n, s: self.write(o, n, s, True)]
        operations += [lambda o, n, s, mode=mode: self.allocate(mode, o, n)
                       for mode in (KEEP | PUNCH, KEEP | ZERO, KEEP, ZERO, 0, PUNCH)]
        for number, operation in enumerate(operations):
            for length in lengths:
                for offset in self.places(length):
                    if number == 1 and (offset % 512 or length % 512) and not self.fixed:
                        continue  # ext4 refuses these; the view takes them, which fixed shows
                    salt += 1
                    operation(offset, length, salt)
            # Data again where it was zeroed, and the old size where it grew.
            if not self.fixed:
                self.truncate(start)
            self.write(0, self.size(), salt, False)
            self.allocate(KEEP | PUNCH, 130000, 150000)
            for offset in self.places(1):
                self.seek(offset)
        for mode in (0, KEEP, KEEP | PUNCH, ZERO, KEEP | ZERO):
            for offset, length in ((-1, 10), (0, 0), (0, -1), (self.size(), 0), (2**63 - 1, 1), (2**62, 2**62)):
                self.allocate(mode, offset, length)
        for size in (self.size(), self.size() - 1, self.size() + 1, 0, 1, 4096, start + 100000, start, -1):
            self.truncate(size)
        for path_flags in (os.O_WRONLY | os.O_APPEND,):
            fd = os.open(self.paths[0], path_flags)
            other = os.open(self.paths[1], path_flags)
            got = outcome(os.write, fd, b"appended")
            self.check("append", got, "ENOSPC" if self.fixed else os.write(other, b"appended"))
            self.same_contents("append")
            os.close(fd)
            os.close(other)
        for fd in (self.view, self.direct, self.oracle):
            os.fsync(fd)
            os.close(fd)


def main():
    matrix = Matrix(*sys.argv[1:])
    matrix.run()
    for failure in matrix.failures[:40]:
        print(failure, file=sys.stderr)
    print(f"{matrix.count} comparisons, {len(matrix.failures)} differences")
    sys.exit(1 if matrix.failures else 0)


main()
