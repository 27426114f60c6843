#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""completions_work.py PENSTOCK: the completion scripts offer what the command line takes.

Bash is asked for each command and each flag that --help lists, for values, files and mountpoints, and once as a person
does, with the Tab key at a terminal. Fish is asked the same where it is installed, and zsh by the Tab key alone.
"""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time

PROGRAM = os.path.abspath(sys.argv[1])
# What a person has set for their own shell is not part of the test.
for variable in ("BASH_ENV", "ENV", "CDPATH", "POSIXLY_CORRECT", "NO_COLOR"):
    os.environ.pop(variable, None)


def run(*command, **keywords):
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **keywords)
    if done.returncode != 0:
        sys.exit(f"{command} exits {done.returncode}: {done.stderr}")
    return done.stdout


def help_of(*command):
    return run(PROGRAM, *command, "--help")


def commands():
    lines = help_of().split("Subcommands:")[1].splitlines()
    return [line.split()[0] for line in lines if re.match(r"  \S", line)]


def flags(command):
    for line in help_of(command).splitlines():
        if re.match(r"\s{1,4}-", line):
            for flag in re.split(r"\s{2,}|(?<=\S) ", line.strip())[0].split(","):
                yield flag.split("=")[0]


class Bash:
    def __init__(self, script, before=""):
        self.script = script
        self.before = before

    def offers(self, *words, cwd=None):
        """What is offered for the last word."""
        code = (f'source "$1"; {self.before} shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _penstock; '
                'printf "%s\\n" "${COMPREPLY[@]}"')
        return run("bash", "--norc", "-c", code, "bash", self.script, "penstock", *words, cwd=cwd).split("\n")[:-1]


class Fish:
    def __init__(self, script):
        self.script = script

    def offers(self, *words, cwd=None):
        line = " ".join(["penstock", *words])
        out = run("fish", "--no-config", "-c", 'source $argv[1]; complete -C $argv[2]', self.script, line, cwd=cwd)
        return [offer.split("\t")[0] for offer in out.splitlines()]


def check_shell(shell, folder):
    name = type(shell).__name__
    problems = []

    def expect(offers, wanted, *words):
        missing = set(wanted) - set(offers)
        if missing:
            problems.append(f"{name}: {' '.join(words)!r} lacks {sorted(missing)}: {offers}")

    known = commands()
    assert {"mount", "umount", "trace", "io"} <= set(known), known
    expect(shell.offers(""), known, "")
    for command in known:
        listed = [flag for flag in flags(command) if flag.startswith("--")]
        expect(shell.offers(command, "--"), listed, command)
        for flag in listed:
            expect(shell.offers(command, flag), [flag], command, flag)
    for words, wanted in {
            ("mo",): ["mount"],
            ("check", "-r", ""): ["leaks", "all"],
            ("mount", "--on-error", "re"): ["report", "retry"],
            ("create", "-f", "q"): ["qcow2", "qed"],
            ("create", "-f", "qcow2", "--b"): ["--backing", "--backing-format"],
            ("stream", "st"): ["start", "stop"],
            ("stream", "start", "--"): ["--speed", "--base", "--on-error", "--deadline", "--help"],
            ("info", "ba"): ["base.qcow2"],
            ("convert", "-O", "raw", "base.qcow2", "f"): ["folder"],
    }.items():
        got = shell.offers(*words, cwd=folder)
        # Fish marks folders.
        expect([offer.rstrip("/") for offer in got], wanted, *words)
    if set(shell.offers("check", "-r", "l")) != {"leaks"}:
        problems.append(f"{name}: offers what does not begin so: {shell.offers('check', '-r', 'l')}")
    if [offer for offer in shell.offers("status", "") if offer in os.listdir(folder)]:
        problems.append(f"{name}: offers files where a mountpoint is wanted")
    return problems


def check_bash_only(bash):
    """Bash takes "--flag=value" apart, and a value is not a command."""
    problems = []
    for words, wanted in {
            ("check", "--repair", "=", ""): {"leaks", "all"},
            ("check", "--repair", "=", "le"): {"leaks"},
            ("check", "--repair", "="): {"leaks", "all"},
    }.items():
        if set(bash.offers(*words)) != wanted:
            problems.append(f"Bash: {words} gives {bash.offers(*words)}")
    used = Bash(bash.script, "_penstock_mountpoints() { echo /here; }; _penstock_devices() { echo /dev/loop77; };")
    for words, wanted in {
            ("detach", ""): ["/dev/loop77"],
            ("stream", "stop", ""): ["/here"],
            ("stream", "speed", ""): [],
            ("stream", "speed", "5M", ""): ["/here"],
    }.items():
        # Nothing at all is one empty line.
        if [offer for offer in used.offers(*words) if offer] != wanted:
            problems.append(f"Bash: {words} gives {used.offers(*words)}, not {wanted}")
    return problems


def check_tab(shell, setup, steps, folder):
    """A person types, and presses Tab. `steps`: what is typed before each Tab, and what the line must show then."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.execvpe(shell[0], shell,
                   {"PATH": os.environ["PATH"], "TERM": "dumb", "PS1": "ready> ", "HOME": folder, "LC_ALL": "C",
                    "INPUTRC": "/dev/null"})
    output = b""

    def wait_for(wanted):
        nonlocal output
        give_up = time.monotonic() + 60
        while wanted not in output:
            if time.monotonic() > give_up:
                sys.exit(f"{shell[0]}: no {wanted!r} at the terminal: {output!r}")
            if select.select([terminal], [], [], 0.2)[0]:
                output += os.read(terminal, 4096)
        output = b""

    wait_for(b"ready> ")
    os.write(terminal, setup.encode() + b"\n")
    wait_for(b"ready> ")
    for typed, shown in steps:
        os.write(terminal, typed.encode() + b"\t")
        wait_for(shown.encode())
    os.write(terminal, b"\x15exit\n")
    os.waitpid(child, 0)
    os.close(terminal)


