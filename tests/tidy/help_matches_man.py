#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""help_matches_man.py PENSTOCK MAN-FOLDER: what the program lists and what the manual describes is the same.

Every subcommand of `penstock --help` is a command of penstock(1) and has a page, and the other way round; every flag of
`penstock COMMAND --help` is in its page, and the other way round. Prints one line for each difference and exits 1.
"""

import os
import re
import subprocess
import sys

# "  -f,--format FMT   Format ..." in the help, "*-f*, *--format* _FMT_" at the start of a line in a page.
HELP_FLAG = re.compile(r"(?<![\w-])(--[a-z][a-z0-9-]*|-[A-Za-z])(?![\w-])")
PAGE_FLAG = re.compile(r"\*(--[a-z][a-z0-9-]*|-[A-Za-z])\*")


def help_of(program, *command):
    run = subprocess.run([program, *command, "--help"], capture_output=True, text=True, timeout=60)
    if run.returncode != 0:
        sys.exit(f"{' '.join(command)} --help exits {run.returncode}: {run.stderr}")
    return run.stdout


def section(text, title, ends):
    """The lines below a title up to the next line that `ends` matches."""
    lines = text.split("\n")
    starts = [number for number, line in enumerate(lines) if line.strip() == title]
    if not starts:
        return []
    found = []
    for line in lines[starts[0] + 1 :]:
        if re.match(ends, line):
            break
        found.append(line)
    return found


def help_flags(text):
    """The flags of each line that begins with one; the column of descriptions is left out."""
    flags = set()
    for line in text.split("\n"):
        if re.match(r"\s{1,4}-", line):
            flags.update(HELP_FLAG.findall(re.split(r"\s{2,}", line.strip())[0].split(" ")[0]))
    return flags


def page_flags(text):
    flags = set()
    for line in section(text, "# OPTIONS", r"# "):
        if line.startswith("*-"):
            flags.update(PAGE_FLAG.findall(line))
    return flags


def help_commands(text):
    return {line.split()[0] for line in section(text, "Subcommands:", r"\S") if re.match(r"\s{2}\S", line)}


def page_commands(text):
    return {line.strip("*") for line in section(text, "# COMMANDS", r"# ") if re.fullmatch(r"\*[a-z]+\*", line)}


def differences(where, in_help, in_page):
    for name in sorted(in_help - in_page):
        yield f"{where}: {name} is in --help but not in the page"
    for name in sorted(in_page - in_help):
        yield f"{where}: {name} is in the page but not in --help"


def main():
    program, folder = sys.argv[1:]
    problems = []

    def page(name):
        path = os.path.join(folder, name + ".scd")
        if not os.path.exists(path):
            problems.append(f"{name}.scd: there is no such page")
            return ""
        with open(path, encoding="utf-8") as file:
            return file.read()

    top_help, top_page = help_of(program), page("penstock.1")
    commands = help_commands(top_help)
    if not commands:
        problems.append("--help lists no subcommands")
    problems += differences("penstock.1", commands, page_commands(top_page))
    problems += differences("penstock.1", help_flags(top_help), page_flags(top_page))
    for command in sorted(commands):
        name = f"penstock-{command}.1"
        problems += differences(name, help_flags(help_of(program, command)), page_flags(page(name)))
    for name in sorted(os.listdir(folder)):
        found = re.fullmatch(r"penstock-(\w+)\.1\.scd", name)
        if found and found.group(1) not in commands:
            problems.append(f"{name}: there is no such subcommand")
    for problem in problems:
        print(problem)
    sys.exit(1 if problems else 0)


main()
