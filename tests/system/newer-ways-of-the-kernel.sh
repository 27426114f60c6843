#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Requests over io_uring, and passthrough: one line says what is in use, contents are the same by every way, a disk that
# has to be waited for holds up nobody, and every way of ending leaves a clean image. Where the kernel lacks a way the
# line says so, and all else is tested by the way that there is.
. "$(dirname "$0")/lib.sh"
need_fuse
need fio qemu-img
[ "$(id -u)" -eq 0 ] || skip "the kernel's newer ways need root"

switch=/sys/module/fuse/parameters/enable_uring
rings=no
if [ -w "$switch" ]; then
  before=$(cat "$switch")
  # Other mounts that are made meanwhile use it too, which does them no harm.
  echo Y >"$switch" && rings=yes
  on_exit "echo '$before' >'$switch'"
fi
mountpoint=$work/mnt
mkdir "$mountpoint"
on_exit "force_unmount '$mountpoint'"
daemon=
# start OPTIONS... IMAGE: a daemon in the foreground, its words in $work/said.log.
start() {
  rm -f "$work/said.log"  # what the last one said is not what this one says
  "$penstock" mount --foreground "$@" "$mountpoint" >"$work/said.log" 2>&1 &
  daemon=$!
  on_exit "end_child $daemon"
  wait_until 60 grep -qs ': requests over ' "$work/said.log" || fail "not mounted: $(cat "$work/said.log")"
}
said() { grep -q "requests over $1" "$work/said.log" || fail "not '$1': $(cat "$work/said.log")"; }
stop() {
  "$penstock" umount "$mountpoint"
  wait "$daemon" || fail "the daemon ended badly: $(cat "$work/said.log")"
}

say "a chain with compressed clusters, by each way"
head -c 24M /dev/urandom >"$work/base.raw"
truncate -s 64M "$work/base.raw"
qemu-img convert -c -O qcow2 "$work/base.raw" "$work/packed.qcow2"
qemu-img create -q -f qcow2 -b packed.qcow2 -F qcow2 "$work/disk.qcow2"
expected=$(sha256sum <"$work/base.raw")
for way in io_uring no_io_uring; do
  start -o "$way" "$work/disk.qcow2"
  if [ "$way$rings" = io_uringyes ]; then said 'io_uring, queue depth'; else said '/dev/fuse'; fi
  if [ "$way$rings" = io_uringno ]; then said '/dev/fuse (the kernel does not offer io_uring)'; fi
  [ "$(sha256sum <"$mountpoint/disk.raw")" = "$expected" ] || fail "other contents ($way)"
  wanted=/dev/fuse
  if [ "$way$rings" = io_uringyes ]; then wanted=io_uring; fi
  "$penstock" status --json "$mountpoint" | grep -q "\"requests-over\": \"$wanted\"" || fail "status does not say $wanted"
  stop
done

say "writes of many at a time, verified, while the cache is dropped"
start -o io_uring "$work/disk.qcow2"
fio --name=verify --filename="$mountpoint/disk.raw" --direct=1 --ioengine=libaio --iodepth=32 --rw=randwrite \
  --bsrange=512-128k --blockalign=512 --size=64M --io_size=32M --verify=crc32c --verify_fatal=1 --do_verify=1 --verify_state_save=0 \
  --randseed="${PENSTOCK_SEED:-17}" --fsync=64 >"$work/fio.log" 2>&1 &
