#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A daemon that serves has given up what only mounting needed, and can still do all that it is for: stream, let go of
# its backing file, resize, answer on its socket, unmount itself and remove its socket. --sandbox=off keeps everything.
. "$(dirname "$0")/lib.sh"
need_fuse
need qemu-img python3
# A sanitizer may not trace its own process there, as it does to find leaks, nor make files.
export ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0:log_path=stderr UBSAN_OPTIONS=${UBSAN_OPTIONS:-}:log_path=stderr
random_bytes 1 $((8 << 20)) "$work/base.raw"

status_of() { sed -n "s/^$2:[[:space:]]*//p" "/proc/$1/status"; }
in_force() { "$penstock" status --json "$mountpoint" | python3 -c 'import json, sys; print(json.load(sys.stdin)["sandbox"])'; }

for format in qcow2 qed add-cow; do
  say "$format"
  options=cluster_size=64k
  [ $format != add-cow ] || options=$options,image_file=disk.data
  (cd "$work" && "$penstock" create -q -f $format -b base.raw -F raw -o $options disk.$format)
  mount_in_foreground --sandbox=on --resizable -f $format "$work/disk.$format"
  wait_until 60 "$penstock" status "$mountpoint" >/dev/null || fail "no status"
  shown=$(in_force)
  say "   in force: $shown"
  if [[ "$shown" == *seccomp* ]]; then
    [ "$(status_of "$daemon" Seccomp)" = 2 ] || fail "no filter of system calls"
  fi
  [[ "$shown" != *privileges* ]] || [ "$(status_of "$daemon" NoNewPrivs)" = 1 ] || fail "new privileges are possible"
  # CAP_SYS_RESOURCE is bit 24.
  for set in CapEff CapPrm; do
    [ $((0x$(status_of "$daemon" $set) & ~(1 << 24))) -eq 0 ] || fail "$set is $(status_of "$daemon" $set)"
  done
  for task in /proc/"$daemon"/task/*; do
    [ "$(sed -n 's/^CapEff:[[:space:]]*//p' "$task/status")" = "$(status_of "$daemon" CapEff)" ] ||
      fail "a thread has kept its rights"
  done
  # What a process is given by PR_SET_IO_FLUSHER, shown by one that asks for it: no waiting for writeback, which might
  # be to its own disk.
  flusher=$(python3 -c 'import ctypes
flags = lambda: int(open("/proc/self/stat").read().rsplit(")", 1)[1].split()[6])
before = flags()
ctypes.CDLL(None).prctl(57, 1, 0, 0, 0)
print(flags() & ~before)')
  for task in /proc/"$daemon"/task/*; do
    [ "$task" != "/proc/$daemon/task/*" ] || fail "no threads"
    flags=$(sed 's/.*) //' "$task/stat" | cut -d ' ' -f 7)
    [ $((flags & flusher)) -eq "$flusher" ] || fail "a thread waits for writeback: flags $flags without $flusher"
  done
  dd if=/dev/urandom of="$view" bs=64k count=4 seek=3 conv=notrunc,fsync status=none
  cp "$view" "$work/model.raw"
  "$penstock" stream start "$mountpoint" >/dev/null
  "$penstock" stream wait "$mountpoint" >/dev/null || fail "the stream does not end well"
  truncate -s 12M "$view"
  truncate -s 12M "$work/model.raw"
  fallocate -p -o 1M -l 1M "$view"
  fallocate -p -o 1M -l 1M "$work/model.raw"
  sync "$view"
  cmp "$view" "$work/model.raw" || fail "not what was written"
  socket=$("$penstock" status --json "$mountpoint" | python3 -c 'import json, sys; print(json.load(sys.stdin)["control"])')
  [ -S "$socket" ] || fail "no socket at $socket"
  "$penstock" umount "$mountpoint" >"$work/said"
  grep -q 'needs no backing file' "$work/said" || fail "umount says: $(cat "$work/said")"
  wait "$daemon" || fail "exit status: $(cat "$mountpoint.log")"
  [ ! -e "$socket" ] || fail "the socket is left"
  "$penstock" compare -f $format -F raw "$work/disk.$format" "$work/model.raw" >/dev/null || fail "not what was written"
done

say "off"
qemu-img create -q -f qcow2 "$work/plain.qcow2" 8M
mount_in_foreground --sandbox=off "$work/plain.qcow2"
wait_until 60 "$penstock" status "$mountpoint" >/dev/null || fail "no status"
[ "$(in_force)" = off ] || fail "not off: $(in_force)"
[ "$(status_of "$daemon" Seccomp)" = 0 ] || fail "a filter all the same"
"$penstock" umount "$mountpoint" >/dev/null
wait "$daemon"

say "the helper ends with its daemon, however that ends"
for sandbox in on off; do
  mount_in_foreground --sandbox=$sandbox "$work/plain.qcow2"
  wait_until 60 "$penstock" status "$mountpoint" >/dev/null || fail "no status"
  helper=$(helper_of "$daemon")
  [ -n "$helper" ] || fail "sandbox $sandbox: no helper"
  [ "$(find "/proc/$helper/fd" -lname "$work/*" | wc -l)" -eq 0 ] || fail "the helper has files of ours open"
  kill -KILL "$daemon"
  wait "$daemon" 2>/dev/null || true
  wait_until 60 is_gone "$helper" || fail "sandbox $sandbox: the helper is left"
  force_unmount "$mountpoint"
done

say "without its helper a daemon cannot unmount itself, says so, and ends by an unmount from outside"
mount_in_foreground --sandbox=on "$work/plain.qcow2"
wait_until 60 "$penstock" status "$mountpoint" >/dev/null || fail "no status"
kill -KILL "$(helper_of "$daemon")"
dd if=/dev/urandom of="$view" bs=64k count=4 conv=notrunc status=none
cp "$view" "$work/model.raw"
must_fail 'helper' "$penstock" umount "$mountpoint"
umount "$mountpoint"
wait "$daemon" || fail "exit status: $(cat "$mountpoint.log")"
"$penstock" compare -f qcow2 -F raw "$work/plain.qcow2" "$work/model.raw" >/dev/null || fail "what was written is lost"
check_clean "$work/plain.qcow2"
