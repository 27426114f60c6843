#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What a guest asks for can be seen from outside, and every way of telling tells the same: JSON as its published
# description has it, Prometheus metrics, histograms, and the recording of each request with its offset and length.
# Messages go where they are wanted, as far as they are wanted.
. "$(dirname "$0")/lib.sh"
need_fuse
need qemu-img python3 pkg-config readelf
python3 -c 'import jsonschema' 2>/dev/null || skip "python3-jsonschema is not installed"
tell="python3 $(dirname "$0")/requests_told.py"

base=$work/base.raw
random_bytes 3 8388608 "$base"
image="$work/a \"b\" \\ ü.qcow2"
qemu-img create -q -f qcow2 -b "$base" -F raw "$image" 16M
trace=$work/trace

say "known requests are recorded one by one, and all accounts of them agree"
mount_image --trace "$trace" "$image"
$tell known "$penstock" "$mountpoint" "$view" "$trace"
$tell told "$penstock" "$mountpoint"
unmount_image >/dev/null
$tell read "$penstock" "$trace"
"$penstock" trace --output svg "$trace" >"$work/trace.svg"
python3 -c 'import sys, xml.dom.minidom
text = xml.dom.minidom.parse(sys.argv[1]).getElementsByTagName("title")[0].firstChild.data
sys.exit(0 if "ü.qcow2" in text else text)' "$work/trace.svg" || fail "trace.svg is not what it should be"
check_clean "$image"

say "what --version says of the build is so"
"$penstock" --version >"$work/version"
grep -qx "libfuse: $(pkg-config --modversion fuse3) (built with .*)" "$work/version" || fail "$(cat "$work/version")"
grep -qx 'formats: raw, qcow2, qed, add-cow' "$work/version" || fail "$(cat "$work/version")"
probes=no
readelf -n "$penstock" 2>/dev/null | grep -A 1 'Provider: penstock' | has 'Name: request' && probes=USDT
grep -qx "probes: $probes" "$work/version" || fail "probes are '$probes', but: $(cat "$work/version")"

say "the JSON of every state of a mount is as described"
mount_image --stream --stream-speed 64K "$image"
$tell told "$penstock" "$mountpoint"
"$penstock" stream stop "$mountpoint"
$tell told "$penstock" "$mountpoint"
unmount_image >/dev/null
mount_image -r -f raw "$base"
$tell told "$penstock" "$mountpoint"
unmount_image >/dev/null

say "a recording writes over nothing, ends at its limit, and names what is wrong"
mkdir "$work/m"
must_fail 'is no trace' "$penstock" mount --trace "$base" "$image" "$work/m"
[ "$(stat -c %s "$base")" -eq 8388608 ] || fail "the base has lost its contents"
must_fail 'is no trace' "$penstock" mount --trace "$image" "$image" "$work/m"
must_fail 'No such file' "$penstock" mount --trace "$work/none/trace" "$image" "$work/m"
must_fail '--trace' "$penstock" mount --trace-limit 1M "$image" "$work/m"
! is_mounted "$work/m" || fail "mounted all the same"
mount_image --trace "$trace" --trace-limit 1000 "$image"
dd if="$view" of=/dev/null bs=4k count=200 iflag=direct status=none
full() { "$penstock" status --json "$mountpoint" | has '"state": "full"'; }
wait_until 60 full || fail "the recording does not end"
unmount_image >/dev/null
[ "$(stat -c %s "$trace")" -le 1000 ] || fail "the recording is longer than its limit"
must_fail 'is no file that' "$penstock" trace "$base"
head -c 20 "$trace" >"$work/short"
must_fail 'ends within its header' "$penstock" trace "$work/short"

say "messages have a level, and journald's priorities where journald reads them"
says() { grep -q "$1" "$mountpoint.log"; }
mount_in_foreground "$image"
unmount_image >/dev/null
wait_until 60 says '^penstock: .*: mounted at ' || fail "not told: $(cat "$mountpoint.log")"
wait_until 60 says ': flushed and closed$' || fail "not told: $(cat "$mountpoint.log")"
mount_in_foreground --log-level warning "$image"
unmount_image >/dev/null
wait_until 60 is_gone "$daemon" || wait "$daemon"
[ ! -s "$mountpoint.log" ] || fail "told: $(cat "$mountpoint.log")"
mkdir "$work/j"
on_exit "force_unmount '$work/j'"
# The first process knows the file that it writes to, and says that it is the journal.
bash -c 'JOURNAL_STREAM=$(stat -Lc %d:%i /dev/stderr) exec "$0" mount --foreground "$1" "$2"' "$penstock" "$image" \
  "$work/j" 2>"$work/j.log" &
daemon=$!
wait_until 60 is_mounted "$work/j" || fail "not mounted: $(cat "$work/j.log")"
unmount_image "$work/j" >/dev/null
wait "$daemon"
grep -q '^<6>penstock: .*: mounted at ' "$work/j.log" || fail "no priority: $(cat "$work/j.log")"
