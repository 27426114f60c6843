#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A missing, empty, truncated, corrupt or foreign image, a bad backing file, a directory, a FIFO, a read-only file system,
# a busy mountpoint, a full disk: one clear line, exit status 1, nothing changed, nothing left mounted, at once.
. "$(dirname "$0")/lib.sh"
need qemu-img qemu-io python3
cd "$work"

# What the files are: names, sizes, times and contents.
snapshot() {
  find . -mindepth 1 ! -name '.*' ! -path './.*' -printf '%p %y %s %T@\n' | sort
  find . -type f ! -name '.*' ! -path './.*' -print0 | sort -z | xargs -0 sha256sum
}
refusals=0
# refused TEXT COMMAND...: one line that says who and TEXT, exit status 1 (2 for compare), and nothing changed.
refused() {
  local text=$1 status=0 wanted=1
  shift
  [ "$1" != compare ] || wanted=2
  snapshot >.before
  timeout 60 "$penstock" "$@" >.out 2>.err </dev/null || status=$?
  snapshot >.after
  [ "$status" -eq "$wanted" ] || fail "penstock $* exits $status: $(cat .out .err)"
  [ "$(wc -l <.err)" -eq 1 ] || fail "penstock $* does not say one line: $(cat .err)"
  [ ! -s .out ] || fail "penstock $* prints although it fails: $(cat .out)"
  grep -q '^penstock: ' .err || fail "penstock $* does not say who: $(cat .err)"
  grep -qiE -- "$text" .err || fail "penstock $* does not say '$text' but: $(cat .err)"
  diff -u .before .after || fail "penstock $* changed something"
  ! grep -F "$work/" /proc/mounts | grep -vF '/.frozen ' || fail "penstock $* left something mounted"
  refusals=$((refusals + 1))
}
# By every command that opens an image.
refused_by_all() {
  local text=$1 image=$2
  shift 2
  refused "$text" map "$@" "$image"
  refused "$text" compare "$@" "$image" "$image"
  refused "$text" io "$@" -c length "$image"
  refused "$text" resize "$@" "$image" 1G
  if [ -c /dev/fuse ]; then refused "$text" mount "$@" "$image" mountpoint; fi
}

mkdir mountpoint directory
qemu-img create -q -f qcow2 good.qcow2 4M
qemu-io -c 'write -P 1 0 1M' good.qcow2 >/dev/null

say "no image, no file"
refused_by_all 'missing.qcow2.*No such file' missing.qcow2
refused 'missing.qcow2.*No such file' info missing.qcow2
refused 'missing.qcow2.*No such file' check missing.qcow2
refused_by_all 'directory' directory
refused 'directory' info directory
refused 'directory' create -f qcow2 directory 1M
mkfifo fifo
refused_by_all 'fifo' fifo
refused 'fifo' info fifo
refused 'fifo' check fifo
refused 'fifo' create -f qcow2 fifo 1M
refused 'unknown.*format|format.*unknown|foo' info -f foo good.qcow2
refused 'protocol' info nosuch:image

