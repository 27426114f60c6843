#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Shared writable mappings, buffered and direct reads and writes, and punched holes of one view always agree, from one
# thread and from several; what they wrote is in the image after the unmount.
. "$(dirname "$0")/lib.sh"
need_fuse
need qemu-img python3
seed=${PENSTOCK_SEED:-$RANDOM}
say "PENSTOCK_SEED=$seed"

# coherent IMAGE FORMAT [FLAG...]
coherent() {
  local image=$1 format=$2
  shift 2
  say "$image $format"
  mount_image -f "$format" "$@" "$image"
  python3 "$(dirname "$0")/mmap_coherent.py" "$view" "$seed" || fail "views of $image differ; PENSTOCK_SEED=$seed"
  cp "$view" "$work/model.raw"
  unmount_image
  if [ "$format" = raw ]; then
    same_bytes "$image" "$work/model.raw"
  else
    check_clean "$image"
    compare_with_raw "$image" "$work/model.raw"
  fi
}

truncate -s 8M "$work/plain.img"
coherent "$work/plain.img" raw
qemu-img create -q -f qcow2 "$work/fresh.qcow2" 8M
coherent "$work/fresh.qcow2" qcow2
random_bytes 3 $((8 << 20)) "$work/data.raw"
qemu-img convert -c -f raw -O qcow2 "$work/data.raw" "$work/base.qcow2"
qemu-img create -q -f qcow2 -o extended_l2=on -b base.qcow2 -F qcow2 "$work/overlay.qcow2"
coherent "$work/overlay.qcow2" qcow2
