#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# An attached image is a block device with partitions, direct I/O and discard, and holds what is written to it; detach
# refuses while anything uses the device, names what, and otherwise returns when the image is closed. Whatever fails or
# is killed half-way leaves nothing behind that the next command does not clear.
. "$(dirname "$0")/lib.sh"
need_fuse
need_loop
need qemu-img mkfs.ext4 e2fsck sfdisk partx blockdev blkdiscard mkswap swapon setpriv python3

image=$work/disk.qcow2
# attach FLAG... : sets $loop, what the command prints, and $view, what is under it.
attach() {
  loop=$("$penstock" attach "$@" 2>"$work/attach.log") || fail "attach $*: $(cat "$work/attach.log")"
  [[ "$loop" =~ ^/dev/loop[0-9]+$ ]] || fail "prints: $loop"
  view=$(cat "/sys/block/${loop#/dev/}/loop/backing_file")
  on_exit "force_detach '$loop' '$view'"
}
force_detach() {
  exec 7<&-
  is_attached_to "$1" "$2" || return 0
  "$penstock" detach "$1" >/dev/null && return 0
  losetup -d "$1"
  force_unmount "$2"
}
# detach TEXT FLAG...: detaches $loop; TEXT is part of what it says.
detach() {
  local text=$1
  shift
  said=$("$penstock" detach "$@" "$loop" 2>"$work/detach.log") || fail "detach: $said $(cat "$work/detach.log")"
  [[ "$said" == *"$text"* && "$(wc -l <<<"$said")" -eq 1 ]] || fail "detach says: $said"
  is_free
}
is_free() {
  [ ! -e "/sys/block/${loop#/dev/}/loop/backing_file" ] || fail "$loop is still attached"
  [ ! -e "$(dirname "$view")" ] || fail "$(dirname "$view") is still there"
  not is_mounted "$view" || fail "$view is still mounted"
}
partitions() { ls "/sys/block/${loop#/dev/}" | grep -c "^${loop#/dev/}p" || true; }
# expect_partitions COUNT: the kernel has found so many; or it reads no tables (a small kernel), and is told by hand.
expect_partitions() {
  [ "$(losetup -n -O PARTSCAN "$loop" | tr -d ' ')" = 1 ] || fail "partitions are not looked for"
  if [ "$(partitions)" -eq 0 ] && [ -n "$blind_kernel" ]; then partx -a "$loop"; fi
  [ "$(partitions)" -eq "$1" ] || fail "$(partitions) partitions, not $1"
}
# node PART: its device node, made where nobody does (a container's /dev).
node() {
  local path=$1
  [ -b "$path" ] || wait_until 5 test -b "$path" || mknod "$path" b $(tr : ' ' <"/sys/class/block/${path#/dev/}/dev")
}

say "a device with the image's size, direct I/O, 512-byte sectors and discard"
qemu-img create -q -f qcow2 "$image" 256M
attach "$image"
[ "$(blockdev --getsize64 "$loop")" -eq $((256 << 20)) ] || fail "size"
[ "$(blockdev --getss "$loop")" -eq 512 ] || fail "sector size"
[ "$(losetup -n -O DIO "$loop" | tr -d ' ')" = 1 ] || fail "no direct I/O"
[ "$(losetup -n -O AUTOCLEAR "$loop" | tr -d ' ')" = 0 ] || fail "autoclear"
[ "$(stat -c %a "$(dirname "$view")")" = 700 ] || fail "others may look at $(dirname "$view")"
"$penstock" status "$loop" | has -F "$image" || fail "status of the device"
bash -c 'source <("$1" --print-completion bash); _penstock_devices' bash "$penstock" | has -Fx "$loop" ||
  fail "the completion of detach does not know the device"
random_bytes 1 $((8 << 20)) "$work/data"
dd if="$work/data" of="$loop" bs=1M seek=100 oflag=direct status=none
before=$(host_bytes "$image")
blkdiscard -o $((100 << 20)) -l $((4 << 20)) "$loop"
detach 'flushed and closed'
[ "$(host_bytes "$image")" -le $((before - (3 << 20))) ] || fail "discard gave no room back"
check_clean "$image"
qemu-img convert -f qcow2 -O raw "$image" "$work/got.raw"
cmp <(tail -c +$(((4 << 20) + 1)) "$work/data") <(tail -c +$(((104 << 20) + 1)) "$work/got.raw" | head -c $((4 << 20))) ||
  fail "what was written is not in the image"
[ "$(tail -c +$(((100 << 20) + 1)) "$work/got.raw" | head -c $((4 << 20)) | tr -d '\0' | wc -c)" -eq 0 ] ||
  fail "the discarded range does not read as zero"

