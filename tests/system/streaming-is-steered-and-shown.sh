#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The commands for people: stream starts, rests, goes on, changes its speed and is waited for; status shows it; umount
# --wait lets it finish, within a deadline if told so, and one line and the exit status tell what became of the image.
. "$(dirname "$0")/lib.sh"
need_fuse
need qemu-img python3

base=$work/base.raw
python3 - "$base" <<'PYTHON'
import os, random, sys
source = random.Random(4)
with open(sys.argv[1], "wb") as file:
    file.truncate(64 << 20)
    for number in range(0, 64, 2):
        os.pwrite(file.fileno(), source.randbytes(1 << 20), number << 20)
PYTHON
image=$work/top.qcow2
fresh() {
  rm -f "$image"
  qemu-img create -q -f qcow2 -b "$base" -F raw "$image"
  mount_image -f qcow2 "$image"
}
shows() { "$penstock" status "$mountpoint" | has "$1"; }
copied() { "$penstock" status --json "$mountpoint" | sed -n 's/.*"copied": \([0-9]*\).*/\1/p'; }
# exits STATUS TEXT COMMAND...: what it prints contains TEXT.
exits() {
  local wanted=$1 text=$2 status=0
  shift 2
  said=$("$@" 2>&1) || status=$?
  [ "$status" -eq "$wanted" ] || fail "'$*' exits $status, not $wanted: $said"
  [[ "$said" == *"$text"* ]] || fail "'$*' does not say '$text' but: $said"
}

say "without a job there is nothing to steer"
fresh
for action in stop pause resume 'speed 1M'; do
  # shellcheck disable=SC2086
  exits 1 'no streaming job is running' "$penstock" stream $action "$mountpoint"
done
exits 1 'no streaming job was started' "$penstock" stream wait "$mountpoint"

say "a command line that is wrong says so"
exits 2 'stream' "$penstock" stream dance "$mountpoint"
exits 2 '--speed goes with start' "$penstock" stream wait --speed 1M "$mountpoint"
exits 2 '--deadline goes with wait' "$penstock" stream start --deadline 1s "$mountpoint"
exits 2 'speed needs' "$penstock" stream speed "$mountpoint"
exits 2 'invalid size' "$penstock" stream speed fast "$mountpoint"
exits 2 'invalid time' "$penstock" stream wait --deadline soon "$mountpoint"
exits 2 'invalid time' "$penstock" umount --deadline soon "$mountpoint"
exits 1 'terminal' "$penstock" status --watch "$mountpoint"

# A job that is to be met while it runs gets a speed at which it needs minutes: it is never waited for at that.
say "start, pause, resume, speed, wait"
"$penstock" stream start --speed 256K "$mountpoint"
exits 1 'busy' "$penstock" stream start "$mountpoint"
wait_until 60 shows '^stream: running' || fail "not running: $("$penstock" status "$mountpoint")"
shows 'limit 256 KiB/s' || fail "no limit shown"
"$penstock" stream pause "$mountpoint"
wait_until 60 shows '^stream: paused' || fail "not paused"
# The steps in hand are finished.
rests() { local before; before=$(copied) && sleep 1 && [ "$(copied)" -eq "$before" ]; }
wait_until 60 rests || fail "a paused job copies"
"$penstock" stream resume "$mountpoint"
wait_until 60 shows '^stream: running' || fail "does not go on"
exits 1 'the deadline has passed' "$penstock" stream wait --deadline 0.3 "$mountpoint"
for end in q interrupt; do
  python3 "$(dirname "$0")/watch_terminal.py" "$penstock" "$mountpoint" $end || fail "status --watch, ended by $end"
done
"$penstock" stream speed 0 "$mountpoint"
exits 0 '100.0 %' "$penstock" stream wait "$mountpoint"
[ -z "$("$penstock" stream wait -q "$mountpoint" 2>&1)" ] || fail "stream wait -q tells"
shows '^stream: done' || fail "not done"
shows '^finalised' || fail "not finalised"
exits 0 'finalised' "$penstock" umount "$mountpoint"
check_clean "$image"
compare_with_raw "$image" "$base"

say "a stopped job is not waited for, and its image is still good"
fresh
"$penstock" stream start --speed 256K "$mountpoint"
"$penstock" stream stop "$mountpoint"
exits 1 'was cancelled' "$penstock" stream wait "$mountpoint"
exits 1 'no streaming job is running' "$penstock" stream stop "$mountpoint"
python3 "$(dirname "$0")/watch_terminal.py" "$penstock" "$mountpoint" unmount || fail "status --watch and an unmount"
not is_mounted "$mountpoint" || fail "still mounted"
compare_with_raw "$image" "$base"

