#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Whoever unmounts, and however: the daemon ends at once, cleanly, with everything in the image; a busy mount stays as it
# is; an abort is an error that says so.
. "$(dirname "$0")/lib.sh"
need_fuse
need qemu-img fusermount3 python3

image=$work/disk.qcow2
seed=0
# start: a daemon as our child, with dirty pages of a shared mapping in its view.
start() {
  rm -f "$image"
  qemu-img create -q -f qcow2 "$image" 64M
  mount_in_foreground -f qcow2 "$image"
  wait_until 60 "$penstock" status "$mountpoint" >/dev/null || fail "no status"
  seed=$((seed + 1))
  random_bytes $seed $((4 << 20)) "$work/wanted"
  python3 - "$view" "$work/wanted" <<'PYTHON'
import mmap, os, sys
wanted = open(sys.argv[2], "rb").read()
fd = os.open(sys.argv[1], os.O_RDWR)
view = mmap.mmap(fd, 8 << 20)
view[100 : 100 + len(wanted)] = wanted
PYTHON
}
# ended STATUS: the daemon ends with this status; sets $took, the milliseconds until then.
ended() {
  local wanted=$1 status=0 since
  since=$(now_ms)
  while ! is_gone "$daemon"; do
    [ $(($(now_ms) - since)) -lt 60000 ] || fail "the daemon goes on"
    sleep 0.02
  done
  took=$(($(now_ms) - since))
  wait "$daemon" || status=$?
  [ "$status" -eq "$wanted" ] || fail "the daemon exits $status, not $wanted: $(cat "$mountpoint.log")"
  not is_mounted "$mountpoint" || fail "still mounted"
  [ -z "$(ls "$mountpoint")" ] || fail "the mountpoint is not empty"
}
contents_kept() {
  qemu-img convert -f qcow2 -O raw "$image" "$work/got.raw"
  cmp "$work/wanted" <(tail -c +101 "$work/got.raw" | head -c $((4 << 20))) || fail "what was written is lost"
  check_clean "$image"
}

# at_once WHAT COMMAND...: which sets $took; a second and what this machine needs for as much work elsewhere is enough in
# one of some tries: it may be slow now, or stand still for a moment.
at_once() {
  local what=$1 try since needed
  shift
  say "$what"
  for try in 1 2 3 4 5; do
    "$@"
    since=$(now_ms)
    dd if="$work/wanted" of="$work/elsewhere" bs=1M conv=fsync status=none
    "$penstock" --version >/dev/null
    needed=$(($(now_ms) - since))
    [ $took -gt $((1000 + 10 * needed)) ] || return 0
    say "   $took ms (as much elsewhere: $needed ms); again ($try)"
  done
  fail "$what: always takes longer than a second"
}
unmounted_by() {
  start
  "$@" "$mountpoint" || fail "$*"
  ended 0
  contents_kept
}
for way in 'umount' 'umount -l' 'fusermount3 -u' 'fusermount3 -uz'; do
  # shellcheck disable=SC2086
  at_once "$way" unmounted_by $way
done
at_once 'penstock umount' unmounted_by "$penstock" umount

ended_by() {
  start
  kill -"$1" "$daemon"
  ended 0
  contents_kept
}
for signal in TERM INT HUP; do at_once "SIG$signal" ended_by $signal; done

idle() {
  local since
  mount_in_foreground -f qcow2 -r "$image"
  wait_until 60 "$penstock" status "$mountpoint" >/dev/null
  since=$(now_ms)
  "$penstock" umount "$mountpoint"
  since=$(($(now_ms) - since))
  ended 0
  took=$since
}
at_once 'penstock umount of an idle image' idle

say "a busy mount stays, and works on"
start
exec 7<>"$view"
must_fail 'in use' "$penstock" umount "$mountpoint"
must_fail 'busy' umount "$mountpoint"
is_mounted "$mountpoint" || fail "a busy mount is gone"
printf 'still here' >&7
"$penstock" status "$mountpoint" >/dev/null || fail "no status after a refused umount"
exec 7>&-
"$penstock" umount "$mountpoint" || fail "umount after the last close"
ended 0

say "a lazy unmount of a busy mount serves until the last close"
start
exec 7<>"$view"
umount -l "$mountpoint"
not is_mounted "$mountpoint" || fail "umount -l did not unmount"
kill -0 "$daemon" || fail "the daemon left an open file"
dd if="$work/wanted" bs=1M count=1 status=none >&7
exec 7>&-
ended 0
qemu-img convert -f qcow2 -O raw "$image" "$work/got.raw"
cmp -n 1048576 "$work/got.raw" "$work/wanted" || fail "what was written after umount -l is lost"
check_clean "$image"

say "SIGTERM ends a busy mount too, with mapped pages in the image"
start
python3 - "$view" "$work/ready" <<'PYTHON' &
import mmap, os, signal, sys
fd = os.open(sys.argv[1], os.O_RDWR)
view = mmap.mmap(fd, 8 << 20)
view[5 << 20 : (5 << 20) + 4096] = b"m" * 4096
open(sys.argv[2], "w").close()
signal.pause()
PYTHON
holder=$!
on_exit "end_child $holder"
wait_until 60 test -e "$work/ready" || fail "the mapping is not made"
kill -TERM "$daemon"
ended 0
kill -KILL $holder
wait $holder 2>/dev/null || true
contents_kept
[ "$(dd if="$work/got.raw" bs=1M skip=5 count=1 status=none | head -c 4096 | tr -d m | wc -c)" -eq 0 ] ||
  fail "pages of a mapping are lost"

say "an aborted connection is an error with a name, and leaves no dead mount"
connections=/sys/fs/fuse/connections
start
number=$(awk -v path="$mountpoint" '$5 == path { sub(/.*:/, "", $3); print $3 }' /proc/self/mountinfo)
if [ ! -e "$connections/$number/abort" ] && [ "$(id -u)" -eq 0 ]; then
  connections=$work/connections
  mkdir "$connections"
  mount -t fusectl none "$connections" && on_exit "umount '$connections'"
fi
if [ -e "$connections/$number/abort" ]; then
  echo 1 >"$connections/$number/abort"
  ended 1
  grep -q aborted "$mountpoint.log" || fail "no word about the abort: $(cat "$mountpoint.log")"
  contents_kept
else
  say "no fusectl here"
  "$penstock" umount "$mountpoint"
fi

say "no busy loop and no word in the log after any of these"
for log in "$work"/*.log; do
  [ "$(wc -l <"$log")" -le 40 ] || fail "$log is flooded"
done
