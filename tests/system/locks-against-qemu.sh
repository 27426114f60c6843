#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Two writers never share an image, and a reader never shares one with a writer, whichever of penstock and QEMU was
# first, on the top layer and below it.
. "$(dirname "$0")/lib.sh"
need_fuse
need qemu-img qemu-io

qemu-img create -q -f qcow2 "$work/base.qcow2" 16M
qemu-io -f qcow2 -c 'write -P 7 0 1M' "$work/base.qcow2" >/dev/null
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 "$work/top.qcow2"
base=$work/base.qcow2
top=$work/top.qcow2
mkdir "$work/refused"

# hold IMAGE [FLAG]: qemu-io keeps the image open until release.
hold() {
  # What the one before said must not be taken for what this one says.
  rm -f "$work/commands" "$work/held.log"
  mkfifo "$work/commands"
  qemu-io -f qcow2 "${@:2}" "$1" <"$work/commands" >"$work/held.log" 2>&1 &
  holder=$!
  on_exit "end_child $holder"
  exec 9>"$work/commands"
  echo length >&9
  wait_until 60 grep -qs MiB "$work/held.log" || fail "qemu-io does not open $1: $(cat "$work/held.log")"
}
release() {
  exec 9>&-
  wait "$holder" || fail "qemu-io: $(cat "$work/held.log")"
}
refused() {
  must_fail "in use" "$penstock" mount "$@" "$work/refused"
  [ "$(wc -l <<<"$said")" -eq 1 ] || fail "more than one line: $said"
  ! is_mounted "$work/refused" || fail "mounted although refused"
}

say "QEMU writes"
hold "$top"
refused -f qcow2 "$top"
refused -r -f qcow2 "$top"
[[ "$said" == *top.qcow2* ]] || fail "does not name the image: $said"
release

say "QEMU reads"
hold "$top" -r
refused -f qcow2 "$top"
mount_image -r -f qcow2 "$top"
unmount_image
release

say "QEMU writes to the base"
hold "$base"
refused -f qcow2 "$top"
[[ "$said" == *base.qcow2* ]] || fail "does not name the base: $said"
release

say "QEMU reads the base"
hold "$base" -r
mount_image -f qcow2 "$top"
unmount_image
release

say "penstock writes"
mount_image -f qcow2 "$top"
refused -f qcow2 "$top"
refused -r -f qcow2 "$top"
refused -f qcow2 "$base"
must_fail lock qemu-img info "$top"
must_fail lock qemu-img check "$top"
must_fail lock qemu-io -f qcow2 -c 'write 0 64k' "$top"
must_fail lock qemu-io -r -f qcow2 -c 'read 0 64k' "$top"
must_fail lock qemu-io -f qcow2 -c 'write 0 64k' "$base"
qemu-io -r -f qcow2 -c 'read -P 7 0 64k' "$base" >/dev/null || fail "QEMU cannot read the base"
qemu-img info -U "$top" >/dev/null || fail "qemu-img info -U"
unmount_image

say "penstock reads"
mount_image -r -f qcow2 "$top"
must_fail lock qemu-io -f qcow2 -c 'write 0 64k' "$top"
qemu-io -r -f qcow2 -c 'read -P 7 0 64k' "$top" >/dev/null || fail "two readers do not share"
refused -f qcow2 "$top"
first=$mountpoint
mount_image -r -f qcow2 "$top"
unmount_image
unmount_image "$first"

say "a base that is not needed any more"
mount_image --stream -f qcow2 "$top"
"$penstock" stream wait -q "$mountpoint"
qemu-io -f qcow2 -c 'write -P 7 0 64k' "$base" >/dev/null || fail "the base is held though it was dropped"
"$penstock" status "$mountpoint" >/dev/null
qemu-io -f qcow2 -c 'write -P 7 0 64k' "$base" >/dev/null || fail "the base is held once status was asked"
unmount_image

say "afterwards nobody holds anything"
qemu-io -f qcow2 -c 'write -P 9 0 64k' "$top" >/dev/null
check_clean "$top"
check_clean "$base"
