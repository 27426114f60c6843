#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""progress_terminal.py TITLE WHAT COMMAND...: runs a command at a terminal of 80 columns and looks at what it shows.

WHAT: words of "none" (no bar), "gone" (a bar that is taken away at the end), "rate" and "left" (the bar tells how many
bytes a second, and how long it will take). THEN in the environment: run once such a bar was there.
"""

import os
import re
import subprocess
import sys

import terminal


def main():
    title, wanted, *command = sys.argv[1:]
    then = os.environ.get("THEN", "").split()

    def look(output, _terminal, _child):
        if then and re.search(r"  [\d.]+ [KMG]?i?B/s.* left", output.decode("utf-8", "ignore")):
            subprocess.run(then, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            then.clear()

    status, output = terminal.run(command, look=look)
    text = output.decode("utf-8")
    problems = [f"exit status {status}"] if status else []
    bars = [line for line in re.split(r"[\r\n]", text) if re.search(r"[█░]", line)]
    if "none" in wanted:
        problems += ["a bar is shown"] if bars else []
    else:
        shown = [re.sub(r"\033\[K", "", line) for line in bars]
        if not shown:
            problems.append("no bar is shown")
        if [line for line in shown if not line.startswith(title + "  ") or not re.search(r" \d+\.\d %", line)]:
            problems.append("a bar without its title, or without how far it is")
        if [line for line in shown if len(line) > 80]:
            problems.append("a bar is wider than the terminal")
        if "rate" in wanted and not [line for line in shown if re.search(r"  [\d.]+ [KMG]?i?B/s", line)]:
            problems.append("no bar tells the rate")
        if "left" in wanted and not [line for line in shown if line.endswith(" left")]:
            problems.append("no bar tells how long it will take")
        if "gone" in wanted and not text.rindex("\r\033[K") > text.rindex(bars[-1]):
            problems.append("the bar stays")
    if problems:
        sys.exit(f"{' '.join(command)}: {'; '.join(problems)}: {text!r}")


main()
