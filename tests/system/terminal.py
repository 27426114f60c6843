# SPDX-License-Identifier: Apache-2.0
"""A command at a terminal of its own, for tests that look at what a person would see."""

import fcntl
import os
import pty
import select
import struct
import termios
import time


def run(command, environment=None, look=lambda output, terminal, child: None, columns=80):
    """The exit status, and all that was written. `look` is asked about every tenth of a second."""
    child, terminal = pty.fork()
    if child == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        os.execvpe(command[0], command, {**os.environ, "TERM": "xterm", "LC_ALL": "C.UTF-8", **(environment or {})})
    output, status = b"", None
    while status is None:
        piece = read(terminal, 0.1)
        output += piece
        if not piece:
            time.sleep(0.01)  # nobody has the terminal open any more
        look(output, terminal, child)
        done, result = os.waitpid(child, os.WNOHANG)
        if done:
            status = os.waitstatus_to_exitcode(result)
    while piece := read(terminal, 0):
        output += piece
    os.close(terminal)
    return status, output


def read(terminal, seconds):
    """What comes within that time; nothing when nothing does, or when nobody has the terminal open any more."""
    if not select.select([terminal], [], [], seconds)[0]:
        return b""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""
