#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A parent that is killed while it waits, a daemon that is killed before it has answered anything, no more file
# descriptors, no more memory: requests fail with a reason or work, nothing that was written is lost, the daemon idles,
# and goes on when it has what it needs again.
. "$(dirname "$0")/lib.sh"
need_fuse
need qemu-img python3 prlimit
load=$(dirname "$0")/short_of_memory.py
image=$work/disk.qcow2
qemu-img create -q -f qcow2 -o cluster_size=16k "$image" 64M

say "the parent is killed while it waits for the mount"
mountpoint=$work/mnt
mkdir "$mountpoint"
on_exit "force_unmount '$mountpoint'"
is_free() { qemu-io -r -c 'read 0 512' "$image" >/dev/null 2>&1 && not is_mounted "$mountpoint"; }
for delay in 0.002 0.005 0.01 0.02 0.03 0.05; do
  # What was mounted by then is whole, and can be unmounted; what comes up a moment later goes by itself.
  python3 "$(dirname "$0")/interrupted.py" KILL $delay "[ ! -e '$mountpoint/disk.raw' ] || '$penstock' umount '$mountpoint'" \
    "$penstock" mount "$image" "$mountpoint" || fail "killed after $delay s"
  is_free || fail "killed after $delay s: something is left"
done

say "the daemon is killed while its mount waits for its first answer"
need strace
for signal in KILL ABRT; do
  # Answers wait where they leave; the second is that to the first look at the view.
  : >"$work/trace"
  LSAN_OPTIONS=detect_leaks=0 strace -f -qq -o "$work/trace" -e trace=writev -e inject=writev:delay_enter=2000000 \
    "$penstock" mount --foreground "$image" "$mountpoint" >"$work/traced.log" 2>&1 &
  tracer=$!
  on_exit "end_child $tracer"
  second_answer() { [ "$(grep -c 'writev(' "$work/trace")" -ge 2 ]; }
  wait_until 120 second_answer || fail "nothing is asked: $(cat "$work/traced.log")"
  daemon=$(pgrep -o -P $tracer)
  kill -$signal "$daemon"
  wait_until 60 is_gone "$daemon" || fail "$signal: the daemon cannot end: $(cat /proc/"$daemon"/task/*/wchan)"
  force_unmount "$mountpoint"
  wait $tracer 2>/dev/null || true
  wait_until 60 is_free || fail "$signal: something is left"
done

# Sanitizers look at memory through pipes, and need more addresses than any limit leaves.
if sanitized; then
  say "no limits under a sanitizer"
  exit 0
fi

# cpu_ticks PROCESS: hundredths of a second of processor time.
cpu_ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }

say "no file descriptors"
mount_in_foreground -f qcow2 "$image"
wait_until 60 "$penstock" status "$mountpoint" >/dev/null || fail "no status"
random_bytes 1 $((4 << 20)) "$work/wanted"
# The limit is on the number of the next one: the lowest that is free.
no_more() {
  local number=0
  while [ -e "/proc/$daemon/fd/$number" ]; do number=$((number + 1)); done
  prlimit --pid "$daemon" --nofile=$number:4096
}
# What the last client left may be closed only now, and its number be free again.
unreachable() {
  no_more
  before=$(cpu_ticks "$daemon")
  not timeout 3 "$penstock" status "$mountpoint" >/dev/null 2>&1 || return 1
  used=$(($(cpu_ticks "$daemon") - before))
}
wait_until 60 unreachable || fail "status works: nothing is shown by this"
dd if="$work/wanted" of="$view" bs=64k conv=notrunc,fsync status=none || fail "writing needs a descriptor"
[ "$used" -lt 100 ] || fail "the daemon spins while a client waits: $used ticks"
prlimit --pid "$daemon" --nofile=4096:4096
wait_until 60 "$penstock" status "$mountpoint" >/dev/null || fail "no status though there are descriptors again"
no_more
kill -TERM "$daemon"
status=0
wait "$daemon" || status=$?
[ $status -eq 0 ] || fail "SIGTERM without descriptors: exit status $status: $(cat "$mountpoint.log")"
not is_mounted "$mountpoint" || fail "still mounted"
qemu-img convert -f qcow2 -O raw "$image" "$work/got.raw"
cmp -n $((4 << 20)) "$work/got.raw" "$work/wanted" || fail "what was written is lost"
check_clean "$image"

# A limit too low to mount with: one line, nothing left.
for limit in 4 6 8 10 12 16; do
  status=0
  said=$(prlimit --nofile=$limit timeout 60 "$penstock" mount -f qcow2 "$image" "$work/mnt" 2>&1) || status=$?
  if [ $status -eq 0 ]; then
    "$penstock" umount "$work/mnt" >/dev/null || umount "$work/mnt"
  else
    [ $status -eq 1 ] || [ $status -eq 127 ] || fail "$limit descriptors: exit status $status: $said"
  fi
  wait_until 60 is_free || fail "$limit descriptors: something is left: $said"
