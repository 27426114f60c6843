# SPDX-License-Identifier: Apache-2.0
"""What the round trips share: running a tool, and telling whether a file changed."""

import hashlib
import subprocess


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
