#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""documented_commands.py PENSTOCK SOURCE-ROOT WORK: runs every command that README.md and the manual show.

A section of README.md (its blocks fenced with ```sh) and the EXAMPLES of a page are one session each: a shell with a
terminal, in an empty directory with the images that the examples name, a /mnt and a /tmp of its own, and `penstock` in its
PATH. What is mounted or attached at the end is undone. "q" is typed now and then, for what waits for it.

A block that cannot run here says so in the source, in the line before it: `<!-- not run: REASON -->` in README.md,
`; not run: REASON` in a page. Those are counted and named. Fails when a command fails, a page has no EXAMPLES, a fence
has no language, or more than NOT_RUN_MAX blocks are not run.
"""

import glob
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import terminal

NOT_RUN_MAX = 5
SECONDS = 120

FIXTURES = r"""
set -eu
# Something to copy: a stream that a page steers must not have ended before.
mkdir files
head -c 8M /dev/urandom >files/data
truncate -s 64M disk.raw
mkfs.ext4 -q -F -L files -d files disk.raw
rm -r files
qemu-img convert -f raw -O qcow2 disk.raw base.qcow2
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 disk.qcow2
qemu-io -f qcow2 -c 'write -P 7 40M 1M' disk.qcow2 >/dev/null
cp disk.raw fedora.img
cp base.qcow2 old-base.qcow2
cp base.qcow2 new-base.qcow2
qemu-img create -q -f qcow2 -b old-base.qcow2 -F qcow2 overlay.qcow2
qemu-io -f qcow2 -c 'write -P 9 50M 256k' overlay.qcow2 >/dev/null
cp disk.qcow2 backup.qcow2
"""

FOREIGN_MOUNTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support/foreign_mounts.sh")

SETUP = r"""
mount --make-rprivate / || exit 99
. "$2" && forget_foreign_mounts
# By its descriptor: it may itself be below /mnt, or below /tmp.
exec 9<"$1"
mount -t tmpfs tmpfs /mnt && mkdir /mnt/work /mnt/d /mnt/files /mnt/vm &&
  mount --no-canonicalize --bind /proc/self/fd/9 /mnt/work && exec 9<&- && mount --bind /mnt/work/tmp /tmp || exit 99
# Where /dev is not the kernel's own (a container's), fresh loop devices and their partitions have no nodes.
if ! grep -q '^[^ ]* /dev devtmpfs ' /proc/self/mounts; then
  mkdir /mnt/pts && mount --bind /dev/pts /mnt/pts && mount -t devtmpfs devtmpfs /dev && mount --bind /mnt/pts /dev/pts || exit 99
fi
# Only what comes from now on is this session's.
mounts() { awk '$3 ~ /^fuse/ || $1 ~ /^\/dev\/loop/ { print $2 }' /proc/self/mounts | sort; }
mounts >/mnt/foreign
cd /mnt/work/here && PATH="/mnt/work/bin:$PATH" bash -euo pipefail /mnt/work/session
status=$?
for try in 1 2 3; do
  mounts | comm -13 /mnt/foreign - | sort -r | while read -r place; do
    /mnt/work/bin/penstock umount "$place" >/dev/null 2>&1 || umount "$place" 2>/dev/null
  done
  # Of this session's alone: other loop devices name other files.
  losetup -nO NAME,BACK-FILE | awk '$2 ~ "^/mnt/(d|vm|work)/" { print $1 }' | while read -r loop; do
    losetup -d "$loop"
  done
done
exit $status
"""


class Session:
    def __init__(self, where):
        self.where = where
        self.blocks = []


def page_sessions(root, problems, not_run):
    for path in sorted(glob.glob(os.path.join(root, "man/*.1.scd"))):
        name = os.path.basename(path).removesuffix(".scd")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        found = re.search(r"^# EXAMPLES\n(.*?)(?=^# |\Z)", text, re.MULTILINE | re.DOTALL)
        session = Session(name)
        for reason, block in re.findall(r"(?:^; not run: ([^\n]*)\n)?^```\n(.*?)^```$", found[1] if found else "",
                                        re.MULTILINE | re.DOTALL):
            if reason:
                not_run.append(f"{name}: {reason}")
            else:
                session.blocks.append(block)
        if not session.blocks and not any(line.startswith(name + ":") for line in not_run):
            problems.append(f"{name} has no EXAMPLES with commands")
        yield session


def readme_sessions(root, problems, not_run):
    with open(os.path.join(root, "README.md"), encoding="utf-8") as file:
        lines = file.read().split("\n")
    session, block, before = Session("README.md"), None, ""
    for number, line in enumerate(lines, 1):
        if block is None and re.match(r"##? ", line):
            yield session
            session = Session("README.md, " + line.lstrip("# "))
        elif block is None and line.startswith("```"):
            language = line[3:]
            if not language:
                problems.append(f"README.md:{number}: the fence names no language")
            block = []
            reason = re.fullmatch(r"<!-- not run: (.*) -->", before)
            if language == "sh" and reason:
                not_run.append(f"{session.where}: {reason[1]}")
            keep = language == "sh" and not reason
        elif block is not None and line == "```":
            if keep:
                session.blocks.append("\n".join(block) + "\n")
            block = None
        elif block is not None:
            block.append(line)
        if line.strip():
            before = line
    yield session


def run_session(session, penstock, fixtures, work):
    """None, or what went wrong."""
    place = os.path.join(work, re.sub(r"\W+", "-", session.where))
    for folder in ("tmp", "bin"):
        os.makedirs(os.path.join(place, folder))
    subprocess.run(["cp", "-a", "--sparse=always", fixtures, os.path.join(place, "here")], check=True)
    shutil.copy(penstock, os.path.join(place, "bin/penstock"))
    with open(os.path.join(place, "session"), "w", encoding="utf-8") as file:
        file.write("set -x\n" + "".join(session.blocks))
    typed, late = time.monotonic(), False
    give_up = typed + SECONDS

    def look(output, shown, child):
        nonlocal typed, give_up, late
        now = time.monotonic()
        if now - typed > 1:
            typed = now
            # Only for a screen that is shown: elsewhere the letter would be taken for a command.
            if output.rfind(b"\033[?1049h") > output.rfind(b"\033[?1049l"):
                os.write(shown, b"q")
        if now > give_up:
            os.killpg(child, signal.SIGTERM)
            give_up = now + 10
            late = True

    status, output = terminal.run(["unshare", "-m", "bash", "-c", SETUP, "session", place, FOREIGN_MOUNTS], look=look)
    if late:
        output += b"\n[did not end in time]\n"
    shutil.rmtree(place, ignore_errors=True)
    if status == 0:
        return None
    shown = re.sub(r"\033\[[?0-9;]*[a-zA-Z]|\r", "", output.decode("utf-8", "replace"))[-3000:]
    return f"{session.where}: exit status {status}\n{shown}"


def main():
    penstock, root, work = sys.argv[1:4]
    only = sys.argv[4] if len(sys.argv) > 4 else ""
    problems, not_run = [], []
    fixtures = os.path.join(work, "fixtures")
    os.mkdir(fixtures)
    subprocess.run(["bash", "-c", FIXTURES], cwd=fixtures, check=True)
    sessions = [*readme_sessions(root, problems, not_run), *page_sessions(root, problems, not_run)]
    blocks = 0
    for session in sessions:
        if not session.blocks or only not in session.where:
            continue
        began = time.monotonic()
        problem = run_session(session, penstock, fixtures, work)
        blocks += len(session.blocks)
        print(f"{'ok' if problem is None else 'FAILED'}  {session.where} ({time.monotonic() - began:.1f} s)", flush=True)
        if problem:
            problems.append(problem)
    print(f"{blocks} blocks run, {len(not_run)} not run")
    for reason in not_run:
        print(f"not run: {reason}")
    if len(not_run) > NOT_RUN_MAX:
        problems.append(f"{len(not_run)} blocks are not run; {NOT_RUN_MAX} is the most")
    for problem in problems:
        print(f"FAIL: {problem}")
    sys.exit(1 if problems else 0)


main()