say "empty, truncated, corrupt, foreign"
: >empty.qcow2
refused 'too short|empty|qcow2' info -f qcow2 empty.qcow2
refused_by_all 'too short|empty|qcow2' empty.qcow2 -f qcow2
refused 'empty|format' resize empty.qcow2 1M
head -c 50 good.qcow2 >short.qcow2
refused_by_all 'short' short.qcow2
head -c 70000 good.qcow2 >cut.qcow2
refused 'end of (the )?file|past|behind|outside' io -c 'read 0 64k' cut.qcow2
patched() {
  cp good.qcow2 "$1"
  python3 -c 'import sys
with open(sys.argv[1], "r+b") as image:
  image.seek(int(sys.argv[2], 0))
  image.write(bytes.fromhex(sys.argv[3]))' "$1" "$2" "$3"
}
patched version.qcow2 4 00000009
refused_by_all 'version' version.qcow2
patched cluster_bits.qcow2 20 00000008
refused_by_all 'cluster' cluster_bits.qcow2
patched feature.qcow2 72 0000010000000000
refused_by_all 'feature' feature.qcow2
patched l1.qcow2 40 7fffffffffff0000
refused 'L1' io -c 'read 0 64k' l1.qcow2
patched size.qcow2 24 7fffffffffffffff
refused 'size|large|L1' map size.qcow2
patched encrypted.qcow2 32 00000001
refused_by_all 'encrypt' encrypted.qcow2
"$penstock" info encrypted.qcow2 | has 'encrypted: yes' || fail "info does not describe an encrypted image"
qemu-img create -q -f vmdk foreign.vmdk 1M
refused 'vmdk|vmware' resize foreign.vmdk 2M
refused 'vmdk|vmware' io -c 'read 0 512' foreign.vmdk
truncate -s 1M plain.img
refused 'format' io -c 'write 0 512' plain.img
refused 'format' resize plain.img 2M
cp good.qcow2 looks_raw.img
refused 'format' io -c 'write 0 512' looks_raw.img

say "backing files"
qemu-img create -q -f qcow2 -u -b missing.base -F qcow2 orphan.qcow2 1M
refused_by_all 'missing.base.*No such file' orphan.qcow2
refused 'missing.base.*No such file' create -f qcow2 -b missing.base -F qcow2 new.qcow2
qemu-img create -q -f qcow2 -u -b loop2.qcow2 -F qcow2 loop1.qcow2 1M
qemu-img create -q -f qcow2 -u -b loop1.qcow2 -F qcow2 loop2.qcow2 1M
qemu-img create -q -f qcow2 loop0.qcow2 1M
qemu-img rebase -u -b loop0.qcow2 -F qcow2 loop0.qcow2
refused_by_all 'loop' loop1.qcow2
refused_by_all 'loop' loop0.qcow2
qemu-img create -q -f qcow2 -u -b plain.img -F qcow2 wrong.qcow2 1M
refused_by_all 'plain.img.*qcow2' wrong.qcow2
qemu-img create -q -f qcow2 -u -b fifo -F raw on_fifo.qcow2 1M
refused_by_all 'fifo' on_fifo.qcow2
qemu-img create -q -f qcow2 -u -b directory -F raw on_directory.qcow2 1M
refused_by_all 'directory' on_directory.qcow2
qemu-img create -q -f qcow2 -u -b 'nosuch:thing' -F raw on_protocol.qcow2 1M
refused_by_all 'protocol' on_protocol.qcow2
refused 'format' create -f qcow2 -b good.qcow2 new.qcow2
refused 'size' create -f qcow2 new.qcow2
refused 'qcow2 has no option|nosuch' create -f qcow2 -o nosuch=1 new.qcow2 1M
refused 'cluster' create -f qcow2 -o cluster_size=1000 new.qcow2 1M
refused 'large' create -f qcow2 -o cluster_size=512 new.qcow2 1T
refused 'chain|itself' create -f qcow2 -b good.qcow2 -F qcow2 good.qcow2
refused 'shrink' resize good.qcow2 1M
refused '512' resize good.qcow2 5000001

say "usage"
misused() {
  local status=0
  "$penstock" "$@" >.out 2>.err || status=$?
  [ "$status" -eq 2 ] || fail "penstock $* exits $status, not 2"
  [ "$(wc -l <.err)" -eq 1 ] || fail "penstock $* does not say one line: $(cat .err)"
}
misused
misused nosuch
misused info
misused info --nosuch good.qcow2
misused info --output=xml good.qcow2
misused check -r some good.qcow2
misused create -f qcow2 new.qcow2 12x
misused create -f qcow2 new.qcow2 99E
misused create -f qcow2 -o size=1M new.qcow2 1M
misused resize good.qcow2
misused resize good.qcow2 1x
misused resize good.qcow2 -x
misused map -s foo good.qcow2
misused compare good.qcow2
misused mount good.qcow2
[ ! -e new.qcow2 ] || fail "a refused create left a file behind"

