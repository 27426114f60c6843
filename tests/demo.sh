#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The main job on a bare Debian 12 machine, as root: installs what penstock is built from, builds it, makes a layered
# image (a file system in a compressed qcow2 base under an overlay), mounts it, attaches a loop device, looks inside,
# writes, unmounts and checks. Undoes all of it at the end, but leaves the build for looking around:
# build-demo/src/cli/penstock.
#
# PENSTOCK_TEST_DIRECTORY: where it works, else /var/tmp. PENSTOCK: a program that is built already.
set -euo pipefail
exec </dev/null
if [ $# -ne 0 ]; then
  echo "usage: ${0##*/}; it takes no arguments, PENSTOCK_TEST_DIRECTORY names where it works" >&2
  exit 2
fi
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"
unset CDPATH POSIXLY_CORRECT
umask 022

# In MiB. The input is made here, and is put on the disk twice. Room is asked for with the rest in mind: the
# disk as a raw file, the base made of it, the overlay; and what the compiler writes.
input_mib=64 disk_mib=512 work_mib=400 build_mib=700
place=$(realpath -m -- "${PENSTOCK_TEST_DIRECTORY:-/var/tmp}")
penstock=${PENSTOCK:+$(realpath -m -- "$PENSTOCK")}
cd -- "$(dirname -- "$0")/.."
source_root=$PWD

give_up() {
  printf 'demo.sh: %s\n' "$*" >&2
  exit 1
}
free_mib() { df --output=avail --block-size=1M -- "$1" | tail -n 1 | tr -d ' '; }
free_files() { df --output=itotal,iavail -- "$1" | awk 'END { print ($1 > 0 ? $2 : 1000000) }'; }
# need_room DIRECTORY MIB FOR-WHAT ADVICE
need_room() {
  local free files
  if ! [ -d "$1" ] || ! [ -w "$1" ]; then give_up "$1: is no directory that can be written to; $4"; fi
  free=$(free_mib "$1") files=$(free_files "$1")
  [ "$free" -ge "$2" ] || give_up "$1: $3 needs $2 MiB, $free MiB are free; make room there, or $4"
  [ "$files" -ge 3000 ] || give_up "$1: $3 needs 3000 files more, there is room for $files; make room there, or $4"
}

began=
took() { [ -z "$began" ] || awk -v began="$began" -v now="$EPOCHREALTIME" 'BEGIN { printf "(took %.1f s)\n", now - began }'; }
step() {
  took
  began=$EPOCHREALTIME
  printf '\n== %s\n' "$*"
}
# Shows a command and runs it.
run() {
  printf '$ %s\n' "${*/#"$penstock"/penstock}"
  "$@"
}
# What comes in, without the most of ninja's steps: a log needs one now and then.
some_steps() {
  local line next=0
  while IFS= read -r line; do
    if [[ "$line" == "[built "* ]]; then
      [ "$SECONDS" -ge "$next" ] || continue
      next=$((SECONDS + 10))
    fi
    printf '%s\n' "$line"
  done
}
# The folder whose sources build-demo is made from; fails where there is none.
source_of_build() {
  python3 -c 'import json; print(json.load(open("build-demo/meson-info/meson-info.json"))["directories"]["source"])' 2>/dev/null
}
build() {
  local jobs memory_jobs status=0 log=1 filter=
  # The largest of the files take most of a GiB each.
  jobs=$(nproc) memory_jobs=$(awk '$1 == "MemAvailable:" { print int($2 / 800000) + 1 }' /proc/meminfo)
  [ "$jobs" -le "$memory_jobs" ] || jobs=$memory_jobs
  # What is half set up is made again, and so is what was moved or copied with its clone: it leads to the old sources.
  if ! [ -f build-demo/build.ninja ] || ! [ "$(source_of_build)" -ef . ]; then
    rm -rf build-demo
    meson setup build-demo -Dtests=false
  fi
  if [ ! -t 1 ] || [ "${TERM:-dumb}" = dumb ]; then
    exec {log}> >(some_steps)
    filter=$!
  fi
  # In the background: a signal is answered while the shell waits, not when ninja has ended. The program alone, which is
  # all that follows needs; a plain "ninja -C build-demo" makes the rest.
  NINJA_STATUS='[built %f of %t, %e s] ' ninja -j "$jobs" -C build-demo src/cli/penstock >&"$log" &
  child=$!
  wait "$child" || status=$?
  child=
  if [ -n "$filter" ]; then
    exec {log}>&-
    wait "$filter"
  fi
  return "$status"
}
attach() {
  for _ in 1 2 3 4 5; do
    # Where /dev is not the kernel's own (a container's), a fresh loop device has no node yet.
    loop=$(losetup -f)
    [ -b "$loop" ] || mknod "$loop" b 7 "${loop#/dev/loop}"
    # Somebody else may have taken it meanwhile.
    if loop=$(losetup -f --show "$@"); then
      echo "attached as $loop"
      return 0
    fi
    loop=
    sleep 0.3
  done
  return 1
}
# Returns when the kernel has let go of the file: whoever looks at the device just then keeps it for a moment.
detach() {
  run losetup -d "$loop"
  for _ in {1..300}; do
    [ "$(cat "/sys/block/${loop#/dev/}/loop/backing_file" 2>/dev/null)" = "$work/view/disk.raw" ] || break
    sleep 0.1
  done
  loop=
}

[ "$(id -u)" -eq 0 ] || give_up "run it as root: it mounts, and attaches a loop device"
for node in /dev/fuse /dev/loop-control; do
  [ -c "$node" ] || give_up "this machine has no $node; try: modprobe -a fuse loop"
done
if [ -n "$penstock" ]; then
  if ! [ -f "$penstock" ] || ! [ -x "$penstock" ]; then give_up "PENSTOCK=$penstock: is no program"; fi
  for tool in python3 mkfs.ext4 fsck.ext4 qemu-img losetup; do
    command -v "$tool" >/dev/null || give_up "$tool is not installed; tests/install-packages.sh build installs it"
  done
fi
elsewhere="name another directory in PENSTOCK_TEST_DIRECTORY"
need_room "$place" "$work_mib" "the demonstration" "$elsewhere"
if [ -z "$penstock" ]; then
  missing_mib=$build_mib
  [ ! -d build-demo ] || missing_mib=$((build_mib - $(du -s --block-size=1M build-demo | cut -f 1)))
  [ "$missing_mib" -ge 20 ] || missing_mib=20
  need_room "$PWD" "$missing_mib" "the build" "take the sources to another disk"
  [ "$(stat -c %d .)" != "$(stat -c %d -- "$place")" ] ||
    need_room "$place" $((work_mib + missing_mib)) "the demonstration with its build" "$elsewhere"
fi
[ "$(free_mib "${TMPDIR:-/tmp}" 2>/dev/null || echo 0)" -ge 20 ] ||
  echo "demo.sh: ${TMPDIR:-/tmp}: is full or not there; temporary files go to $place" >&2

child=
loop=
work=$(mktemp -d -- "$place/penstock-demo-XXXXXX")
mounted() {
  local point
  while read -r _ point _; do [ "$(printf '%b' "$point")" != "$work/$1" ] || return 0; done </proc/self/mounts
  return 1
}
# What is full now, or was until a program gave up and took away what it had begun.
tell_of_a_full_disk() {
  local directory
  for directory in "$work" build-demo; do
    [ -d "$directory" ] || continue
    head -c 32M /dev/zero 2>/dev/null >"$directory/room" ||
      echo "demo.sh: $directory: the room ran out, $(free_mib "$directory") MiB are free; make room and begin again" >&2
    rm -f "$directory/room"
  done
}
clean_up() {
  local status=$?
  trap - EXIT
  trap '' INT TERM HUP
  set +e
  [ -z "$child" ] || { kill "$child" && wait "$child"; } 2>/dev/null
  if mounted inside; then umount "$work/inside" || umount -l "$work/inside"; fi
  if [ -n "$loop" ]; then detach; fi
  if mounted view; then "$penstock" umount "$work/view" || umount -l "$work/view"; fi
  case $status in
    0) ;;
    130) echo "demo.sh: interrupted" >&2 ;;
    *)
      echo "demo.sh: failed with exit status $status" >&2
      tell_of_a_full_disk
      ;;
  esac
  cd / && rm -rf --one-file-system "$work"
  exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

if [ -z "$penstock" ]; then
  step "packages and build; the first time takes minutes"
  tests/install-packages.sh build
  # The compiler's temporary files go where the room was looked for.
  export TMPDIR=$work
  build
  penstock=$PWD/build-demo/src/cli/penstock
fi
export TMPDIR=$work
# Names without folders from here on: easy to read, and nothing odd in a path can matter.
cd "$work"

step "a layered image: $input_mib MiB of files in a compressed base, under an overlay; in $work"
mkdir files view inside
run python3 "$source_root/tests/support/make_files.py" files "$input_mib"
truncate -s "${disk_mib}M" base.img
run mkfs.ext4 -q -F -L demo -d files base.img
run qemu-img convert -c -f raw -O qcow2 base.img base.qcow2
rm base.img
run "$penstock" create -f qcow2 -b base.qcow2 -F qcow2 disk.qcow2
run "$penstock" info --backing-chain disk.qcow2

step "mount it, and attach the raw file as a block device"
run "$penstock" mount disk.qcow2 view
run ls -ls view
attach --direct-io=on view/disk.raw
run mount "$loop" inside

step "look inside, write"
run diff -r --no-dereference --exclude lost+found files inside
run df -h inside
mkdir inside/a-copy
cp -a files/. inside/a-copy/
echo "written through penstock" >inside/hello
run umount inside
run fsck.ext4 -f -n "$loop"
detach
run "$penstock" umount view

step "what was written is in the overlay, and the image is clean"
run "$penstock" check disk.qcow2
run qemu-img check disk.qcow2
run "$penstock" mount -r disk.qcow2 view
attach --read-only view/disk.raw
run mount -o ro "$loop" inside
run cat inside/hello
run diff -r --no-dereference files inside/a-copy
run umount inside
detach
run "$penstock" umount view
took
printf '\nIt works. The program is %s\n' "$penstock"
