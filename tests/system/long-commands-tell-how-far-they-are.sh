#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What takes long tells how far it is: a bar with rate and time left on a terminal, without being asked; lines elsewhere,
# when asked; nothing with -q. What a command prints besides stays as it is.
. "$(dirname "$0")/lib.sh"
need_fuse
need qemu-img python3 strace
export LSAN_OPTIONS=detect_leaks=0 # which cannot work under a tracer

terminal="python3 $(readlink -f "$(dirname "$0")/progress_terminal.py")"
cd "$work"
sparse_data base.raw
qemu-img create -q -f qcow2 -b base.raw -F raw top.qcow2
qemu-io -c 'write -P 5 0 8M' top.qcow2 >/dev/null
cp top.qcow2 again.qcow2
cp base.raw other.raw
# Lines up to 100 % with -p.
lines() {
  local name=$1
  shift
  "$@" -p 2>"$work/lines" >/dev/null || fail "$* -p: $(cat "$work/lines")"
  grep -q "^$name: 100.0 % (.* of .*)" "$work/lines" || fail "'$* -p' does not tell that all is done: $(cat "$work/lines")"
  ! grep -q $'[\r\033]' "$work/lines" || fail "'$* -p' takes a file for a terminal"
}
silent() {
  "$@" 2>"$work/lines" >/dev/null || fail "$*: $(cat "$work/lines")"
  [ ! -s "$work/lines" ] || fail "'$*' tells: $(cat "$work/lines")"
}

say "lines where there is no terminal, when asked for"
lines Converting "$penstock" convert -O qcow2 top.qcow2 out.qcow2
lines Rebasing "$penstock" rebase -b other.raw -F raw top.qcow2
lines Committing "$penstock" commit top.qcow2
lines Comparing "$penstock" compare -F qcow2 other.raw out.qcow2
lines 'Setting aside' "$penstock" create -f raw -o preallocation=full new.raw 40M
lines 'Setting aside' "$penstock" create -f qcow2 -o preallocation=full new.qcow2 40M
"$penstock" check -p out.qcow2 2>&1 >/dev/null | has '^Checking: ' || fail "check -p does not tell"
for flags in '' '-q' '-q -p'; do
  # shellcheck disable=SC2086
  {
    silent "$penstock" convert $flags -O qcow2 again.qcow2 out.qcow2
    silent "$penstock" create $flags -f raw -o preallocation=full new.raw 8M
    silent "$penstock" check $flags out.qcow2
  }
done

say "a bar on a terminal, when it takes longer than a second; it goes when all is done"
# slow MILLISECONDS: what goes before a command, so that each write takes so long, whichever thread makes it.
slow() { echo strace -f -q -o /dev/null -e trace=pwrite64,pwritev -e inject=pwrite64,pwritev:delay_enter="$1"ms; }
# shellcheck disable=SC2046
{
  $terminal 'Setting aside' gone $(slow 10) "$penstock" create -f raw -o preallocation=full new.raw 20M
  $terminal 'Converting' gone $(slow 40) "$penstock" convert -S 0 -m 1 -O raw again.qcow2 out.raw
  $terminal '' none $(slow 40) "$penstock" convert -q -S 0 -m 1 -O raw again.qcow2 out.raw
}
$terminal '' none "$penstock" create -f raw new.raw 20M

say "umount --wait shows the streaming, with its rate and the time left, and -q does not"
# So slow that it cannot have ended before; at full speed once the bar has told everything.
mount_image --stream --stream-speed 256K again.qcow2
THEN="$penstock stream speed 0 $mountpoint" $terminal 'streaming' 'rate left' "$penstock" umount --wait "$mountpoint"
is_mounted "$mountpoint" && fail "still mounted"
cp top.qcow2 again.qcow2
qemu-img create -q -f qcow2 -b base.raw -F raw again.qcow2
mount_image again.qcow2
[ -z "$("$penstock" umount --wait -q "$mountpoint" 2>&1)" ] || fail "umount -q tells"