def main():
    with tempfile.TemporaryDirectory() as folder:
        place = os.path.join(folder, "here")
        os.makedirs(os.path.join(place, "folder"))
        for name in ("base.qcow2", "file.raw"):
            with open(os.path.join(place, name), "w", encoding="utf-8"):
                pass
        scripts = {}
        for shell in ("bash", "zsh", "fish"):
            scripts[shell] = os.path.join(folder, "penstock." + shell)
            with open(scripts[shell], "w", encoding="utf-8") as file:
                file.write(run(PROGRAM, "--print-completion", shell))
        run("bash", "-n", scripts["bash"])
        problems = check_shell(Bash(scripts["bash"]), place) + check_bash_only(Bash(scripts["bash"]))
        steps = [("penstock che", "penstock check "), ("--rep", "--repair "), ("l", "leaks "), ("ba", "base.qcow2 ")]
        check_tab(["bash", "--norc", "--noprofile", "-i"], f"source '{scripts['bash']}'", steps, place)
        if shutil.which("fish"):
            run("fish", "--no-execute", scripts["fish"])
            problems += check_shell(Fish(scripts["fish"]), place)
        if shutil.which("zsh"):
            run("zsh", "-n", scripts["zsh"])
            os.mkdir(os.path.join(folder, "functions"))
            shutil.copy(scripts["zsh"], os.path.join(folder, "functions/_penstock"))
            steps = [("penstock che", "penstock check "), ("-r l", "leaks "), ("ba", "base.qcow2 ")]
            setup = f"fpath=('{folder}/functions' $fpath); autoload -U compinit; compinit -u -D"
            check_tab(["zsh", "-f", "-i"], setup, steps, place)
        print("\n".join(problems))
        sys.exit(1 if problems else 0)


main()
