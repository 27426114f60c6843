#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The benchmark goes on without a program that fails, and tells what it measured, however it ends.

All programs are made here: each is a shell script in a folder that is the whole PATH besides the system's own.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import unittest

sys.dont_write_bytecode = True
BENCH = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "bench")
sys.path.insert(0, BENCH)
import targets  # noqa: E402

SIDE = '{"iops": 1234.0, "bw_bytes": 1048576, "total_ios": 10}'
FIO = f"echo 'fio: a warning'; echo '{{\"jobs\": [{{\"read\": {SIDE}, \"write\": {SIDE}}}]}}'"
GOOD = {
    "fio": FIO,
    "qemu-img": 'if [ "$1" = --version ]; then echo qemu-img version 7.2; else for last; do :; done; echo x >"$last"; fi',
    "qemu-io": "exit 0",
}
WORKLOAD = "4k random read, depth 1"


class Bench(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.work = os.path.join(self.folder, "a b,c:d")
        os.mkdir(self.work)
        self.programs = os.path.join(self.folder, "programs")
        os.mkdir(self.programs)

    def program(self, name, text):
        path = os.path.join(self.programs, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"#!/bin/sh\n{text}\n")
        os.chmod(path, 0o755)
        return path

    def bench(self, names, rounds=2, only=WORKLOAD, **more):
        """Exit status, standard output, lines of standard error but for those that tell how far it is, what is in the JSON."""
        for name, text in {**GOOD, **more}.items():
            if text is not None:
                self.program(name, text)
        result = os.path.join(self.folder, "json")
        done = subprocess.run(
            [sys.executable, os.path.join(BENCH, "bench.py"), "--penstock", os.path.join(self.programs, "penstock"),
             "--bare", os.path.join(self.programs, "bare"), "--mib", "1", "--rounds", str(rounds), "--only", only,
             "--targets", names, "--json", result],
            env={**os.environ, "PATH": self.programs + ":/usr/bin:/bin", "PENSTOCK_TEST_DIRECTORY": self.work},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=50, check=False)
        self.assertEqual(os.listdir(self.work), [], "something is left behind")
        lines = [line for line in done.stderr.splitlines() if not line.startswith("round ")]
        with open(result, encoding="utf-8") as file:
            return done.returncode, done.stdout, lines, json.load(file)

    def measured(self, found):
        return {m["target"]: len(m["values"]) for m in found["measurements"]}

    def test_all_is_well(self):
        status, out, said, found = self.bench("plain")
        self.assertEqual((status, said, self.measured(found)), (0, [], {"plain": 2}))
        self.assertIn("1234", out)

    def test_a_peer_that_is_not_there_crashes_or_ends(self):
        for text, why in [("echo first >&2; echo 'no io_uring here' >&2; exit 3",
                           "qemu-storage-daemon ended with exit status 3: no io_uring here"),
                          ("kill -SEGV $$", "qemu-storage-daemon was ended by SIGSEGV"),
                          ("exit 0", "qemu-storage-daemon ended with exit status 0")]:
            with self.subTest(why=why):
                began = time.monotonic()
                status, out, said, found = self.bench("qemu,plain", **{"qemu-storage-daemon": text})
                self.assertEqual((status, said), (0, [f"bench.py: qemu is left out: {why}"]))
                self.assertEqual(self.measured(found), {"plain": 2})
                self.assertIn("1234", out)
                self.assertLess(time.monotonic() - began, targets.PATIENCE_SECONDS / 2)

    def test_a_peer_that_is_not_installed(self):
        status, _, said, found = self.bench("bare,plain")
        self.assertEqual(status, 0)
        self.assertEqual(said, [f"bench.py: bare is left out: {self.programs}/bare: No such file or directory"])
        self.assertEqual(self.measured(found), {"plain": 2})

    def test_penstock_that_fails_is_left_out_and_told_by_the_exit_status(self):
        status, out, said, found = self.bench("penstock,plain", penstock="echo 'penstock: no, since' >&2; exit 1")
        self.assertEqual(status, 1)
        self.assertEqual(said, ["bench.py: penstock is left out: penstock ended with exit status 1: penstock: no, since"])
        self.assertEqual(self.measured(found), {"plain": 2})
        self.assertIn("1234", out)

    def test_what_was_measured_is_told_when_the_rest_fails(self):
        # The plain file comes first; penstock's image cannot be made.
        broken = 'if [ "$1" = --version ]; then echo qemu-img version 7.2; else echo "no space" >&2; exit 1; fi'
        status, out, said, found = self.bench("plain,penstock", **{"qemu-img": broken})
        self.assertEqual((status, said), (1, ["bench.py: gives up: qemu-img ended with exit status 1: no space"]))
        self.assertEqual(self.measured(found), {"plain": 1})
        self.assertIn("1234", out)

    def test_interrupted(self):
        # In its second round.
        fio = f'echo >>"$0.calls"; [ "$(wc -l <"$0.calls")" -lt 2 ] || {{ kill -INT $PPID; sleep 1; }}; {FIO}'
        status, out, said, found = self.bench("plain", fio=fio)
        self.assertEqual((status, said, self.measured(found)), (130, ["bench.py: interrupted"], {"plain": 1}))
        self.assertIn("1234", out)


class Waiting(unittest.TestCase):
    def test_a_mount_that_never_appears(self):
        with tempfile.TemporaryDirectory() as folder:
            target = targets.Target("image", "raw", folder, {})
            target.make_point()
            target.launch("sleep", "1000")
            patience, targets.PATIENCE_SECONDS = targets.PATIENCE_SECONDS, 0.1
            try:
                with self.assertRaisesRegex(targets.Failure, "waited 0.1 seconds for sleep"):
                    target.wait_until_mounted("sleep")
            finally:
                targets.PATIENCE_SECONDS = patience
            daemon = target.daemons[0]
            target.remove()
            self.assertIsNotNone(daemon.returncode)
            self.assertEqual(os.listdir(folder), [])


if __name__ == "__main__":
    unittest.main()