if [ "$(id -u)" -ne 0 ]; then
  say "$refusals refusals; what needs root is left out"
  exit 0
fi

say "a read-only file system"
mkdir .frozen
mount -t tmpfs -o size=8M none .frozen
on_exit "umount '$work/.frozen' 2>/dev/null"
cp good.qcow2 .frozen/
mount -o remount,ro .frozen
refused_frozen() {
  local text=$1 status=0
  shift
  timeout 60 "$penstock" "$@" >.out 2>.err || status=$?
  [ "$status" -eq 1 ] || fail "penstock $* exits $status: $(cat .err)"
  [ "$(wc -l <.err)" -eq 1 ] || fail "penstock $* does not say one line: $(cat .err)"
  grep -qiE -- "$text" .err || fail "penstock $* does not say '$text' but: $(cat .err)"
}
refused_frozen 'read-only' create -f qcow2 .frozen/new.qcow2 1M
refused_frozen 'read-only' resize .frozen/good.qcow2 8M
refused_frozen 'read-only' io -c 'write 0 512' .frozen/good.qcow2
"$penstock" map .frozen/good.qcow2 >/dev/null || fail "an image on a read-only file system cannot be read"
if [ -c /dev/fuse ]; then
  refused_frozen 'read-only' mount .frozen/good.qcow2 mountpoint
  ! is_mounted "$work/mountpoint" || fail "left mounted"
fi

say "a full disk"
mount -o remount,rw .frozen
head -c 64M /dev/zero >.frozen/filler 2>/dev/null || true
status=0
"$penstock" create -f qcow2 -o preallocation=full .frozen/new.qcow2 64M >.out 2>.err || status=$?
[ "$status" -eq 1 ] || fail "create on a full disk exits $status"
[ "$(wc -l <.err)" -eq 1 ] || fail "create on a full disk does not say one line: $(cat .err)"
grep -qi 'no space' .err || fail "create on a full disk says: $(cat .err)"
[ ! -e .frozen/new.qcow2 ] || fail "create on a full disk leaves a file behind"
status=0
"$penstock" io -c 'write -P 2 3M 1M' .frozen/good.qcow2 >.out 2>.err || status=$?
[ "$status" -eq 1 ] || fail "io on a full disk exits $status"
grep -q 'write failed: No space left on device' .out || fail "io on a full disk says: $(cat .out)"
rm .frozen/filler
check_no_corruption .frozen/good.qcow2
"$penstock" io -r -c 'read -P 1 0 1M' .frozen/good.qcow2 >.out || fail "a full disk damaged what was there: $(cat .out)"

if [ -c /dev/fuse ]; then
  say "a mountpoint that is none, or is busy"
  refused 'No such file' mount good.qcow2 nowhere
  refused 'fifo|neither|directory' mount good.qcow2 fifo
  refused 'mountpoint|image|layer|itself|hide' mount good.qcow2 good.qcow2
  refused 'list of processes' mount good.qcow2 /proc/self
  refused 'list of processes' mount good.qcow2 /proc/self/comm
  mount_image good.qcow2
  busy=$mountpoint
  status=0
  "$penstock" mount looks_raw.img -f qcow2 "$busy" >.out 2>.err || status=$?
  [ "$status" -eq 1 ] || fail "mount on a busy mountpoint exits $status"
  [ "$(wc -l <.err)" -eq 1 ] || fail "mount on a busy mountpoint does not say one line: $(cat .err)"
  grep -qiE 'busy|mounted' .err || fail "mount on a busy mountpoint says: $(cat .err)"
  status=0
  "$penstock" mount good.qcow2 "$work/mountpoint" >.out 2>.err || status=$?
  [ "$status" -eq 1 ] || fail "mounting an image twice exits $status"
  grep -qi 'in use' .err || fail "mounting an image twice says: $(cat .err)"
  unmount_image "$busy"
  must_fail 'penstock' "$penstock" umount "$work/mountpoint"
  must_fail 'penstock' "$penstock" status "$work/mountpoint"
fi
say "$refusals refusals"
