#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Drives a stream as a QMP client does that knows only QEMU's documents (docs/interop/qmp-spec, qapi/block-core.json).

    qmp_client.py SOCKET      starts, throttles, pauses, resumes and cancels a stream, then lets another one end
"""

import json
import socket
import sys


class Qmp:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(path)
        self.file = self.socket.makefile("r", encoding="utf-8")
        self.events = []
        greeting = json.loads(self.file.readline())
        assert set(greeting["QMP"]) == {"version", "capabilities"}, greeting

    def answer(self, command, **arguments):
        request = {"execute": command, "id": command}
        if arguments:
            request["arguments"] = {key.replace("_", "-"): value for key, value in arguments.items()}
        self.socket.sendall(json.dumps(request).encode())
        while True:
            message = json.loads(self.file.readline())
            if "event" not in message:
                assert message["id"] == command, message
                return message
            self.events.append(message)

    def run(self, command, **arguments):
        message = self.answer(command, **arguments)
        assert "return" in message, message
        return message["return"]

    def refused(self, error_class, command, **arguments):
        message = self.answer(command, **arguments)
        assert message["error"]["class"] == error_class, message
        assert message["error"]["desc"], message

    def event(self, name, **data):
        """The next event of that name; earlier ones of other names are dropped."""
        while True:
            message = self.events.pop(0) if self.events else json.loads(self.file.readline())
            assert set(message["timestamp"]) == {"seconds", "microseconds"}, message
            if message["event"] == name and all(message["data"].get(key) == value for key, value in data.items()):
                return message["data"]


def main():
    qmp = Qmp(sys.argv[1])
    qmp.refused("CommandNotFound", "query-status")
    qmp.run("qmp_capabilities")
    names = {item["name"] for item in qmp.run("query-commands")}
    for name in ["block-stream", "block-job-cancel", "block-job-pause", "block-job-resume", "block-job-set-speed",
                 "query-block-jobs", "query-jobs", "query-named-block-nodes", "query-block", "query-blockstats",
                 "query-status", "query-commands", "quit"]:
        assert name in names, name
    assert qmp.run("query-status")["status"] == "running"
    device = qmp.run("query-block")[0]["device"]
    assert qmp.run("query-block")[0]["inserted"]["backing_file_depth"] == 1
    assert "rd_bytes" in qmp.run("query-blockstats")[0]["stats"]
    assert qmp.run("query-named-block-nodes")[0]["drv"] == "qcow2"

    assert qmp.run("query-block-jobs") == []
    qmp.refused("DeviceNotActive", "block-job-cancel", device=device)
    qmp.refused("DeviceNotActive", "block-job-pause", device="nosuch")
    qmp.refused("GenericError", "block-stream", device="nosuch")
    qmp.refused("GenericError", "block-stream", device=device, base="nosuch")
    qmp.refused("GenericError", "block-stream", device=device, speed=-1)
    qmp.refused("GenericError", "block-stream", device=device, nonsense=1)
    qmp.run("block-stream", device=device, speed=1 << 18)
    qmp.event("JOB_STATUS_CHANGE", status="created", id=device)
    qmp.event("JOB_STATUS_CHANGE", status="running", id=device)
    qmp.refused("GenericError", "block-stream", device=device)
    job = qmp.run("query-block-jobs")[0]
    assert (job["type"], job["device"], job["speed"], job["paused"]) == ("stream", device, 1 << 18, False), job
    assert job["len"] > 0 and job["status"] == "running" and job["io-status"] == "ok", job
    assert qmp.run("query-jobs")[0]["total-progress"] == job["len"]
    qmp.run("block-job-set-speed", device=device, speed=1 << 19)
    assert qmp.run("query-block-jobs")[0]["speed"] == 1 << 19
    qmp.run("block-job-pause", device=device)
    qmp.event("JOB_STATUS_CHANGE", status="paused", id=device)
    assert qmp.run("query-block-jobs")[0]["paused"] is True
    qmp.run("block-job-resume", device=device)
    qmp.event("JOB_STATUS_CHANGE", status="running", id=device)
    qmp.run("block-job-cancel", device=device)
    ended = qmp.event("BLOCK_JOB_CANCELLED", device=device)
    assert ended["type"] == "stream" and ended["offset"] <= ended["len"], ended
    qmp.event("JOB_STATUS_CHANGE", status="null", id=device)
    assert qmp.run("query-block-jobs") == []

    qmp.run("block-stream", device=device)
    qmp.event("JOB_STATUS_CHANGE", status="pending", id=device)
    ended = qmp.event("BLOCK_JOB_COMPLETED", device=device)
    assert "error" not in ended and ended["offset"] == ended["len"], ended
    qmp.event("JOB_STATUS_CHANGE", status="concluded", id=device)
    assert "backing_file" not in qmp.run("query-named-block-nodes")[0]
    message = qmp.answer("quit")
    assert "return" in message, message


if __name__ == "__main__":
    main()
