#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The systemd unit is one that systemd accepts; what it runs tells the manager, over NOTIFY_SOCKET, that it is ready, how
# it goes, that it lives while it does, and that it stops; its stop leaves the image closed. PENSTOCK_BUILD is where the
# unit was made; unset: it is installed.
. "$(dirname "$0")/lib.sh"
need_fuse
need qemu-img python3
unit=${PENSTOCK_BUILD:+$PENSTOCK_BUILD/systemd/penstock@.service}
unit=${unit:-/lib/systemd/system/penstock@.service}

qemu-img create -q -f qcow2 "$work/base.qcow2" 64M
random_bytes 1 $((32 << 20)) "$work/data"
qemu-img convert -n -f raw -O qcow2 "$work/data" "$work/base.qcow2"
image=$work/disk.qcow2
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 "$image"
mountpoint=$work/mnt
mkdir "$mountpoint"
on_exit "force_unmount '$mountpoint'"
export PENSTOCK_IMAGE=$image PENSTOCK_MOUNTPOINT=$mountpoint PENSTOCK_FLAGS='--stream --stream-speed 16M'
export PENSTOCK_STOP_FLAGS=--wait
env | grep '^PENSTOCK_[IMFS]' >"$work/vm.conf"

# The line of the unit with its variables, as systemd expands them: ${X} is one word, $X is split.
command_of() {
  sed -n "s,^$1=,,p" "$unit" | sed "s,^[^ ]*/penstock,'$penstock',"
}

if command -v systemd-analyze >/dev/null; then
  say "systemd-analyze verify"
  mkdir "$work/units"
  sed "s,=[^ ]*/bin/penstock,=\"$(readlink -f "$penstock")\",; s,[^ =]*/penstock/%i.conf,$work/vm.conf," "$unit" \
    >"$work/units/penstock@vm.service"
  systemd-analyze verify --man=no "$work/units/penstock@vm.service" >"$work/verify" 2>&1 ||
    fail "systemd-analyze verify: $(cat "$work/verify")"
  ! grep -F penstock "$work/verify" || fail "systemd-analyze verify complains"
fi

# notified ADDRESS: a manager's end of the socket, which writes what it hears into $work/heard.
notified() {
  : >"$work/heard"
  python3 - "$1" "$work/heard" "$work/listening" <<'PYTHON' &
import socket, sys
end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
name = sys.argv[1]
end.bind("\0" + name[1:] if name[0] == "@" else name)
open(sys.argv[3], "w").close()
with open(sys.argv[2], "a") as heard:
    while True:
        heard.write(end.recv(65536).decode())
        heard.flush()
PYTHON
  manager=$!
  on_exit "end_child $manager"
  wait_until 60 test -e "$work/listening" || fail "no manager"
  rm "$work/listening"
}
heard() { grep -q -- "$1" "$work/heard"; }
for address in "$work/notify" "@penstock-test-$$"; do
  say "the unit's ExecStart, with NOTIFY_SOCKET=$address"
  notified "$address"
  eval "NOTIFY_SOCKET=$address WATCHDOG_USEC=400000 exec $(command_of ExecStart)" >"$work/service.log" 2>&1 &
  daemon=$!
  on_exit "end_child $daemon"
  wait_until 60 heard '^READY=1' || fail "never ready: $(cat "$work/service.log")"
  is_mounted "$mountpoint" || fail "ready before it is mounted"
  wait_until 60 heard '^STATUS=.*disk.qcow2' || fail "no status: $(cat "$work/heard")"
  lives=$(grep -c '^WATCHDOG=1' "$work/heard" || true)
  more_lives() { [ "$(grep -c '^WATCHDOG=1' "$work/heard")" -gt $((lives + 3)) ]; }
  wait_until 60 more_lives || fail "no signs of life"
  not heard STOPPING || fail "stops without being told"
  # In the second round all is there.
  not heard '^STATUS=.*, 0 B left' || fail "nothing left, or so it says: $(cat "$work/heard")"
  say "ExecStop"
  eval "$(command_of ExecStop)" >"$work/stop.log" 2>&1 || fail "ExecStop: $(cat "$work/stop.log")"
  wait $daemon || fail "the service ended with an error: $(cat "$work/service.log")"
  wait_until 60 heard '^STOPPING=1' || fail "not told that it stops: $(cat "$work/heard")"
  check_clean "$image"
  kill $manager
  wait $manager 2>/dev/null || true
done
[[ "$(qemu-img info "$image")" != *backing* ]] || fail "stop --wait did not finalise"
qemu-img compare -q -f qcow2 -F qcow2 "$work/base.qcow2" "$image" || fail "contents changed"
grep -q '^STATUS=.*streaming\|provisioned' "$work/heard" || say "the image was complete from the start of the last round"

say "a manager that cannot be reached is no obstacle; one that makes no sense is an error"
NOTIFY_SOCKET=$work/nobody "$penstock" mount --foreground "$image" "$mountpoint" >"$work/service.log" 2>&1 &
daemon=$!
on_exit "end_child $daemon"
wait_until 60 "$penstock" status "$mountpoint" >/dev/null 2>&1 || fail "not mounted: $(cat "$work/service.log")"
kill -TERM $daemon
wait $daemon || fail "SIGTERM: exits $?"
must_fail 'NOTIFY_SOCKET' env NOTIFY_SOCKET=relative "$penstock" mount --foreground "$image" "$mountpoint"
