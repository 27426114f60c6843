# SPDX-License-Identifier: Apache-2.0
"""What the round trips share: running a tool, and telling whether a file changed."""

import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile


class Wrong(Exception):
    pass


def run(*command, allowed=(0,)):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=300, check=False)
    if done.returncode not in allowed:
        raise Wrong(f"{' '.join(command)}: exit status {done.returncode}: {done.stdout[-2000:]}")
    return done.stdout


def sum_of(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def main_of_cases(doc, matrix, sample, run_case):
    """SCRIPT PENSTOCK [all | CASE...]: calls run_case(name, seed, penstock, folder) for each; exit status 1 when any failed."""
    if len(sys.argv) < 2:
        sys.exit(doc)
    seed = int(os.environ.get("PENSTOCK_SEED", random.randrange(1 << 31)))
    print(f"PENSTOCK_SEED={seed}", flush=True)
    failed = 0
    cases = sys.argv[2:] or random.Random(seed).sample(list(matrix()), sample)
    for name in matrix() if cases == ["all"] else cases:
        folder = tempfile.mkdtemp(prefix="penstock-round-trip-",
                                  dir=os.environ.get("PENSTOCK_TEST_DIRECTORY", "/var/tmp"))
        try:
            run_case(name, seed, sys.argv[1], folder)
        except (Wrong, OSError, ValueError, subprocess.SubprocessError) as error:
            failed += 1
            print(f"FAILED {name}: {error}", flush=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"{failed} failed")
    sys.exit(1 if failed else 0)
