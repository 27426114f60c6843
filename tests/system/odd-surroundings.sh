#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Closed standard streams, interrupted mounts, bind mounts, a covered working directory: none of them costs data, hangs
# or leaves something behind.
. "$(dirname "$0")/lib.sh"
need_fuse
need qemu-img qemu-io python3

image=$work/disk.qcow2
qemu-img create -q -f qcow2 "$image" 4M
qemu-io -c 'write -P 0x41 0 1M' "$image" >/dev/null
mountpoint=$work/mnt
mkdir "$mountpoint"
on_exit "force_unmount '$mountpoint'"

say "a closed standard stream is not the image's"
for closed in '<&-' '>&-' '2>&-' '<&- >&-' '<&- >&- 2>&-'; do
  eval "timeout 60 \"\$penstock\" io -c 'write -P 0x42 1M 64k' -c 'read 0 4k' -c 'nonsense' \"\$image\" $closed" >/dev/null || true
  qemu-img check -q "$image" || fail "io with $closed damaged the image"
  eval "timeout 60 \"\$penstock\" mount \"\$image\" \"\$mountpoint\" $closed" || fail "mount with $closed failed"
  [ "$(head -c 1 "$mountpoint/disk.raw")" = A ] || fail "mount with $closed shows something else"
  printf 'B' | dd of="$mountpoint/disk.raw" bs=1 seek=2097152 conv=notrunc,fsync status=none
  "$penstock" umount "$mountpoint" >/dev/null
  qemu-img check -q "$image" || fail "a mount with $closed damaged the image"
done

say "whoever reads the messages of mount does not wait for the unmount"
for options in ro ro,auto_unmount; do
  [ "$options" = ro ] || [ "$(id -u)" -eq 0 ] || continue
  timeout 60 bash -c "'$penstock' mount -o $options '$image' '$mountpoint' 2>&1 | cat" || fail "-o $options keeps the pipe"
  "$penstock" umount "$mountpoint" >/dev/null
done

say "with few descriptors: one line, or a mount that lets go of its caller's output"
for limit in {5..24}; do
  status=0
  timeout 60 bash -c "(ulimit -n $limit; exec '$penstock' mount -r '$image' '$mountpoint') 2>&1 | cat >'$work/said'; exit \${PIPESTATUS[0]}" ||
    status=$?
  [ "$status" -ne 124 ] || fail "with $limit descriptors the daemon keeps the pipe"
  if is_mounted "$mountpoint"; then
    [ "$status" -eq 0 ] && [ ! -s "$work/said" ] || fail "with $limit descriptors: mounted, $status, $(cat "$work/said")"
    "$penstock" umount "$mountpoint" >/dev/null
  else
    [ "$status" -eq 1 ] || fail "with $limit descriptors: exit status $status"
    [ "$(grep -c '^penstock: ' "$work/said")" -eq 1 ] && [ "$(wc -l <"$work/said")" -eq 1 ] ||
      fail "with $limit descriptors: $(cat "$work/said")"
  fi
done
[ "$status" -eq 0 ] || fail "24 descriptors are too few"

say "an interrupted mount leaves nothing behind"
for signal in INT TERM; do
  for delay in 0.002 0.01 0.02 0.04; do
    python3 "$(dirname "$0")/interrupted.py" $signal $delay "'$penstock' umount '$mountpoint'" \
      "$penstock" mount "$image" "$mountpoint" || fail "$signal at $delay s"
    not is_mounted "$mountpoint" || fail "mounted after $signal at $delay s"
    # The image is free again.
    qemu-io -c 'write 0 512' -c 'write -P 0x41 0 512' "$image" >/dev/null || fail "in use after $signal at $delay s"
  done
done

say "umount from a shell that stands in the covered directory"
(cd "$mountpoint" && "$penstock" mount ../disk.qcow2 . && "$penstock" status . >/dev/null && "$penstock" umount . >/dev/null)
not is_mounted "$mountpoint"

if [ "$(id -u)" -eq 0 ]; then
  say "umount says where else the image is mounted"
  other=$work/other
  mkdir "$other"
  on_exit "force_unmount '$other'"
  "$penstock" mount "$image" "$mountpoint"
  mount --bind "$mountpoint" "$other"
  must_fail "$other" timeout 60 "$penstock" umount "$mountpoint"
  is_mounted "$mountpoint" || fail "unmounted though it was refused"
  umount "$other"
  "$penstock" umount "$mountpoint" >/dev/null
fi