say "how far it is goes by the data that is left to copy, not by the place on the disk"
truncate -s 1G "$work/sparse.raw"
dd if="$base" of="$work/sparse.raw" bs=1M count=8 seek=1016 conv=notrunc,sparse status=none
qemu-img create -q -f qcow2 -b "$work/sparse.raw" -F raw "$work/sparse.qcow2"
# 4 MiB of data are at the end of a disk of holes, and 8 MiB in the overlay.
qemu-io -f qcow2 -c 'write -q -P 7 8M 8M' "$work/sparse.qcow2"
mount_image -f qcow2 "$work/sparse.qcow2"
"$penstock" stream start --speed 64K "$mountpoint"
at_the_end() { [ "$("$penstock" status --json "$mountpoint" | sed -n 's/.*"offset": \([0-9]*\).*/\1/p')" -gt 1000000000 ]; }
wait_until 60 at_the_end || fail "does not pass what is zero"
shows '^stream: running, [67][0-9]\.[0-9] %' || fail "$("$penstock" status "$mountpoint" | grep ^stream)"
exits 0 '% provisioned' "$penstock" umount "$mountpoint"
[[ "$said" =~ \ [67][0-9]\ %\ provisioned ]] || fail "says $said"

say "what is left is not forgotten when an estimate does not see it"
"$penstock" create -q -f qcow2 -o cluster_size=2M "$work/huge.qcow2" 2000000T
qemu-io -f qcow2 -c 'write -q 1500000T 4M' "$work/huge.qcow2"
"$penstock" create -q -f qcow2 -o cluster_size=2M -b "$work/huge.qcow2" -F qcow2 "$work/huge-top.qcow2"
mount_image -f qcow2 "$work/huge-top.qcow2"
"$penstock" stream start --speed 1 "$mountpoint"
"$penstock" umount "$mountpoint" >"$work/said"
! grep -q ' 100 % provisioned' "$work/said" || fail "says $(cat "$work/said")"

say "a deadline ends the waiting and leaves an image that goes on"
fresh
"$penstock" stream start --speed 256K "$mountpoint"
exits 1 'the deadline has passed' "$penstock" umount --wait --deadline 500ms "$mountpoint"
[[ "$said" == *'% provisioned'* ]] || fail "does not say how far it came: $said"
not is_mounted "$mountpoint" || fail "still mounted"
check_clean "$image"
mount_image -f qcow2 "$image"
exits 0 'finalised' "$penstock" umount --wait "$mountpoint"
check_clean "$image"
compare_with_raw "$image" "$base"

say "what cannot be completed is not said to be"
fresh
unmount_image >/dev/null
mount_image --read-only -f qcow2 "$image"
exits 1 'read-only: it still needs its backing file' "$penstock" umount --wait "$mountpoint"
not is_mounted "$mountpoint" || fail "still mounted"

say "^C ends the waiting, not the mount"
fresh
"$penstock" stream start --speed 256K "$mountpoint"
# Through Python: a background process of a script ignores SIGINT.
exits 0 'stopped waiting' python3 - "$penstock" "$mountpoint" <<'PYTHON'
import signal, subprocess, sys
waiting = subprocess.Popen([sys.argv[1], "umount", "--wait", sys.argv[2]], stderr=subprocess.PIPE, text=True,
                           preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
print(waiting.stderr.readline())  # it waits
waiting.send_signal(signal.SIGINT)
print(waiting.stderr.read())
sys.exit(0 if waiting.wait(20) == 1 else 1)
PYTHON
is_mounted "$mountpoint" || fail "^C unmounted"
"$penstock" stream speed 0 "$mountpoint"
exits 0 'finalised' "$penstock" umount --wait "$mountpoint"

say "an add-cow file is deleted only when its raw file is complete"
fresh
exits 1 'is for add-cow images' "$penstock" umount --discard-map "$mountpoint"
is_mounted "$mountpoint" || fail "unmounted nevertheless"
unmount_image >/dev/null
"$penstock" create -q -f add-cow -b "$base" -F raw -o "image_file=$work/data.raw" "$work/top.add-cow"
mount_image -f add-cow "$work/top.add-cow"
exits 1 'the raw file is not complete' "$penstock" umount --discard-map "$mountpoint"
is_mounted "$mountpoint" || fail "unmounted nevertheless"
exits 0 'the add-cow file is deleted' "$penstock" umount --wait --discard-map "$mountpoint"
[ ! -e "$work/top.add-cow" ] || fail "the add-cow file is still there"
same_bytes "$work/data.raw" "$base"
"$penstock" create -q -f add-cow -b "$base" -F raw -o "image_file=$work/data2.raw" "$work/moved.add-cow"
mount_image -f add-cow "$work/moved.add-cow"
mv "$work/moved.add-cow" "$work/elsewhere.add-cow"
echo precious >"$work/moved.add-cow"
exits 1 'not the file that was mounted' "$penstock" umount --wait --discard-map "$mountpoint"
grep -q precious "$work/moved.add-cow" || fail "another file was deleted"
rm "$work/moved.add-cow"

say "a picture of the disk is well-formed XML, whatever the image is called"
name="$work/a<&>\"b.qcow2"
qemu-img create -q -f qcow2 -b "$base" -F raw "$name"
"$penstock" map --output svg "$name" >"$work/map.svg"
python3 -c 'import sys, xml.dom.minidom
text = xml.dom.minidom.parse(sys.argv[1]).getElementsByTagName("title")[0].firstChild.data
sys.exit(0 if "a<&>\"b.qcow2" in text else text)' "$work/map.svg" || fail "$work/map.svg is not what it should be"
