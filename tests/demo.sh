#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The main job on a bare Debian 12 machine, as root: installs what penstock is built from, builds it, makes a layered
# image (a file system in a compressed qcow2 base under an overlay), mounts it, attaches a loop device, looks inside,
# writes, unmounts and checks. Undoes all of it at the end, but leaves the build for looking around:
# build-demo/src/cli/penstock.
set -euo pipefail
exec </dev/null
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$*"; }
# Shows a command and runs it.
run() {
  printf '$ %s\n' "${*/#$penstock/penstock}"
  "$@"
}

step "packages and build"
tests/install-packages.sh build
[ -f build-demo/build.ninja ] || meson setup build-demo -Dtests=false
ninja -C build-demo
penstock=$PWD/build-demo/src/cli/penstock

for node in /dev/fuse /dev/loop-control; do
  [ -c "$node" ] || {
    echo "demo.sh: this machine has no $node (try: modprobe fuse loop)" >&2
    exit 1
  }
done

work=$(mktemp -d /var/tmp/penstock-demo-XXXXXX)
loop=
mounted() { grep -qF " $1 " /proc/self/mounts; }
clean_up() {
  local status=$?
  trap - EXIT
  set +e
  if mounted "$work/inside"; then umount "$work/inside"; fi
  if [ -n "$loop" ]; then losetup -d "$loop"; fi
  if mounted "$work/view"; then "$penstock" umount "$work/view" || umount -l "$work/view"; fi
  rm -rf --one-file-system "$work"
  [ "$status" -eq 0 ] || echo "demo.sh: failed with exit status $status" >&2
  exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

step "a layered image: this machine's programs in a compressed base, under an overlay"
mkdir "$work/files" "$work/view" "$work/inside"
cp -a /usr/bin /etc/os-release "$work/files/"
truncate -s "$(($(du -s --block-size=1M "$work/files" | cut -f 1) * 3 / 2 + 64))M" "$work/base.img"
run mkfs.ext4 -q -F -L demo -d "$work/files" "$work/base.img"
run qemu-img convert -c -f raw -O qcow2 "$work/base.img" "$work/base.qcow2"
run "$penstock" create -f qcow2 -b base.qcow2 -F qcow2 "$work/disk.qcow2"
run "$penstock" info --backing-chain "$work/disk.qcow2"

step "mount it, and attach the raw file as a block device"
run "$penstock" mount "$work/disk.qcow2" "$work/view"
run ls -ls "$work/view"
loop=$(losetup -f)
[ -b "$loop" ] || mknod "$loop" b 7 "${loop#/dev/loop}"
loop=$(losetup -f --show --direct-io=on "$work/view/disk.raw")
echo "attached as $loop"
run mount "$loop" "$work/inside"

step "look inside, write"
run diff -r --no-dereference "$work/files/bin" "$work/inside/bin"
run df -h "$work/inside"
cp -a "$work/files/bin" "$work/inside/a-copy"
echo "written through penstock" >"$work/inside/hello"
run umount "$work/inside"
run fsck.ext4 -f -n "$loop"
run losetup -d "$loop"
loop=
run "$penstock" umount "$work/view"

step "what was written is in the overlay, and the image is clean"
run "$penstock" check "$work/disk.qcow2"
run qemu-img check "$work/disk.qcow2"
run "$penstock" mount -r "$work/disk.qcow2" "$work/view"
run mount -o ro,loop "$work/view/disk.raw" "$work/inside"
run cat "$work/inside/hello"
run diff -r --no-dereference "$work/files/bin" "$work/inside/a-copy"
run umount "$work/inside"
run "$penstock" umount "$work/view"
printf '\nIt works. The program is %s\n' "build-demo/src/cli/penstock"
