#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The host's disk fills up under streaming and copy-on-read: reads go on, the guest's writes get ENOSPC, the job waits
# and says why, and goes on by itself when there is room.
. "$(dirname "$0")/lib.sh"
need_fuse
need_loop
need qemu-img mkfs.ext4

head -c 32M /dev/urandom >"$work/base.raw"
stream_of() { "$penstock" status --json "$mountpoint" | python3 -c "import json, sys; print(json.load(sys.stdin)['stream']['$1'])"; }
waits_for_room() { [ "$(stream_of state)" = waiting ] && [ "$(stream_of no-space)" = True ]; }

for case in 'qed cluster_size=64k' 'qcow2 compat=1.1' 'qcow2 compat=0.10' 'add-cow image_file=data.raw'; do
  read -r format options <<<"$case"
  say "$case"
  truncate -s 56M "$work/host.img"
  mkfs.ext4 -q -F -m 0 "$work/host.img"
  attach_loop "$work/host.img"
  host=$work/host
  mount_device "$loop" "$host"
  dd if=/dev/zero of="$host/filler" bs=1M count=28 status=none
  image=$host/top.$format
  "$penstock" create -q -f "$format" -b "$work/base.raw" -F raw -o "$options" "$image"
  mount_image -f "$format" --stream --copy-on-read "$image"
  wait_until 60 waits_for_room || fail "the job does not wait: $("$penstock" status "$mountpoint")"
  same_bytes "$view" "$work/base.raw"
  # The guest is told the truth: ENOSPC somewhere in what has no room yet, or success.
  python3 - "$view" <<'PYTHON' || fail "a write into the full disk"
import errno, os, sys
file = os.open(sys.argv[1], os.O_RDWR)
size, refused = os.fstat(file).st_size, 0
base = {at: os.pread(file, 4096, at) for at in range(0, size, 1 << 18)}
for at, data in base.items():
    try:
        os.pwrite(file, data, at)
        os.fsync(file)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        refused += 1
print(f"   {refused} of {len(base)} writes refused")
assert refused > 0
PYTHON
  rm "$host/filler"
  "$penstock" stream wait "$mountpoint" >/dev/null || fail "the job did not go on: $("$penstock" status "$mountpoint")"
  same_bytes "$view" "$work/base.raw"
  unmount_image >"$work/said"
  grep -q 'needs no backing file' "$work/said" || fail "umount says: $(cat "$work/said")"
  if [ "$format" = add-cow ]; then
    same_bytes "$host/data.raw" "$work/base.raw"
  else
    check_clean "$image"
    compare_with_raw "$image" "$work/base.raw"
  fi
  unmount_device "$host"
  detach_loop "$loop" "$work/host.img"
  rm "$work/host.img"
done