writer=$!
while kill -0 "$writer" 2>/dev/null; do
  for file in "$work"/*.qcow2; do dd if="$file" iflag=nocache count=0 status=none; done
  "$penstock" status "$mountpoint" >"$work/status"
  sleep 0.2
done
wait "$writer" || fail "$(cat "$work/fio.log")"
expected=$(sha256sum <"$mountpoint/disk.raw")
fallocate -p -o 1M -l 1M "$mountpoint/disk.raw"
cmp -n 1M -i 1M:0 "$mountpoint/disk.raw" /dev/zero || fail "a punched hole is not zero"
sum=$(sha256sum <"$mountpoint/disk.raw")
stop
qemu-img check -q "$work/disk.qcow2" || fail "QEMU finds damage"
[ "$(qemu-img convert -O raw "$work/disk.qcow2" "$work/flat.raw" && sha256sum <"$work/flat.raw")" = "$sum" ] ||
  fail "QEMU reads something else"

say "readers that wait, and every way of ending"
for ending in umount lazy force term kill; do
  start -o io_uring "$work/disk.qcow2"
  for file in "$work"/*.qcow2; do dd if="$file" iflag=nocache count=0 status=none; done
  fio --name=load --filename="$mountpoint/disk.raw" --ioengine=psync --numjobs=6 --thread --rw=randread --bs=4k \
    --time_based --runtime=20 --size=64M >"$work/load.log" 2>&1 &
  load=$!
  on_exit "end_child $load"
  printf synced | dd of="$mountpoint/disk.raw" bs=512 seek=7 conv=notrunc,fsync status=none
  sleep 0.5
  case $ending in
    umount) end_child "$load"; wait_until 60 "$penstock" umount "$mountpoint" ;;
    lazy) umount -l "$mountpoint"; end_child "$load" ;;
    # The first cuts the daemon off, even where it says that the mount is in use; the daemon may then be the faster one.
    force) umount -f "$mountpoint" 2>/dev/null || umount -fl "$mountpoint" 2>/dev/null || true ;;
    term) kill -TERM "$daemon" ;;
    kill) kill -KILL "$daemon" ;;
  esac
  wait_until 60 not kill -0 "$daemon" || fail "the daemon stays after $ending"
  wait "$daemon" || [ "$ending" = kill ] || [ "$ending" = force ] || fail "$ending: $(cat "$work/said.log")"
  wait_until 60 not kill -0 "$load" || end_child "$load"
  wait "$load" 2>/dev/null || true
  force_unmount "$mountpoint"
  [ "$("$penstock" io -r -c 'read -v 3584 6' "$work/disk.qcow2" | grep -c 'synced')" -eq 1 ] || fail "lost after $ending"
  "$penstock" check -r leaks "$work/disk.qcow2" >/dev/null || fail "damaged after $ending"
done

say "passthrough: the same bytes, also through a mapping, and attributes as ever"
cp --sparse=always "$work/base.raw" "$work/plain.raw"
expected=$(sha256sum <"$work/base.raw")
start -f raw -o passthrough "$work/plain.raw"
if grep -q passthrough\) "$work/said.log"; then
  passes=yes
else
  passes=no
  grep -q 'no passthrough here' "$work/said.log" || fail "not said: $(cat "$work/said.log")"
fi
view=$mountpoint/plain.raw
[ "$(sha256sum <"$view")" = "$expected" ] || fail "other contents"
[ "$(stat -c %s "$view")" -eq $((64 << 20)) ] || fail "another size"
python3 - "$view" <<'PYTHON'
import mmap, os, sys
with open(sys.argv[1], "r+b") as file:
    mapping = mmap.mmap(file.fileno(), 0)
    mapping[5000:5006] = b"mapped"
    mapping.flush()
    file.seek(5000)
    assert file.read(6) == b"mapped"
    os.pwrite(file.fileno(), b"written", 9000)
    assert mapping[9000:9007] == b"written"
    os.fsync(file.fileno())
PYTHON
grep -q mapped <(dd if="$work/plain.raw" bs=1 skip=5000 count=6 status=none) || fail "the mapping's bytes are not in the image"
"$penstock" status --json "$mountpoint" | grep -q "\"passthrough\": $([ $passes = yes ] && echo true || echo false)" ||
  fail "status does not say it"
sum=$(sha256sum <"$view")
stop
[ "$(sha256sum <"$work/plain.raw")" = "$sum" ] || fail "the image is something else than the view was"
say "tested with io_uring: $rings, passthrough: $passes"