truncate -s 8M "$work/table.img"
printf 'label: gpt\nsize=4M\n' | sfdisk -q "$work/table.img" >/dev/null
attach_loop "$work/table.img" -P
blind_kernel=
if [ "$(partitions)" -eq 0 ]; then
  say "this kernel reads no partition tables"
  blind_kernel=yes
fi
detach_loop "$loop" "$work/table.img"

say "partitions are there from the first moment, and after a new table"
attach "$image"
printf 'label: gpt\nsize=64M\nsize=64M\nsize=100M\n' | sfdisk -q --no-tell-kernel "$loop" >/dev/null
# (Whoever reads new tables of devices, as udev does, keeps others from it meanwhile.)
wait_until 60 blockdev --rereadpt "$loop" 2>"$work/reread.log" || fail "$(cat "$work/reread.log")"
expect_partitions 3
node "${loop}p1"
node "${loop}p2"
mkfs.ext4 -q "${loop}p1"
detach 'closed'
attach "$image"
expect_partitions 3
node "${loop}p1"
node "${loop}p2"

say "in use: refused, and by whom"
mount_device "${loop}p1" "$work/files"
random_bytes 2 $((20 << 20)) "$work/files/file"
must_fail "${loop}p1 is mounted at $work/files" "$penstock" detach "$loop"
[ "$(wc -l <<<"$said")" -eq 1 ] || fail "more than one line: $said"
must_fail 'is a partition' "$penstock" detach "${loop}p1"
must_fail 'use' "$penstock" umount "$view"
unmount_device "$work/files"
mkswap "${loop}p2" >/dev/null
if swapon "${loop}p2" 2>/dev/null; then
  on_exit "swapoff '${loop}p2' 2>/dev/null"
  must_fail "${loop}p2 is swap space" "$penstock" detach "$loop"
  swapoff "${loop}p2"
fi
if command -v dmsetup >/dev/null && dmsetup create "penstock-test-$$" --table "0 2048 linear ${loop}p2 0" 2>/dev/null; then
  on_exit "dmsetup remove 'penstock-test-$$' 2>/dev/null"
  must_fail "/dev/mapper/penstock-test-$$" "$penstock" detach "$loop"
  dmsetup remove "penstock-test-$$"
fi
exec 7<"$loop"
must_fail "is open in bash (process" "$penstock" detach "$loop"
exec 7<&-
[ -e "/sys/block/${loop#/dev/}/loop/backing_file" ] || fail "a refused detach detached"
detach 'closed'
check_clean "$image"

say "written through a partition, read by QEMU"
qemu-img convert -f qcow2 -O raw "$image" "$work/got.raw"
attach_loop "$work/got.raw" -r -P
[ -z "$blind_kernel" ] || partx -a "$loop"
node "${loop}p1"
e2fsck -f -n "${loop}p1" >"$work/fsck.log" 2>&1 || fail "e2fsck: $(cat "$work/fsck.log")"
mount_device "${loop}p1" "$work/files" -o ro
random_bytes 2 $((20 << 20)) "$work/expected"
same_bytes "$work/files/file" "$work/expected"
unmount_device "$work/files"
must_fail 'losetup -d' "$penstock" detach "$loop"
detach_loop "$loop" "$work/got.raw"
must_fail 'not attached' "$penstock" detach "$loop"
must_fail 'not a loop device' "$penstock" detach "$image"
must_fail 'No such file' "$penstock" detach /dev/nosuch

say "read-only, and mount's other flags"
attach -r --cache-size 8M -o umask=077 "$image"
[ "$(blockdev --getro "$loop")" -eq 1 ] || fail "not read-only"
expect_partitions 3
same_bytes "$loop" "$work/got.raw"
detach 'closed'

say "a table made for 4096-byte sectors, and --sector-size"
qemu-img create -q -f qcow2 "$work/large.qcow2" 64M
attach --sector-size 4k "$work/large.qcow2"
[ "$(blockdev --getss "$loop")" -eq 4096 ] || fail "--sector-size"
printf 'label: gpt\nsize=16M\n' | sfdisk -q --no-tell-kernel "$loop" >/dev/null
detach 'closed'
attach "$work/large.qcow2"
[ "$(blockdev --getss "$loop")" -eq 4096 ] || fail "the table's sector size was not seen"
expect_partitions 1
detach 'closed'
head -c 1000000 /dev/zero >"$work/odd.img"
attach -f raw "$work/odd.img"
grep -q 'last 64 bytes' "$work/attach.log" || fail "no word about the end: $(cat "$work/attach.log")"
detach 'closed'

