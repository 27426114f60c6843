#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The three jobs, with the installed program and nothing else of ours: attach; run while provisioning; finalise. Data is
# looked at after each. Run as root.
set -euo pipefail
export LC_ALL=C
work=$(mktemp -d /var/tmp/penstock-jobs-XXXXXX)
loop=
clean_up() {
  local status=$?
  trap - EXIT
  set +e
  if [ -n "$loop" ]; then penstock detach "$loop"; fi
  if [ -d "$work/d" ]; then umount "$work/d" 2>/dev/null; fi
  rm -rf --one-file-system "$work"
  exit $status
}
trap clean_up EXIT
fail() {
  printf 'FAIL: %s\n' "$*" >&2
  exit 1
}
began=$(date +%s%3N)
mkdir "$work/d"
cd "$work"

# 1. Attach.
head -c 8M /dev/urandom >data
penstock create -f qcow2 disk.qcow2 64M
loop=$(penstock attach disk.qcow2)
echo "attached as $loop, $(($(date +%s%3N) - began)) ms after the beginning"
dd if=data of="$loop" bs=1M seek=4 conv=fsync status=none
cmp <(dd if="$loop" bs=1M skip=4 count=8 status=none) data || fail "the device does not hold what was written"
penstock detach "$loop"
loop=
penstock check disk.qcow2

# 2. Run while provisioning.
penstock create -f qed -b disk.qcow2 -F qcow2 -o copy_on_read=on,stream=on my.qed
penstock mount --stream-speed 4M my.qed d
cmp <(dd if=d/my.raw bs=1M skip=4 count=8 status=none) data || fail "the view differs"
dd if=data of=d/my.raw bs=1M seek=20 conv=notrunc,fsync status=none
penstock status d

# 3. Finalise.
# (It may be at its end already.)
penstock stream speed 0 d || true
penstock umount --wait d
penstock info my.qed
! penstock info my.qed | grep -q 'backing file:' || fail "still has a backing file"
rm disk.qcow2
mount -t penstock -o ro my.qed d
cmp <(dd if=d/my.raw bs=1M skip=4 count=8 status=none) data || fail "streamed data is lost"
cmp <(dd if=d/my.raw bs=1M skip=20 count=8 status=none) data || fail "written data is lost"
umount d
penstock check my.qed
