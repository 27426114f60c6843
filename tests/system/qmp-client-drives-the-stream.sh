#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A QMP client that follows QEMU's documents starts, throttles, pauses, resumes and cancels a stream, and sees the events.
. "$(dirname "$0")/lib.sh"
need_fuse
need qemu-img python3 getfattr

head -c 16M /dev/urandom >"$work/base.raw"
qemu-img create -q -f qcow2 -b base.raw -F raw "$work/top.qcow2"
mount_image "$work/top.qcow2"
socket=$(getfattr --absolute-names --only-values -n user.penstock.control "$view")
[ "$(stat -c %a "$socket")" = 600 ] || [ "$(stat -c %a "$(dirname "$socket")")" = 700 ] || fail "others may use $socket"
timeout 120 python3 "$(dirname "$0")/qmp_client.py" "$socket" || fail "the client"
wait_until 60 not is_mounted "$mountpoint" || fail "still mounted"
# The image is flushed and closed after that.
wait_until 60 qemu-img info "$work/top.qcow2" >/dev/null 2>&1 || fail "not closed"
mv "$work/base.raw" "$work/away.raw"
compare_with_raw "$work/top.qcow2" "$work/away.raw"
check_clean "$work/top.qcow2"
