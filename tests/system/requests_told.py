#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""requests_told.py known PENSTOCK MOUNTPOINT VIEW TRACE | told PENSTOCK MOUNTPOINT | read PENSTOCK TRACE

known: makes requests of known offsets and lengths, and finds each in the recording. told: the JSON is as its schema says
and has nothing that the schema does not, the manual names each of its members; the metrics are well-formed and say what the JSON says. read: all forms of
`penstock trace` agree.
"""

import csv
import io
import json
import mmap
import os
import re
import subprocess
import sys
import time

import jsonschema

KINDS = ["read", "write", "flush", "zero"]
SCHEMA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../share/status.schema.json")


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def closed(schema):
    """The same schema, which allows nothing that it does not name."""
    if isinstance(schema, dict):
        out = {key: closed(value) for key, value in schema.items()}
        if "properties" in out and "type" in out:
            out["additionalProperties"] = False
        return out
    return [closed(item) for item in schema] if isinstance(schema, list) else schema


def names_in(schema):
    """Every member that the schema describes."""
    if isinstance(schema, list):
        for item in schema:
            yield from names_in(item)
    elif isinstance(schema, dict):
        yield from schema.get("properties", {})
        for value in schema.values():
            yield from names_in(value)


def lines_of(penstock, trace):
    return list(csv.DictReader(io.StringIO(run(penstock, "trace", "--output", "csv", trace))))


def known(penstock, mountpoint, view, trace):
    disk = os.open(view, os.O_RDWR | os.O_DIRECT)
    buffer = mmap.mmap(-1, 1 << 16)
    wanted = []
    for number in range(40):
        offset, length = (number * 37 % 200) << 16, 4096 << (number % 4)
        if number % 2:
            os.pwritev(disk, [memoryview(buffer)[:length]], offset)
        else:
            os.preadv(disk, [memoryview(buffer)[:length]], offset)
        wanted.append(("write" if number % 2 else "read", offset, length))
    os.fsync(disk)
    os.close(disk)
    run("fallocate", "--punch-hole", "--offset", str(1 << 20), "--length", str(1 << 20), view)
    wanted += [("flush", 0, 0), ("zero", 1 << 20, 1 << 20)]
    deadline = time.monotonic() + 60
    while True:
        lines = lines_of(penstock, trace)
        found = [(line["kind"], int(line["offset"]), int(line["length"])) for line in lines]
        missing = [request for request in wanted if request not in found]
        if not missing:
            break
        assert time.monotonic() < deadline, f"not recorded: {missing} in {found}"
        time.sleep(0.1)
    mine = [request for request in found if request[0] != "flush" and request in wanted]
    assert [request for request in mine if request in wanted] == [r for r in wanted if r[0] != "flush"], mine
    assert all(line["errno"] == "0" and int(line["latency_ns"]) > 0 for line in lines)


def parse_metrics(text):
    """{name: type}, {(name, labels): value}; what a strict reader would refuse fails."""
    types, samples = {}, {}
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            assert re.fullmatch(r"# HELP [a-z_]+ \S.*", line), line
            continue
        found = re.fullmatch(r"# TYPE ([a-z_]+) (gauge|counter|histogram)", line)
        if found:
            assert found[1] not in types, line
            types[found[1]] = found[2]
            continue
        found = re.fullmatch(r"([a-z_]+)\{((?:[a-z_]+=\"(?:[^\"\\\n]|\\[\\\"n])*\",?)+)\} (\S+)", line)
        assert found, f"no sample: {line}"
        name = found[1]
        family = name if name in types else re.sub(r"_(bucket|sum|count)$", "", name)
        assert family in types and family == list(types)[-1], line
        labels = {key: re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], value)
                  for key, value in re.findall(r"([a-z_]+)=\"((?:[^\"\\]|\\.)*)\"", found[2])}
        key = (name, tuple(sorted(labels.items())))
        assert key not in samples, line
        samples[key] = float(found[3])
    return types, samples


def told(penstock, mountpoint):
    status = json.loads(run(penstock, "status", "--json", mountpoint))
    with open(SCHEMA, encoding="utf-8") as file:
        schema = json.load(file)
    jsonschema.Draft7Validator.check_schema(schema)
    with open(os.path.join(os.path.dirname(SCHEMA), "../man/penstock-status.1.scd"), encoding="utf-8") as file:
        page = file.read()
    unnamed = [name for name in names_in(schema) if f"*{name}*" not in page]
    assert not unnamed, f"not in the manual: {unnamed}"
    jsonschema.validate(status, closed(schema))
    histogram = json.loads(run(penstock, "status", "--histogram", "--json", mountpoint))
    assert histogram["version"] == 1 and list(histogram["requests"]) == KINDS, histogram
    for kind, one in histogram["requests"].items():
        assert sum(count for _, count in one["latency"]) == one["requests"], (kind, one)
        assert [below for below, _ in one["latency"]] == sorted({below for below, _ in one["latency"]}), one
    human = run(penstock, "status", "--histogram", mountpoint)
    for kind, one in histogram["requests"].items():
        count = int(re.search(rf"^{kind}: (\d+) request", human, re.MULTILINE)[1])
        assert count >= one["requests"], human

    # The host may be writing what it was given before, which changes the room that is in use: both at one moment.
    for _ in range(100):
        types, samples = parse_metrics(run(penstock, "status", "--prometheus", mountpoint))
        again = json.loads(run(penstock, "status", "--json", mountpoint))
        at_rest = not status["stream"] or status["stream"]["state"] in ("done", "cancelled", "failed")
        if not at_rest or all(again[key] == status[key] for key in ("actual-size", "provisioned", "stream")):
            break
        status = again

    def value(name, **labels):
        return samples[("penstock_" + name, tuple(sorted({"mountpoint": mountpoint, **labels}.items())))]

    assert value("virtual_size_bytes") == status["virtual-size"]
    assert not at_rest or value("actual_size_bytes") == status["actual-size"]
    assert value("start_time_seconds") == status["mounted-at"] and abs(time.time() - status["mounted-at"]) < 3600
    assert not at_rest or value("provisioned_bytes", part="data") == status["provisioned"]["data"]
    assert value("image_info", **{key: status[key] for key in ("image", "format", "view", "program")}) == 1
    assert value("read_only") == status["read-only"]
    assert len([key for key in samples if key[0] == "penstock_layer_actual_size_bytes"]) == len(status["layers"])
    for kind in KINDS:
        buckets = [samples[key] for key in samples if key[0] == "penstock_request_duration_seconds_bucket"
                   and ("kind", kind) in key[1]]
        assert buckets == sorted(buckets) and buckets[-1] == value("request_duration_seconds_count", kind=kind)
        assert buckets[-1] == value("requests_total", kind=kind) >= histogram["requests"][kind]["requests"]
    if status["stream"]:
        states = [key for key in samples if key[0] == "penstock_stream_state" and samples[key] == 1]
        assert len(states) == 1, samples
    assert types["penstock_request_duration_seconds"] == "histogram"


def read(penstock, trace):
    lines = lines_of(penstock, trace)
    summary = json.loads(run(penstock, "trace", "--output", "json", trace))
    assert summary["version"] == 1 and summary["lost"] == 0 and summary["records"] == len(lines)
    human = run(penstock, "trace", trace)
    for kind in KINDS:
        mine = [line for line in lines if line["kind"] == kind]
        one = summary["requests"][kind]
        assert one["requests"] == len(mine) == sum(count for _, count in one["latency"])
        assert one["bytes"] == sum(int(line["length"]) for line in mine)
        assert one["nanoseconds"] == sum(int(line["latency_ns"]) for line in mine)
        assert not mine or f"\n{kind}: {len(mine)} request" in human, human
    times = [int(line["began_ns"]) for line in lines]
    assert times == sorted(times)
    # As the manual describes the file, read by somebody who knows no more.
    with open(trace, "rb") as file:
        data = file.read()
    number = lambda at, length: int.from_bytes(data[at:at + length], "little")
    assert data[:16] == b"penstock trace\n\0" and number(16, 4) == 1 and number(24, 4) == 40
    assert number(32, 8) == 16 << 20 and b".qcow2\0" in data[48:number(20, 4)]
    records = [data[at:at + 40] for at in range(number(20, 4), len(data) - 39, 40)]
    assert len(records) == len(lines)
    assert sorted(int.from_bytes(record[:8], "little") for record in records) == times


{"known": known, "told": told, "read": read}[sys.argv[1]](*sys.argv[2:])
