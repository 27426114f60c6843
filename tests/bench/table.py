#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""README's table, from what bench.py --json wrote: table.py QCOW2.json [QED.json ADD-COW.json]

One line a workload: medians of the first file, and of each file penstock's ratio to the programs that it has a bar for.
"""

import json
import os
import statistics
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from workloads import WORKLOADS, judged  # noqa: E402

SHOWN = ("penstock", "bare", "qemu", "plain")


def medians(path):
    with open(path, encoding="utf-8") as file:
        found = json.load(file)
    return found, {(m["workload"], m["target"]): statistics.median(m["values"]) for m in found["measurements"]}


def rounded(value):
    """Three digits, thousands apart: no more is known."""
    digits = max(0, len(str(int(value))) - 3)
    return f"{round(value, -digits):,.0f}"


def ratios(workload, found):
    return ", ".join(f"{ratio:.2f} {label}" + ("" if ratio >= least else f" (bar {least})")
                     for ratio, label, least in judged(workload, found))


def main():
    files = [medians(path) for path in sys.argv[1:]]
    first, values = files[0]
    print(first["machine"])
    print("| | " + " | ".join(SHOWN) + " | " + " | ".join(f"{file['format']}: penstock is" for file, _ in files) + " |")
    print("| --- |" + " ---: |" * len(SHOWN) + " --- |" * len(files))
    for workload in WORKLOADS:
        if (workload.name, "penstock") not in values:
            continue
        cells = [rounded(values[workload.name, target]) if (workload.name, target) in values else ""
                 for target in SHOWN]
        unit = "" if workload.unit == "iops" else ", MiB/s"
        print(f"| {workload.name}{unit} | " + " | ".join(cells) + " | "
              + " | ".join(ratios(workload, found) for _, found in files) + " |")
    for probe in first["probes"]:
        said = ", ".join(f"{name} {statistics.median(all_of):.4g}" for name, all_of in probe["values"].items())
        print(f"{probe['probe']} ({probe['unit']}): {said}")


if __name__ == "__main__":
    main()
