#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The rules find what breaks them, and nothing in a tree that keeps them."""

import os
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import rules  # noqa: E402

LICENCE = "// SPDX-License-Identifier: Apache-2.0\n"
GOOD = {
    "include/penstock/storage.hpp": LICENCE + "#pragma once\n#include <penstock/error.hpp>\n",
    "include/penstock/error.hpp": LICENCE + "#pragma once\n",
    "include/penstock/image.hpp": LICENCE + "#pragma once\n#include <penstock/storage.hpp>\n",
    "src/base/text.hpp": LICENCE + "#pragma once\n",
    "src/storage/file.hpp": LICENCE + '#pragma once\n#include "base/text.hpp"\n#include <penstock/storage.hpp>\n',
    "src/format/raw/raw.hpp": LICENCE + '#pragma once\n#include "storage/file.hpp"\n',
    "src/format/qcow2/l2.hpp": LICENCE + '#pragma once\n#include "base/text.hpp"\n',
    "src/image/image.hpp": LICENCE + '#pragma once\n#include "format/raw/raw.hpp"\n',
    "src/image/image.cpp": LICENCE + '#include "image/image.hpp"\n',
    "src/exec/threads.hpp": LICENCE + "#pragma once\n#include <thread>\n",
    "src/cli/main.cpp": LICENCE + '#include "fuse/mount.hpp"\n#include <nlohmann/json.hpp>\n',
    "src/cli/parser.cpp": LICENCE + "#include <CLI/CLI.hpp>\n",
    "src/base/json.hpp": LICENCE + "#pragma once\n#include <nlohmann/json_fwd.hpp>\n",
    "fuse/mount.hpp": LICENCE + "#pragma once\n#include <fuse_lowlevel.h>\n#include <penstock/image.hpp>\n",
    "tests/unit/image/image_test.cpp": LICENCE + "#include <gtest/gtest.h>\n",
    "tests/unit/meson.build": "gtest_programs = {\n  'image/image': {},\n}\n",
    "tests/system/a.sh": "# SPDX-License-Identifier: Apache-2.0\n",
    "tests/system/meson.build": "system_tests = [\n  ['a', [], 60],\n]\n",
}


class Rules(unittest.TestCase):
    def found(self, changes):
        with tempfile.TemporaryDirectory() as root:
            for path, text in {**GOOD, **changes}.items():
                full = os.path.join(root, path)
                os.makedirs(os.path.dirname(full), exist_ok=True)
                with open(full, "w", encoding="utf-8") as file:
                    file.write(text)
            return [f"{path}:{line}: {problem}" for path, line, problem in rules.breaches(root)]

    def expect(self, changes, words):
        found = self.found(changes)
        self.assertEqual(len(found), 1, found)
        self.assertIn(words, found[0])

    def with_include(self, path, include):
        return {path: GOOD[path] + f"#include {include}\n"}

    def test_a_good_tree_has_no_breaches(self):
        self.assertEqual(self.found({}), [])

    def test_includes_against_the_direction(self):
        for path, include, words in [
            ("src/base/text.hpp", '"storage/file.hpp"', "stands above"),
            ("src/storage/file.hpp", '"format/raw/raw.hpp"', "stands above"),
            ("src/storage/file.hpp", "<penstock/image.hpp>", "stands above"),
            ("src/format/raw/raw.hpp", '"image/image.hpp"', "stands above"),
            ("src/format/qcow2/l2.hpp", '"format/raw/raw.hpp"', "another format"),
            ("src/image/image.hpp", '"fuse/mount.hpp"', "stands above"),
            ("include/penstock/storage.hpp", "<penstock/image.hpp>", "stands above"),
            ("include/penstock/storage.hpp", '"base/text.hpp"', "public header"),
            ("fuse/mount.hpp", '"image/image.hpp"', "public headers"),
            ("src/cli/main.cpp", '"storage/file.hpp"', "public headers"),
            ("src/cli/main.cpp", '"no/such.hpp"', "not a path"),
        ]:
            with self.subTest(path=path, include=include):
                self.expect(self.with_include(path, include), words)

    def test_libraries_outside_their_room(self):
        for path, include, words in [
            ("src/image/image.cpp", "<fuse_lowlevel.h>", "libfuse"),
            ("src/image/image.cpp", "<fuse3/fuse.h>", "libfuse"),
            ("src/image/image.cpp", "<CLI/CLI.hpp>", "CLI11"),
            ("src/cli/main.cpp", "<CLI/CLI.hpp>", "CLI11"),
            ("fuse/mount.hpp", "<nlohmann/json.hpp>", "JSON"),
            ("src/image/image.cpp", "<nlohmann/json.hpp>", "JSON"),
            ("fuse/mount.hpp", "<nlohmann/json_fwd.hpp>", "JSON"),
            ("src/image/image.cpp", "<zlib.h>", "compression"),
            ("src/image/image.cpp", "<gtest/gtest.h>", "GoogleTest"),
        ]:
            with self.subTest(path=path, include=include):
                self.expect(self.with_include(path, include), words)

    def test_text(self):
        path = "src/image/image.hpp"
        for text, words in [
            ("#pragma once\n", "licence"),
            (LICENCE, "#pragma once"),
            (GOOD[path] + "\tint a;\n", "tab"),
            (GOOD[path] + "int a; \n", "blanks"),
            (GOOD[path] + "int a;", "line break"),
            (GOOD[path] + "// TO" + "DO: all of it\n", "unfinished"),
            (GOOD[path] + "std::mutex lock;\n", "base/mutex.hpp"),
            (GOOD[path] + "auto a = name.find(':');\n", "looks into the name"),
            (GOOD[path] + 'if (name.starts_with("json:")) return;\n', "looks into the name"),
            (GOOD[path] + 'if (layer.format == "raw") return;\n', "what the format can do"),
            (GOOD[path] + 'return find_format("qcow2");\n', "what the format can do"),
            (GOOD[path] + "int a;\n" * rules.LINES_MAX, "more than one idea"),
        ]:
            with self.subTest(words=words):
                self.expect({path: text}, words)

    def test_what_is_made_here_is_not_the_tree(self):
        made = {".gitignore": "/obj-*/\n/debian/files\n", "obj-x/a.hpp": "\t", "debian/files": "\t"}
        self.assertEqual(self.found(made), [])
        self.expect({".gitignore": made[".gitignore"], "src/obj-x/a.txt": "\ta\n"}, "tab")

    def test_tests_that_never_run(self):
        self.expect({"tests/unit/meson.build": "gtest_programs = {\n}\n"}, "table")
        self.expect({"tests/system/b.sh": GOOD["tests/system/a.sh"]}, "table")

    def test_processes_ended_by_name(self):
        self.expect({"tests/system/a.sh": GOOD["tests/system/a.sh"] + "p" + "kill penstock\n"}, "by name")

    def test_commands_without_a_manual_page(self):
        text = GOOD["src/cli/main.cpp"] + "Command io_command() {\n  return {};\n}\n"
        self.expect({"src/cli/main.cpp": text}, "penstock-io.1.scd")
        self.assertEqual(self.found({"src/cli/main.cpp": text, "man/penstock-io.1.scd": "io\n"}), [])

    def test_pages_that_send_the_reader_to_files_that_are_not_there(self):
        page = "man/penstock-architecture.7.scd"
        self.assertEqual(self.found({page: "Threads: _src/exec/threads.hpp_, started by _fuse/_.\n"}), [])
        self.expect({page: "Threads:\n_src/exec/thread_s.hpp_, as ever.\n"}, "src/exec/thread_s.hpp")


if __name__ == "__main__":
    unittest.main()
