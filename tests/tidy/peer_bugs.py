#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tests/PEER-BUGS.md names tests that exist, for every bug: peer_bugs.py SOURCE-ROOT."""

import os
import re
import sys

BUGS = 48
ROW = re.compile(r"^\| (\d+) \| [^|]+ \| ([^|]+) \|$")
NAME = re.compile(r"`([a-z_]+/[^`:]+)(?:: (\w+)\.(\w+))?`")


def problems(root):
    with open(os.path.join(root, "tests", "PEER-BUGS.md"), encoding="utf-8") as file:
        lines = file.read().splitlines()
    meson = {}
    expected = 1
    for line in lines:
        row = ROW.match(line)
        if not row:
            continue
        number, shown = int(row[1]), row[2]
        if number != expected:
            yield f"row {number} where {expected} was expected"
        expected = number + 1
        names = NAME.findall(shown)
        if not names and not shown.startswith("cannot apply: "):
            yield f"{number}: names no test and no reason"
        for path, suite, test in names:
            full = os.path.join(root, "tests", path)
            if not os.path.exists(full):
                yield f"{number}: there is no tests/{path}"
                continue
            if suite:
                with open(full, encoding="utf-8") as file:
                    if not re.search(rf"^TEST(_F|_P)?\({suite},\s*{test}\)", file.read(), re.M):
                        yield f"{number}: tests/{path} has no {suite}.{test}"
            folder, name = path.split("/", 1)
            if folder not in meson:
                with open(os.path.join(root, "tests", folder, "meson.build"), encoding="utf-8") as file:
                    meson[folder] = file.read()
            if re.sub(r"(_test\.cpp|\.sh)$", "", name) not in meson[folder]:
                yield f"{number}: tests/{path} is not run by tests/{folder}/meson.build"
    if expected != BUGS + 1:
        yield f"{expected - 1} bugs, not {BUGS}"


def main():
    found = list(problems(sys.argv[1]))
    for problem in found:
        print(f"tests/PEER-BUGS.md: {problem}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
