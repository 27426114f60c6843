#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# penstock io takes qemu-io's commands, prints its lines (but for times and rates), ends with its status, and leaves the
# same disk behind. What it is compared with is the qemu-io of this machine.
. "$(dirname "$0")/lib.sh"
need qemu-img qemu-io
cd "$work"

# Times and rates differ from run to run; the flags in a usage line are those that each program has.
without_times() { sed -E 's/^(read|write|discard) \[.* -- /\1 -- /; s/; [0-9:.]+ sec \(.*\)$/; TIME/; s/^([0-9]+),([0-9]+),0:00:[0-9.]+,.*$/\1,\2,TIME/' "$1"; }

compared=0
# same COMMAND...: both programs run all of the commands on equal images.
same() {
  local ours=0 theirs=0 command commands=()
  for command in "$@"; do commands+=(-c "$command"); done
  "$penstock" io "${flags[@]}" "${commands[@]}" ours.image >ours.out 2>ours.err || ours=$?
  qemu-io "${flags[@]}" "${commands[@]}" theirs.image >theirs.out 2>theirs.err || theirs=$?
  diff -u <(without_times theirs.out) <(without_times ours.out) || fail "io prints something else for: $*"
  [ "$ours" -eq "$theirs" ] || fail "io exits $ours, qemu-io $theirs for: $*: $(cat ours.err)"
  compared=$((compared + $#))
}
same_disks() {
  qemu-img compare "${compare_flags[@]}" theirs.image ours.image >compare.log || fail "the disks differ: $(cat compare.log)"
}
start_over() { rm -f ours.image theirs.image; cp "$1" ours.image; cp "$1" theirs.image; }

say "qcow2 over a backing file"
qemu-img create -q -f raw base.raw 8M
qemu-io -f raw -c 'write -P 5 0 3M' base.raw >/dev/null
qemu-img create -q -f qcow2 -b base.raw -F raw overlay.qcow2 8M
start_over overlay.qcow2
flags=(-d unmap)
compare_flags=(-s -f qcow2 -F qcow2)
same 'read -P 5 0 3M' 'read -P 5 0 4M' 'read -P 0 3M 1M' 'read -v 3145720 16' 'read -v 0 5'
same 'write -P 0xab 1000 70000' 'write 1M 64k' 'write -q 2M 1' 'write -C 2M 512' 'read -P 0xab 1000 70000'
same 'read -P 0xcd 1M 64k' 'read -P 5 999 1' 'read -P 5 71000 1' 'read -C 0 1k' 'read -q 0 1k' 'read -qv 0 16'
same 'read -P 0xab -s 500 -l 100 500 1k' 'read -P 0xab -s 400 -l 100 500 1k' 'read -P 1 -s 500 0 1k' \
  'read -P 1 -l 2k 0 1k' 'read -s 3 0 1k'
same 'write -z 4M 1M' 'write -z -u 1M 64k' 'write -zu 2M 128k' 'write -z 100 3' 'read -P 0 1M 64k' 'read -P 0 100 3'
same 'write -f 5M 4k' 'write -P 010 5M 8' 'read -P 8 5M 8' 'write -P 300 0 1' 'write -P zz 0 1' 'write -u 0 1k' \
  'write -n 0 1k' 'write -z -P 3 0 1k'
printf 'abcdefg' >pattern
same 'write -s pattern 6M 100k' 'read -v 6M 32' 'read -v 6393800 24'
same 'discard 6M 1M' 'discard -q 0 64k' 'discard -C 64k 64k' 'discard 7M 1M' 'read -P 0 6M 1M'
same 'write 8M 1' 'read 8M 1' 'read 8M 0' 'write 0 0' 'write 8191k 4k' 'discard 9M 1k'
same 'length' 'truncate 10M' 'length' 'read -P 0 8M 2M' 'flush' 'truncate 9M' 'length' 'truncate x' 'truncate 9000000'
same 'alloc 0' 'alloc 0 4M' 'alloc 4M 64k' 'alloc 20M' 'map'
same 'write' 'write 0' 'write 0 1k 3' 'write x 1k' 'write 0 y' 'write 0 9E' 'read -x 0 1' 'read -P' 'foo' 'flush x' 'length 1' \
  'sleep' 'sleep 10' 'sleep x' 'help foo' '' '   ' 'w -P 1 0 1k' 'r -P 1 0 1k' 'd 0 512' 'f' 'l' 'read -P 1 -q -- 0 512'
same 'length' 'quit' 'foo'
same 'q' 'foo'
same_disks
check_clean ours.image

say "raw, read-only, standard input"
start_over base.raw
flags=(-f raw)
compare_flags=(-f raw -F raw)
same 'write -P 9 123 4567' 'write -z 1M 100' 'read -P 9 123 4567' 'write -z 2M 64k' 'map' 'length' 'truncate 9M' 'length'
same_disks
# Only qemu-io cannot open read-only and refuse each write.
"$penstock" io -r -f raw -c 'read 0 1k' ours.image >/dev/null || fail "io -r cannot read"
must_fail 'read-only' "$penstock" io -r -f raw -c 'write 0 1k' ours.image
same_disks
printf 'length\nread 0 1k\nfoo\nquit\nlength\n' >script
status=0
"$penstock" io -f raw ours.image <script >ours.out 2>ours.err || status=$?
[ "$status" -eq 1 ] || fail "a script with a wrong command exits $status"
qemu-io -f raw theirs.image <script 2>theirs.err | sed 's/^\(qemu-io> \)*//' >theirs.out || true
diff -u <(without_times theirs.out) <(without_times ours.out) || fail "a script on standard input prints something else"

say "what was written is there after a clean end"
qemu-img create -q -f qcow2 safe.qcow2 4M
"$penstock" io -c 'write -P 3 1M 1M' safe.qcow2 >/dev/null
qemu-io -r -c 'read -P 3 1M 1M' safe.qcow2 | has 'read 1048576/1048576' || fail "a write is lost"
qemu-io -r -c 'read -P 3 1M 1M' safe.qcow2 | has 'verification failed' && fail "a write is lost"
check_clean safe.qcow2
say "$compared commands speak the same"
