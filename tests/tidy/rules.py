#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The rules of the tree that a script can check: rules.py SOURCE-ROOT.

Prints one line for each breach, "file:line: what is wrong", and exits 1 when there is one.
"""

import fnmatch
import os
import re
import shutil
import subprocess
import sys

LINES_MAX = 450

# Arrows go down only (DESIGN: structure). What a folder may include, of the tree and of the public headers.
PUBLIC_LEVEL = {"error": 0, "range": 0, "wait": 0, "executor": 1, "clock": 1, "name": 2, "storage": 2, "opener": 2,
                "features": 2, "format": 3, "image": 4, "convert": 4, "copy_amounts": 5, "measure": 4, "provisioner": 5}
ENGINE = ["base", "exec", "storage", "format", "image", "provision"]  # from the bottom up
# Built on the public headers alone, so that another program can embed the same engine.
OUTSIDE = {
    "control": {"base", "control"},
    "fuse": {"base", "control", "fuse"},
    "cli": {"base", "control", "fuse", "cli"},
}

# One dependency lives in one place.
ROOMS = [
    (re.compile(r"fuse3?/|fuse(_\w+)?\.h$"), ["fuse/*"], "libfuse"),
    # These two take longer to compile than most files of ours. A header with one of them makes many files slow.
    (re.compile(r"CLI/"), ["src/cli/parser.cpp"], "CLI11"),
    (re.compile(r"nlohmann/json_fwd"), ["src/base/json.hpp"], "JSON's forward"),
    (re.compile(r"nlohmann/(?!json_fwd)"), ["src/cli/*.cpp", "src/control/*.cpp", "fuse/*.cpp", "src/storage/json_name.cpp",
                                            "tests/*.cpp"], "JSON"),
    (re.compile(r"(zlib|zstd)\.h$"), ["src/format/*", "tests/*"], "compression"),
    (re.compile(r"(gtest|gmock)/"), ["tests/*"], "GoogleTest"),
]

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
LICENCE = "SPDX-License-Identifier: Apache-2.0"
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|not " + "implemented")
BY_NAME = re.compile(r"\b(pkill|killall|pidof)\b")
# Names are taken apart in one place, and what a format can do is asked of it.
LOOKS_INTO_NAME = re.compile(r"find\(':'\)|(?:_with\(|= )\"(?:file|json):")
ASKS_FORMAT_NAME = re.compile(r'[!=]= ?"(?:raw|qcow2|qed|add-cow)"|find_format\("')
RAW_LOCK = re.compile(r"\bstd::(mutex|shared_mutex|lock_guard|unique_lock|scoped_lock|condition_variable)\b")


def tree_files(root):
    """Without what is built here, which .gitignore names: whether somebody has made packages is no matter of the tree."""
    made = [line.strip("/") for line in read_or_empty(os.path.join(root, ".gitignore")).splitlines() if line.startswith("/")]
    for folder, folders, files in os.walk(root):
        below = os.path.relpath(folder, root)

        def kept(name):
            path = os.path.normpath(os.path.join(below, name))
            return not any(fnmatch.fnmatch(path, pattern) for pattern in made)

        # corpus: inputs of the fuzzers; golden: images. Bytes of any kind.
        folders[:] = sorted(f for f in folders if not f.startswith(("build", ".git")) and f not in ("__pycache__", "corpus", "golden")
                            and kept(f))
        for name in sorted(filter(kept, files)):
            yield os.path.normpath(os.path.join(below, name))


def folder_of(path):
    """The folder of the structure that a file belongs to: base, storage, ..., or None for tests and public headers."""
    parts = path.split("/")
    if parts[0] == "src" and len(parts) > 2:
        return parts[1]
    return "fuse" if parts[0] == "fuse" else None


def level_of(folder):
    return {"base": 0, "exec": 1, "storage": 2, "features": 2, "format": 3, "image": 4, "provision": 5}.get(folder, 9)


def check_include(root, path, quote, name):
    """Yields what is wrong with one include."""
    for pattern, rooms, what in ROOMS:
        # A header of the tree is no header of a library, whatever its name begins with.
        if quote == "<" and pattern.match(name) and not any(fnmatch.fnmatch(path, room) for room in rooms):
            yield f"{what} header <{name}> outside {rooms[0]}"
    own = folder_of(path)
    if name.startswith("penstock/"):
        seam = name[len("penstock/"):].removesuffix(".hpp")
        if seam not in PUBLIC_LEVEL:
            yield f"<{name}> is no public header"
        elif path.startswith("include/penstock/"):
            self_name = os.path.basename(path).removesuffix(".hpp")
            if PUBLIC_LEVEL[seam] > PUBLIC_LEVEL.get(self_name, 9):
                yield f"<{name}> stands above {self_name}"
        elif own in ENGINE and PUBLIC_LEVEL[seam] > level_of(own):
            yield f"src/{own} includes <{name}>, which stands above it"
        return
    if quote != '"':
        return
    if not any(os.path.exists(os.path.join(root, base, name)) for base in ("src", "", os.path.dirname(path))):
        yield f'"{name}" is not a path from src/ or from the top of the tree'
        return
    if path.startswith("include/"):
        yield f'a public header includes "{name}" of the tree'
        return
    if own is None:
        return
    other = name.split("/")[0]
    if other == "src":
        yield f'"{name}": paths begin below src/'
    elif other == "tests":
        yield f'"{name}": the program includes its tests'
    elif own in OUTSIDE:
        if other not in OUTSIDE[own]:
            yield f'{own} includes "{name}"; it is built on the public headers, {", ".join(sorted(OUTSIDE[own]))}'
    elif other not in ENGINE or ENGINE.index(other) > ENGINE.index(own):
        yield f'src/{own} includes "{name}", which stands above it'
    elif own in ("format", "storage") and other == own:
        mine, theirs = path.split("/")[2:-1], name.split("/")[1:-1]
        if mine and theirs and mine[0] != theirs[0]:
            yield f'{own} {mine[0]} includes "{name}" of another {own}'


def check_text(path, text):
    """Yields (line, problem) for rules that look at text alone."""
    lines = text.split("\n")
    code = path.endswith((".cpp", ".hpp", ".py", ".sh")) or text.startswith("#!")
    if code and not any(LICENCE in line for line in lines[:3]):
        yield 1, f"no licence line: {LICENCE}"
    if path.endswith(".hpp") and "#pragma once" not in lines:
        yield 1, "no #pragma once"
    if code and len(lines) - 1 > LINES_MAX:
        yield LINES_MAX, f"{len(lines) - 1} lines; more than {LINES_MAX} hold more than one idea"
    if text and not text.endswith("\n"):
        yield len(lines), "no line break at the end of the file"
    if text.endswith("\n\n"):
        yield len(lines), "empty line at the end of the file"
    rules = path == "tests/tidy/rules.py"
    for number, line in enumerate(lines, 1):
        if "\t" in line and not path.endswith((".scd", "Makefile", "debian/rules")):
            yield number, "tab"
        if line != line.rstrip():
            yield number, "blanks at the end of the line"
        if UNFINISHED.search(line) and not rules:
            yield number, "unfinished: " + UNFINISHED.search(line).group(0)
        if path.startswith("tests/") and code and BY_NAME.search(line) and not rules:
            yield number, "ends or finds processes by name; keep their ids"
        if path.startswith(("src/", "fuse/")) and not path.startswith("src/storage/") and LOOKS_INTO_NAME.search(line):
            yield number, "looks into the name of an image, which penstock/name.hpp takes apart"
        if path.startswith(("src/", "fuse/")) and not path.startswith("src/format/") and ASKS_FORMAT_NAME.search(line):
            yield number, "compares the name of a format: ask what the format can do"
        if path.startswith(("src/", "fuse/")) and path != "src/base/mutex.hpp" and RAW_LOCK.search(line):
            yield number, f"{RAW_LOCK.search(line).group(0)}: use base/mutex.hpp, which the analysis understands"


def read_or_empty(path):
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8") as file:
        return file.read()


def check_tests_are_run(root, files):
    """A test that no table names never runs."""
    tables = {}
    for path in files:
        if path.startswith("tests/") and path.endswith("_test.cpp"):
            suite, name = path.split("/", 2)[1:]
            table = tables.setdefault(suite, read_or_empty(os.path.join(root, "tests", suite, "meson.build")))
            if f"'{name.removesuffix('_test.cpp')}'" not in table:
                yield path, 1, f"not in the table of tests/{suite}/meson.build"
        if fnmatch.fnmatch(path, "tests/system/*.sh") and not path.endswith(("/lib.sh", "/guest.sh")):
            table = tables.setdefault("system", read_or_empty(os.path.join(root, "tests/system/meson.build")))
            if f"'{os.path.basename(path).removesuffix('.sh')}'" not in table:
                yield path, 1, "not in the table of tests/system/meson.build"


def check_manual(root, files):
    """Each subcommand has its page; each file that a page sends the reader to is there."""
    for path in sorted(files):
        if not fnmatch.fnmatch(path, "man/*.scd"):
            continue
        for number, line in enumerate(read_or_empty(os.path.join(root, path)).split("\n"), 1):
            for named in re.findall(r"_((?:src|fuse|include|tests|share)/[\w/-]+\.\w+)_", line):
                if named not in files:
                    yield path, number, f"sends the reader to {named}, which is not there"
    for path in files:
        if not fnmatch.fnmatch(path, "src/cli/*.cpp"):
            continue
        text = read_or_empty(os.path.join(root, path))
        for command in re.findall(r"^Command (\w+)_command\(\) {", text, re.MULTILINE):
            if f"man/penstock-{command}.1.scd" not in files:
                yield path, 1, f"command '{command}' has no man/penstock-{command}.1.scd"


def check_format(root, files):
    program = shutil.which("clang-format-19")
    sources = [path for path in files if path.endswith((".cpp", ".hpp"))]
    if not program or not sources or not os.path.exists(os.path.join(root, ".clang-format")):
        return
    done = subprocess.run([program, "--dry-run", "-Werror", *sources], cwd=root, stderr=subprocess.PIPE, text=True,
                          check=False)
    seen = set()
    for path, line in re.findall(r"^(\S+?):(\d+):\d+: error", done.stderr, re.MULTILINE):
        if path not in seen:
            seen.add(path)
            yield path, int(line), "not as clang-format-19 lays it out"


def breaches(root):
    files = list(tree_files(root))
    known = set(files)
    for path in files:
        try:
            text = read_or_empty(os.path.join(root, path))
        except UnicodeDecodeError:
            continue  # a golden image
        if path.startswith("tests/golden/") or path == "LICENSE":
            continue
        for line, problem in check_text(path, text):
            yield path, line, problem
        if path.endswith((".cpp", ".hpp")):
            for number, line in enumerate(text.split("\n"), 1):
                found = INCLUDE.match(line)
                if found:
                    for problem in check_include(root, path, found.group(1), found.group(2)):
                        yield path, number, problem
    yield from check_tests_are_run(root, files)
    yield from check_manual(root, known)
    yield from check_format(root, files)


def main():
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    found = [f"{path}:{line}: {problem}" for path, line, problem in breaches(sys.argv[1])]
    print("\n".join(found) if found else "no breaches")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
