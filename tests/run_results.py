#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What run.sh asks of meson: the targets of a suite, and the results of all test runs in one line.

    run_results.py targets BUILD-DIRECTORY SUITE     prints the files that the tests of the suite need
    run_results.py summary BUILD-FAILURES LOG.json...  prints the logs of what failed, what was skipped, the
                                              fresh seeds that were used, and the counts
"""

import json
import os
import sys

TAIL_LINES = 80
TAIL_BYTES = 24000


def targets(build, suite):
    with open(os.path.join(build, "meson-info", "intro-tests.json")) as file:
        tests = json.load(file)
    with open(os.path.join(build, "meson-info", "intro-targets.json")) as file:
        files = {target["id"]: target["filename"] for target in json.load(file)}
    wanted = set()
    for test in tests:
        if any(name.split(":")[-1] == suite for name in test["suite"]):
            for target in test["depends"]:
                wanted.update(os.path.relpath(file, build) for file in files[target])
    print(" ".join(sorted(wanted)))


def tail(text):
    return "\n".join(text[-TAIL_BYTES:].splitlines()[-TAIL_LINES:])


def summary(build_failures, logs):
    passed, failed, skipped = 0, build_failures, 0
    for log in logs:
        stage = os.path.basename(log)[: -len(".json")]
        if os.path.getsize(log) == 0:
            print(f"\n== FAILED: {stage}: no tests ran")
            failed += 1
        with open(log) as file:
            for line in file:
                test = json.loads(line)
                for said in test.get("stdout", "").splitlines():
                    if said.startswith("fresh seed"):
                        print(f"{test['name']} ({stage}): {said}")
                if test["result"] in ("OK", "EXPECTEDFAIL"):
                    passed += 1
                elif test["result"] == "SKIP":
                    skipped += 1
                    reason = [said for said in (test.get("stdout", "") + "\n" + test.get("stderr", "")).splitlines()
                              if said.startswith("SKIP")]
                    print(f"skipped: {test['name']} ({stage}): {reason[-1][6:] if reason else 'gave no reason'}")
                else:
                    failed += 1
                    print(f"\n== FAILED: {test['name']} ({stage}): {test['result']}, status {test['returncode']}, "
                          f"{test['duration']:.1f} s")
                    print(tail(test.get("stdout", "")))
                    print("-- standard error:")
                    print(tail(test.get("stderr", "")))
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return 1 if failed else 0


def main():
    if len(sys.argv) == 4 and sys.argv[1] == "targets":
        targets(sys.argv[2], sys.argv[3])
        return 0
    if len(sys.argv) >= 3 and sys.argv[1] == "summary":
        return summary(int(sys.argv[2]), sys.argv[3:])
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
