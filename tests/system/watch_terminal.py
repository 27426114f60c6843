#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""watch_terminal.py PENSTOCK MOUNTPOINT END: `status --watch` in a terminal of its own, which is made smaller meanwhile.

END is what ends it: a key (q), "interrupt" (^C), or "unmount". Fails unless the screen shows what it should at both
sizes, nothing is wider than the terminal, the program ends with 0 and the terminal is as it was before.
"""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time


def set_size(descriptor, rows, columns):
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


class Screen:
    def __init__(self, descriptor):
        self.descriptor = descriptor
        self.bytes = b""
        self.text = ""

    def wait_for(self, wanted, seconds=60):
        give_up = time.monotonic() + seconds
        while not re.search(wanted, self.text, re.DOTALL):
            if time.monotonic() > give_up:
                sys.exit(f"no {wanted!r} on the screen: {self.text[-3000:]!r}")
            self.read(0.2)

    def read(self, seconds):
        if not select.select([self.descriptor], [], [], seconds)[0]:
            return False
        try:
            piece = os.read(self.descriptor, 65536)
        except OSError:  # nobody has the terminal open any more
            return False
        self.bytes += piece
        self.text = self.bytes.decode("utf-8", "ignore")  # the end of it may be half a character
        return bool(piece)


def frames(text):
    """The lines of each picture drawn, without what only drives the terminal."""
    for picture in text.split("\033[H")[1:]:
        picture = re.sub(r"\033\[[?0-9;]*[a-zA-Z]", "", picture)
        yield picture.replace("\r", "").rstrip("\n").split("\n")


def main():
    program, mountpoint, end = sys.argv[1:]
    ours, theirs = pty.openpty()
    set_size(ours, 24, 80)
    before = termios.tcgetattr(theirs)
    environment = dict(os.environ, TERM="xterm", LC_ALL="C.UTF-8")
    environment.pop("NO_COLOR", None)
    child = subprocess.Popen([program, "status", "--watch", "--interval", "0.2", mountpoint], stdin=theirs,
                             stdout=theirs, stderr=theirs, env=environment, start_new_session=True,
                             preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
    screen = Screen(ours)
    screen.wait_for(r"q: quit")
    for part in ("\033[?1049h", "\033[?25l", "unprovisioned", "chain", "cache", "reads", "\033[0;"):
        if part not in screen.text:
            sys.exit(f"{part!r} is not on the screen: {screen.text!r}")
    screen.wait_for(r"(q: quit.*){3}")
    for lines in list(frames(screen.text))[:2]:
        if len(lines) != 24 or max(map(len, lines)) > 80:
            sys.exit(f"{len(lines)} lines, the longest {max(map(len, lines))}")

    seen = len(screen.text)
    set_size(ours, 10, 40)  # the kernel tells the program
    screen.wait_for(r" now\033.*\033\[H.* now\033.*\033\[H")
    lines = [lines for lines in frames(screen.text[seen:]) if "left █ done" in lines[-1]][0]
    if len(lines) != 10 or max(map(len, lines)) > 40:
        sys.exit(f"small: {len(lines)} lines, the longest {max(map(len, lines))}")

    if end == "interrupt":
        os.write(ours, b"\x03")
    elif end == "unmount":
        subprocess.run([program, "umount", mountpoint], check=True, stdout=subprocess.DEVNULL)
    else:
        os.write(ours, end.encode())
    give_up = time.monotonic() + 60
    while child.poll() is None:
        if time.monotonic() > give_up:
            child.send_signal(signal.SIGKILL)
            sys.exit(f"still runs after {end}")
        screen.read(0.1)
    while screen.read(0.2):
        pass
    if child.returncode != 0:
        sys.exit(f"exits {child.returncode} after {end}: {screen.text[-500:]!r}")
    if not screen.text.rstrip().endswith("\033[?1049l") or "\033[?25h" not in screen.text:
        sys.exit(f"does not give the screen back after {end}: {screen.text[-200:]!r}")
    if termios.tcgetattr(theirs) != before:
        sys.exit(f"leaves the terminal changed after {end}")


main()
