#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A mount that nobody uses has a handful of threads, little memory and no work; requests that wait for a slow disk get
# threads up to a bound, and where the system gives none it goes on with those that there are.
. "$(dirname "$0")/lib.sh"
need_fuse
need python3 qemu-img
cd "$work"
# meson has the C library fill what it gives out, which takes memory that nobody asked for.
unset MALLOC_PERTURB_

# family DAEMON: its process and its helper's.
family() { printf '%s\n' "$1" "$(helper_of "$1")"; }
count_threads() {
  local process total=0 tasks
  for process in $(family "$1"); do
    tasks=(/proc/"$process"/task/*)
    total=$((total + ${#tasks[@]}))
  done
  echo $total
}
pss_kib() { for process in $(family "$1"); do awk '/^Pss:/ { print $2 }' /proc/"$process"/smaps_rollup; done | paste -sd+ | bc; }
# Of all threads.
switches() { for process in $(family "$1"); do cat /proc/"$process"/task/*/status; done | awk '/ctxt_switches/ { n += $2 } END { print n }'; }
daemon_of() { "$penstock" status --json "$1" | sed -n 's/.*"pid": \([0-9]*\).*/\1/p'; }

say "ten idle mounts over one base"
random_bytes 3 $((8 << 20)) base.raw
daemons=()
for number in 1 2 3 4 5 6 7 8 9 10; do
  qemu-img create -q -f qcow2 -b base.raw -F raw disk$number.qcow2
  mount_image disk$number.qcow2
  [ "$(head -c 4096 "$view" | cksum)" = "$(head -c 4096 base.raw | cksum)" ] || fail "other contents"
  daemons+=("$(daemon_of "$mountpoint")")
done
sum=0
for daemon in "${daemons[@]}"; do
  threads=$(count_threads "$daemon")
  [ "$threads" -le 8 ] || fail "an idle mount has $threads threads"
  sum=$((sum + $(pss_kib "$daemon")))
done
say "   $threads threads, $((sum / 10)) KiB each"
if ! sanitized; then
  [ $((sum / 10)) -le 3072 ] || fail "an idle mount takes $((sum / 10)) KiB"
fi
# Somebody else may look at all mounts of the machine now and then; who polls is never quiet.
are_quiet() {
  local before after
  before=$(for daemon in "${daemons[@]}"; do switches "$daemon"; done | paste -sd+ | bc)
  sleep 2
  after=$(for daemon in "${daemons[@]}"; do switches "$daemon"; done | paste -sd+ | bc)
  [ "$after" -eq "$before" ]
}
wait_until 60 are_quiet || fail "idle mounts wake up"
for number in 1 2 3 4 5 6 7 8 9 10; do unmount_image "$work/mnt.$number" >/dev/null; done

say "a slow disk"
random_bytes 5 $((48 << 20)) disk.raw
show_slowly disk.raw 40 1000
mount_image -f raw -r --threads 1 slow.raw
daemon=$(daemon_of "$mountpoint")
few=$(ls /proc/"$daemon"/task | wc -l)

# reads FIRST COUNT: so many at once, further apart than the kernel reads ahead, from place FIRST on; says how long they took and how many threads there were.
reads() {
  python3 - "$view" disk.raw "$daemon" "$1" "$2" <<'END'
import mmap, os, sys, threading, time
name, raw, daemon, first, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
wanted = open(raw, "rb").read()
view = os.open(name, os.O_RDONLY | os.O_DIRECT)
begin = time.monotonic()
problems = []
def read(at):
    page = mmap.mmap(-1, 4096)
    if os.preadv(view, [page], at) != 4096 or page[:] != wanted[at:at + 4096]:
        problems.append(at)
threads = [threading.Thread(target=read, args=((first + number) << 19,)) for number in range(count)]
for thread in threads:
    thread.start()
most = 0
while any(thread.is_alive() for thread in threads):
    most = max(most, len(os.listdir(f"/proc/{daemon}/task")))
    time.sleep(0.02)
assert not problems, problems
print(f"{time.monotonic() - begin:.1f} {most}")
END
}

say "no memory for one more thread: it serves with those that there are"
size=$(awk '/^VmSize:/ { print $2 * 1024 }' /proc/"$daemon"/status)
prlimit --pid "$daemon" --as=$((size + (300 << 10))):unlimited
read -r seconds most <<<"$(reads 0 4)"
say "   4 reads of a second took $seconds s, with $most threads"
[ "$most" -le "$few" ] || fail "$most threads beyond the limit, $few before"
prlimit --pid "$daemon" --as=unlimited:unlimited
"$penstock" status "$mountpoint" >/dev/null || fail "the daemon is gone"

say "with memory: one for each request that waits"
read -r seconds most <<<"$(reads 4 12)"
say "   12 reads of a second took $seconds s, with $most threads"
[ "${seconds%.*}" -lt 6 ] || fail "12 reads of a second took $seconds s"
[ "$most" -ge 14 ] || fail "12 reads had $most threads"
read -r seconds most <<<"$(reads 16 60)"
say "   60 reads of a second took $seconds s, with $most threads"
[ "${seconds%.*}" -lt 10 ] || fail "60 reads of a second took $seconds s"
# 60 that wait, at most two that are ready, the attendant and the one that waits for the end; a look of the kernel's ahead
# may make another wait.
if [ "$most" -lt 55 ] || [ "$most" -gt 66 ]; then fail "60 reads had $most threads"; fi
unmount_image
