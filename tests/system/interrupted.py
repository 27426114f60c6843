#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""interrupted.py SIGNAL SECONDS UNDO COMMAND...: runs the command, sends it the signal after so many seconds unless it
has ended by then, and returns when no process that it began is left; however slow the machine, nothing is under way then.

UNDO is a shell command, repeated until then: once the command has ended well, or after SIGKILL, of which its daemon need
not know. After another signal what the command began must end by itself.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time

PR_SET_CHILD_SUBREAPER = 36
SECONDS = 60


def main():
    number = signal.Signals["SIG" + sys.argv[1]]
    delay, undo, command = float(sys.argv[2]), sys.argv[3], sys.argv[4:]
    # A daemon whose parent has ended becomes our child.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(delay)
    process.send_signal(number)  # does nothing once its end has been seen
    status = process.wait()
    give_up = time.monotonic() + SECONDS
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] != 0:
                continue
        except ChildProcessError:
            return 0
        if time.monotonic() > give_up:
            sys.exit(f"'{' '.join(command)}', interrupted after {delay} s, exits {status} and leaves something that runs")
        if status == 0 or number == signal.SIGKILL:
            subprocess.run(undo, shell=True, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.02)


sys.exit(main())
