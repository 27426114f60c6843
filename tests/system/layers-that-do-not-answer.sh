#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Requests that wait for a layer hold up nobody else, however many there are and for however many clusters; and where a
# layer never answers at all, the mount is told of and ended in bounded time. Source: penstock-mount(1), "Layers that do
# not answer".
. "$(dirname "$0")/lib.sh"
need_fuse
need python3 qemu-img setsid
cd "$work"
random_bytes 3 $((64 << 20)) base.raw
random_bytes 4 $((1 << 20)) local.raw
show_slowly base.raw 64 1000
server=$slow_server

fresh_overlay() {
  rm -f top.qcow2
  "$penstock" create -q -f qcow2 -b "$work/slow.raw" -F raw top.qcow2
}
# What is written here whole is local.
write_local() {
  dd if=local.raw of="$view" bs=64k seek=512 conv=notrunc,fsync oflag=direct iflag=fullblock status=none
}

say "local reads beside 1, 8 and 64 requests for 1, 2 and 16 clusters of a layer that takes a second a read"
first=0
for requests in 1 8 64; do
  for clusters in 1 2 16; do
    fresh_overlay
    mount_image top.qcow2
    write_local
    python3 "$(dirname "$0")/beside_who_waits.py" "$view" local.raw "$requests" "$clusters" "$first"
    first=$((first + 48)) # what the kernel has of the slow file it answers at once
    unmount_image
    check_clean top.qcow2
  done
done

# hang: from here on no call to the layer comes back. Requests for it are sent by processes of their own.
hang() {
  fresh_overlay
  mount_in_foreground "$@" top.qcow2
  write_local
  kill -STOP "$server"
}
# So many reads, and a write, for which the next would wait in the kernel: it has one lock for all writes to a file.
ask_in_vain() {
  local number
  dd if=/dev/zero of="$view" bs=4k count=1 seek=$((first * 16 + 1)) oflag=direct conv=notrunc status=none 2>/dev/null &
  waiting+=($!)
  for number in $(seq "$first" $((first + $1 - 1))); do
    dd if="$view" of=/dev/null bs=4k count=1 skip=$((number * 16)) iflag=direct status=none 2>/dev/null &
    waiting+=($!)
  done
  wait_until 30 in_flight $(($1 + 1)) || fail "the requests do not arrive: $("$penstock" status "$mountpoint")"
}
in_flight() {
  local now
  now=$(timeout 10 "$penstock" status --json "$mountpoint" | python3 -c 'import json, sys; print(json.load(sys.stdin)["guest"]["in-flight"])')
  [ "$now" -ge "$1" ]
}
# within SECONDS COMMAND...: leaves its exit status in $status and what it said in $said.
within() {
  local limit=$1 begin
  shift
  begin=$(now_ms)
  status=0
  said=$(timeout "$((limit * 3))" "$@" 2>&1) || status=$?
  local taken=$(($(now_ms) - begin))
  say "$* took $taken ms: exit status $status: $said"
  [ "$taken" -lt $((limit * 1000)) ] || fail "took $taken ms, more than $limit s: $*"
}
daemon_ends_within() {
  local begin
  begin=$(now_ms)
  wait_until "$1" is_gone "$daemon" || fail "the daemon has not ended within $1 s: $(cat "$mountpoint.log")"
  status=0
  wait "$daemon" || status=$?
  say "the daemon ended after $(($(now_ms) - begin)) ms with exit status $status"
  [ "$status" -eq 1 ] || fail "the daemon ended with exit status $status: $(cat "$mountpoint.log")"
}
# The layer answers again; what was flushed is there, and the image is sound.
afterwards() {
  kill -CONT "$server"
  local process
  for process in "${waiting[@]}"; do wait "$process" || true; done
  waiting=()
  not is_mounted "$mountpoint" || fail "$mountpoint is still mounted"
  check_no_corruption top.qcow2
  mount_image -r top.qcow2
  cmp -n $((1 << 20)) -i $((32 << 20)):0 "$view" local.raw || fail "what was synced is lost"
  unmount_image
}
waiting=()

say "the layer never answers: status, local reads, SIGTERM"
hang
ask_in_vain 40
within 5 "$penstock" status "$mountpoint"
[ "$status" -eq 0 ] || fail "status fails"
# Direct: read ahead would ask for what lies behind, too.
within 2 dd if="$view" of=read.raw bs=64k skip=512 count=16 iflag=direct status=none
[ "$status" -eq 0 ] || fail "local data cannot be read"
same_bytes read.raw local.raw
within 10 "$penstock" umount "$mountpoint"
[[ "$status" -eq 1 && "$said" == *"in use"* ]] || fail "a mount in use was ended by umount"
kill -TERM "$daemon"
daemon_ends_within 30
grep -q "ended without being closed: 41 requests waited in vain for a layer that does not answer; all that was written is flushed" \
  "$mountpoint.log" || fail "what was left is not told: $(cat "$mountpoint.log")"
afterwards

say "a base that must be looked for is not found in time, and the mount goes on"
: >other-name.raw
mount --bind slow.raw other-name.raw
on_exit "umount -l '$work/other-name.raw'"
hang
sleep 1.5 # what the kernel knows of the file itself it keeps for a second
# Another file needs no look at the layer.
within 2 "$penstock" stream start --base "$work/base.raw" "$mountpoint"
[[ "$status" -eq 1 && "$said" == *"Can't find"* ]] || fail "a file that is no layer: $said"
within 5 "$penstock" stream start --base "$work/other-name.raw" "$mountpoint"
[[ "$status" -eq 1 && "$said" == *"a layer does not answer"* ]] || fail "the search for a base is not given up"
within 5 "$penstock" status "$mountpoint"
[ "$status" -eq 0 ] || fail "status fails"
kill -TERM "$daemon"
daemon_ends_within 30
afterwards

say "the streaming job waits: umount, with and without a deadline"
hang --stream
within 5 "$penstock" status "$mountpoint"
[ "$status" -eq 0 ] || fail "status fails"
within 4 "$penstock" umount --deadline 2s "$mountpoint"
[[ "$status" -eq 1 && "$said" == *"not ended in time"* ]] || fail "the deadline is not told: $said"
daemon_ends_within 30
afterwards
hang --stream
within 30 "$penstock" umount "$mountpoint"
[[ "$status" -eq 1 && "$said" == *"the streaming job waited in vain"* ]] || fail "what was left is not told: $said"
daemon_ends_within 5
afterwards
