#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# fio reads back what it wrote, by checksum: four jobs at once, random 4k to 256k, direct and buffered, on the mounted
# file and on a loop device over it. The argument says what the image holds before: fresh, allocated, overlay, an
# overlay that is streamed meanwhile and loses its backing file, or an overlay below the kernel's writeback cache.
. "$(dirname "$0")/lib.sh"
need_fuse
need_loop
need fio qemu-img
state=${1:?fresh, allocated, overlay, streamed or writeback}

size=64M
image=$work/disk.qcow2
case $state in
  fresh) qemu-img create -q -f qcow2 "$image" $size ;;
  allocated)
    random_bytes 1 $((64 << 20)) "$work/data.raw"
    qemu-img convert -f raw -O qcow2 "$work/data.raw" "$image"
    ;;
  overlay | streamed | writeback)
    random_bytes 1 $((64 << 20)) "$work/data.raw"
    qemu-img convert -c -f raw -O qcow2 "$work/data.raw" "$work/base.qcow2"
    qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 "$image"
    ;;
  *) fail "unknown state $state" ;;
esac
cp "$image" "$work/untouched"

# verify_on FILE DIRECT: each of the four jobs has a quarter of the disk, not at a cluster border.
verify_on() {
  local seed=$((RANDOM * 32768 + RANDOM)) job jobs=()
  say "$1 direct=$2 randseed=$seed"
  for job in 0 1 2 3; do
    jobs+=(--name="job$job" --offset=$((job * ((16 << 20) - 4096))) --size=$(((16 << 20) - 4096)))
  done
  fio --output="$work/fio.log" --filename="$1" --direct="$2" --ioengine=libaio --iodepth=8 --rw=randwrite \
    --bsrange=4k-256k --blockalign=4k --verify=crc32c --verify_fatal=1 --verify_backlog=64 --do_verify=1 \
    --randseed=$seed --allow_file_create=0 --group_reporting=0 --end_fsync=1 \
    --aux-path="$work" "${jobs[@]}" || fail "fio on $1 direct=$2 randseed=$seed: $(tail -n 40 "$work/fio.log")"
}

for where in mount loop-direct loop-buffered; do
  for direct in 1 0; do
    cp "$work/untouched" "$image"
    if [ "$state" = streamed ]; then
      mount_image -f qcow2 --stream --stream-speed 30M "$image"
    elif [ "$state" = writeback ]; then
      mount_image -f qcow2 -o writeback "$image"
    else
      mount_image -f qcow2 "$image"
    fi
    case $where in
      mount) verify_on "$view" $direct ;;
      loop-*)
        attach_loop "$view" --direct-io="$([ $where = loop-direct ] && echo on || echo off)"
        verify_on "$loop" $direct
        detach_loop "$loop" "$view"
        ;;
    esac
    [ "$state" != streamed ] || "$penstock" stream wait "$mountpoint" >/dev/null || fail "the stream did not end"
    cp --sparse=always "$view" "$work/model.raw"
    unmount_image
    [ "$state" != streamed ] || not grep -q base.qcow2 <(qemu-img info "$image") || fail "still names its backing file"
    check_clean "$image"
    compare_with_raw "$image" "$work/model.raw"
  done
done