say "--wait: provisioned, finalised, stands alone"
qemu-img create -q -f qcow2 -b got.raw -F raw "$work/overlay.qcow2"
attach "$work/overlay.qcow2"
random_bytes 3 65536 "$work/piece"
dd if="$work/piece" of="$loop" bs=64k seek=3500 conv=notrunc oflag=direct status=none
detach 'finalised' --wait
[[ "$(qemu-img info "$work/overlay.qcow2")" != *backing* ]] || fail "still has a backing file"
dd if="$work/piece" of="$work/got.raw" bs=64k seek=3500 conv=notrunc status=none
compare_with_raw "$work/overlay.qcow2" "$work/got.raw"

say "what fails leaves nothing behind"
places() { find /run/penstock -maxdepth 1 -name 'attach-*' | sort; }
loops() { losetup -n -O NAME,BACK-FILE | grep -F /run/penstock/ | sort || true; }
places_before=$(places)
loops_before=$(loops)
must_fail 'No such file' "$penstock" attach "$work/nosuch.qcow2"
must_fail "--sector-size: '8k' is not 512, 1024, 2048 or 4096" "$penstock" attach --sector-size 8k "$image"
must_fail 'sector-size' "$penstock" attach --sector-size 1000 "$image"
must_fail 'read-only' "$penstock" attach -r --stream "$image"
status=0
said=$("$penstock" attach "$image" 2>&1 >/dev/full) || status=$?
[[ $status -eq 1 && "$said" == 'penstock: standard output:'* && "$(wc -l <<<"$said")" -eq 1 ]] ||
  fail "exit status $status though the name could not be printed: $said"
said=$(setpriv --reuid=65534 --regid=65534 --clear-groups "$penstock" attach "$image" 2>&1) && fail "an ordinary user attached"
[[ "$said" == penstock:*root* && "$(wc -l <<<"$said")" -eq 1 ]] || [[ "$said" == *'ermission denied'* ]] ||
  fail "an ordinary user is told: $said"
as_before() { [ "$(places)" = "$places_before" ] && [ "$(loops)" = "$loops_before" ]; }
wait_until 60 as_before || fail "places: $(places), loops: $(loops)"
attach "$image"
must_fail 'in use' "$penstock" attach "$image"
detach 'closed'

say "SIGTERM lets go of an idle device, with what is in its cache"
attach "$image"
daemon=$("$penstock" status --json "$loop" | sed -n 's/.*"pid": \([0-9]*\).*/\1/p')
random_bytes 4 65536 "$work/piece"
dd if="$work/piece" of="$loop" bs=64k seek=3600 conv=notrunc status=none
kill -TERM "$daemon"
wait_until 60 is_gone "$daemon" || fail "the daemon goes on"
# Whatever looked at the device just then keeps the kernel from letting go of it for a moment.
detached() { [ ! -e "/sys/block/${loop#/dev/}/loop/backing_file" ]; }
wait_until 60 detached || fail "$loop is still attached"
is_free
qemu-img convert -f qcow2 -O raw "$image" "$work/got.raw"
cmp "$work/piece" <(tail -c +$((3600 * 65536 + 1)) "$work/got.raw" | head -c 65536) || fail "cached writes are lost"

say "detached by losetup alone: what stays mounted is named, and its directory stands for it"
attach "$image"
losetup -d "$loop"
wait_until 60 detached || fail "$loop is still attached"
must_fail "$view" "$penstock" detach "$loop"
"$penstock" umount "$(dirname "$view")" >/dev/null || fail "umount of the directory"
is_free
check_clean "$image"

say "a killed daemon: detach clears what is left, and says so"
attach "$image"
daemon=$("$penstock" status --json "$loop" | sed -n 's/.*"pid": \([0-9]*\).*/\1/p')
kill -KILL "$daemon"
wait_until 60 is_gone "$daemon"
must_fail 'daemon was gone; what was synced is in the image' "$penstock" detach "$loop"
is_free
check_no_corruption "$image"

say "a daemon killed before it had a device: the next attach clears it"
place=$(mktemp -d /run/penstock/attach-XXXXXX)
on_exit "umount -l '$place/dead.raw' 2>/dev/null; rm -rf '$place'"
touch "$place/dead.raw"
"$penstock" mount --foreground "$image" "$place/dead.raw" >"$work/dead.log" 2>&1 &
daemon=$!
wait_until 60 "$penstock" status "$place/dead.raw" >/dev/null 2>&1 || fail "$(cat "$work/dead.log")"
kill -KILL $daemon
wait $daemon 2>/dev/null || true
attach "$image"
[ ! -e "$place" ] || fail "$place is still there"
detach 'closed'
check_no_corruption "$image"
