#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Zeroes over 1 GiB take the time of metadata and no room, in every format that can say zero: as a command, by fallocate
# through the mount, and by blkdiscard -z over a loop device. The times are printed; the bound is generous.
. "$(dirname "$0")/lib.sh"
need_fuse
need_loop
need fallocate blkdiscard python3
cd "$work"
seconds_max=10
growth_max=$((4 << 20))

# The backing file has data here and there, so that zeroes have something to hide.
truncate -s 1G base.raw
places='0 100 500 1023' # MiB
for mib in $places; do
  head -c 1M /dev/zero | tr '\0' '\265' | dd of=base.raw bs=1M seek=$mib conv=notrunc status=none
done

host_bytes() {
  local blocks
  blocks=$(stat -c %b "$image")
  [ ! -e "$image.data" ] || blocks=$((blocks + $(stat -c %b "$image.data")))
  echo $((blocks * 512))
}
# quickly WHAT COMMAND...: in time, and without room.
quickly() {
  local what=$1 before start took grown
  shift
  before=$(host_bytes)
  start=$(now_ms)
  "$@" >command.log 2>&1 || fail "$image: $what: $(cat command.log)"
  took=$(($(now_ms) - start))
  sync -f .
  grown=$(($(host_bytes) - before))
  say "$image: $what: $took ms, $grown bytes"
  [ "$took" -le $((seconds_max * 1000)) ] || fail "$image: $what took $took ms"
  [ "$grown" -le "$growth_max" ] || fail "$image grew by $grown bytes: $what"
}
reads_zero() {
  local mib
  for mib in $places; do
    cmp -n 1048576 -i $((mib << 20)):0 "$1" /dev/zero || fail "$image does not read as zero at $mib MiB"
  done
}

# zero_all NAME FORMAT KEEP [create's FLAG...]: KEEP says whether zeroes that keep their room cost none.
zero_all() {
  image=$1
  local format=$2 keep=$3
  shift 3
  if [ "$format" = add-cow ]; then set -- -o "image_file=$image.data" "$@"; fi
  make() {
    rm -f "$image" "$image.data"
    "$penstock" create -q -f "$format" "$@" "$image" 1G
  }
  make "$@"
  if [ "$keep" = yes ]; then quickly 'write -z' "$penstock" io -f "$format" -c 'write -z 0 1G' "$image"; fi
  quickly 'write -zu' "$penstock" io -f "$format" -c 'write -zu 0 1G' "$image"
  make "$@"
  mount_image -f "$format" "$image"
  if [ "$keep" = yes ]; then quickly 'fallocate zero range' fallocate -z -l 1G "$view"; fi
  quickly 'fallocate punch hole' fallocate -p -l 1G "$view"
  [ "$keep" = no ] || reads_zero "$view"
  unmount_image
  make "$@"
  mount_image -f "$format" "$image"
  attach_loop "$view"
  # The kernel asks for zeroes that keep their room.
  [ "$keep" = yes ] || growth_max=$((2 << 30))
  quickly 'blkdiscard -z' blkdiscard -z "$loop"
  growth_max=$((4 << 20))
  reads_zero "$loop"
  detach_loop "$loop" "$view"
  unmount_image
  rm -f "$image" "$image.data"
}

# Room that is kept is room set aside in a raw file.
zero_all alone.raw raw no
zero_all alone.v2 qcow2 yes -o compat=0.10
zero_all alone.qcow2 qcow2 yes
zero_all alone.qed qed yes
zero_all alone.acow add-cow no
zero_all over.qcow2 qcow2 yes -b base.raw -F raw
zero_all over.4k qcow2 yes -o cluster_size=4k -b base.raw -F raw
zero_all over.extended qcow2 yes -o extended_l2=on -b base.raw -F raw
zero_all over.qed qed yes -b base.raw -F raw
zero_all over.acow add-cow yes -b base.raw -F raw
