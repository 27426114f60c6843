#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""penstock-reliability(7) names tests that exist, and the variables that they read: reliability_page.py SOURCE-ROOT."""

import os
import re
import subprocess
import sys


def problems(root):
    tests = os.path.join(root, "tests")
    with open(os.path.join(root, "man", "penstock-reliability.7.scd"), encoding="utf-8") as file:
        page = file.read()
    programs = set(re.findall(r"_((?:unit|property|conformance|crash|simulation)/[a-z_0-9/]+)_", page))
    scripts = set(re.findall(r"_([a-z0-9-]+\.sh)_", page))
    if len(programs) < 10 or len(scripts) < 5:
        yield "the page names next to no tests"
    for name in sorted(programs):
        if not os.path.exists(os.path.join(tests, name + "_test.cpp")):
            yield f"there is no tests/{name}_test.cpp"
    for name in sorted(scripts):
        if not os.path.exists(os.path.join(tests, "system", name)):
            yield f"there is no tests/system/{name}"
    for name in sorted(set(re.findall(r"^\*([A-Z_]+)\*=", page, re.M))):
        if subprocess.run(["grep", "-rqw", name, tests, "--include=*.cpp", "--include=*.sh", "--include=*.py"]).returncode:
            yield f"no test reads {name}"


def main():
    found = list(problems(sys.argv[1]))
    for problem in found:
        print(f"man/penstock-reliability.7.scd: {problem}")
    print("no breaches" if not found else f"{len(found)} breaches")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