done

say "a limit on the size of files: the guest is told, the daemon goes on, what was flushed stays"
rm -f "$image"
qemu-img create -q -f qcow2 "$image" 64M
mount_in_foreground "$image"
dd if="$work/wanted" of="$view" bs=64k count=16 conv=notrunc,fsync status=none
prlimit --pid "$daemon" --fsize=$((2 << 20)):unlimited
said=$(dd if="$work/wanted" of="$view" bs=64k seek=16 count=48 conv=notrunc,fsync 2>&1) && fail "it writes beyond the limit"
[[ "$said" == *'File too large'* ]] || fail "the guest is told: $said"
cmp -n $((1 << 20)) "$view" "$work/wanted" || fail "reads otherwise"
prlimit --pid "$daemon" --fsize=unlimited:unlimited
dd if="$work/wanted" of="$view" bs=64k conv=notrunc,fsync status=none || fail "no writing after the limit is lifted"
unmount_image "$mountpoint" >/dev/null
wait "$daemon" || fail "exit status after a limit that was lifted: $(cat "$mountpoint.log")"
qemu-img convert -f qcow2 -O raw "$image" "$work/got.raw"
cmp -n $((4 << 20)) "$work/got.raw" "$work/wanted" || fail "what was written is lost"
check_clean "$image"
"$penstock" create -q -f raw "$work/long.raw" 1M
said=$(prlimit --fsize=$((1 << 20)) "$penstock" convert -f raw -O qcow2 -o preallocation=full "$work/long.raw" "$work/cut.qcow2" 2>&1) &&
  fail "it converts beyond the limit"
[[ "$said" == *'File too large'* ]] || fail "convert says: $said"
[ ! -e "$work/cut.qcow2" ] || fail "what convert could not make is left"

say "a limit on memory that is too low: refused in one line, or served, and streamed to the end"
random_bytes 3 $((2 << 20)) "$work/base.raw"
served=0
for limit in 30 60 90 120 150 170 180 190 200 210 220 240 260 280 300 340 400; do
  rm -f "$image"
  qemu-img create -q -f qcow2 -b base.raw -F raw "$image"
  status=0
  said=$(prlimit --as=$((limit * 1000000)) timeout 60 "$penstock" mount --threads 4 --stream "$image" "$work/mnt" 2>&1) ||
    status=$?
  if [ $status -eq 0 ]; then
    served=$((served + 1))
    same_bytes "$work/mnt/disk.raw" "$work/base.raw"
    timeout 60 "$penstock" stream wait "$work/mnt" >/dev/null || fail "$limit MB: the stream fails"
    "$penstock" umount "$work/mnt" >/dev/null || fail "$limit MB: umount"
  else
    [ $status -eq 1 ] || [ $status -eq 127 ] || fail "$limit MB: exit status $status: $said"
    [ "$(wc -l <<<"$said")" -eq 1 ] || fail "$limit MB: not one line: $said"
    not is_mounted "$work/mnt" || fail "$limit MB: left mounted"
  fi
  wait_until 60 is_free || fail "$limit MB: something is left: $said"
  compare_with_raw "$image" "$work/base.raw"
done
[ $served -gt 0 ] || fail "no limit is high enough"

for format in qcow2 qed; do
  say "no memory: $format"
  rm -f "$image" "$work/got.raw"
  random_bytes 2 $((64 << 20)) "$work/base.raw"
  "$penstock" create -q -f $format -b base.raw -F raw -o cluster_size=16k "$image"
  mount_in_foreground -f $format --threads 4 "$image"
  wait_until 60 "$penstock" status "$mountpoint" >/dev/null || fail "no status"
  cat "$view" >/dev/null # every thread has its stack and its buffers
  python3 "$load" "$view" "$work/base.raw" "$daemon" || fail "the load: $(cat "$mountpoint.log")"
  kill -0 "$daemon" || fail "the daemon is gone: $(cat "$mountpoint.log")"
  "$penstock" status "$mountpoint" >/dev/null || fail "no status afterwards"
  unmount_image
  wait "$daemon" || fail "the daemon ends with an error: $(cat "$mountpoint.log")"
  qemu-img convert -f $format -O raw "$image" "$work/got.raw"
  not cmp -s "$work/got.raw" "$work/base.raw" || fail "the load wrote nothing"
  python3 "$load" verify "$work/got.raw" "$work/base.raw.model" || fail "in the image: not what was written"
  check_clean "$image"
done
