#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# guest-runs-while-streaming.sh [FORMAT CACHE-MODE]...: a Debian guest boots from the mounted overlay at once, writes,
# syncs, trims and powers off while the overlay is still being filled; afterwards the overlay stands alone, is clean, and
# holds every file the guest wrote, as QEMU reads it.
#
# PENSTOCK_GUESTS=all in the environment: each format with each cache mode.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/guest.sh"
need_fuse
need_loop
need qemu-img qemu-system-x86_64 mkfs.ext4 e2fsck mmdebstrap gzip apt-get dpkg-deb

guest_kernel
debian_tree
base=$work/base.qcow2
random_bytes 7 $((8 << 20)) "$work/payload"
say "the base: $(du -sh "$tree" | cut -f 1) of files"
truncate -s 768M "$work/base.img"
mkfs.ext4 -q -F -d "$tree" "$work/base.img"
attach_loop "$work/base.img"
mount_device "$loop" "$work/root"
cp "$work/payload" "$work/root/root/payload"
cp "$busybox" "$work/root/root/busybox"
cat >"$work/root/guest-work" <<'GUEST'
#!/bin/sh
# What the guest does, as its first process. Everything it says ends up in the log.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
exec </dev/null >/dev/ttyS0 2>&1
set -e
trap 'echo GUEST-FAILED; sync; sleep 1; echo o >/proc/sysrq-trigger; sleep 1000' EXIT
echo "GUEST-UP $(uname -r) $(cat /proc/uptime)"
cat /root/payload /root/payload >/root/synced
sync /root/synced
mkdir /root/copy
cp -a /usr/sbin /root/copy/
sync
# Freed and given back: many small files, and one long one.
mkdir /root/freed
cp -a /usr/share/perl5 /usr/share/man /root/freed/
cat /root/payload /root/payload >/root/freed/long
sync
rm -rf /root/freed
sync
fstrim -v /
# Over what is there, in place and across its end.
dd if=/root/payload of=/root/payload-2 bs=64k status=none
dd if=/root/payload of=/root/payload-2 bs=4096 seek=100 count=700 conv=notrunc,fsync oflag=direct status=none
(cd / && sha256sum root/synced root/payload root/payload-2 && find root/copy -type f -exec sha256sum {} +) >/tmp/sums
cp /tmp/sums /root/sums
sync
echo "$(cat /proc/uptime)" >/root/last-words
/root/busybox mount -o remount,ro /
echo "GUEST-DONE $(cat /proc/uptime)"
echo o >/proc/sysrq-trigger
sleep 1000
GUEST
unmount_device "$work/root"
detach_loop "$loop" "$work/base.img"
qemu-img convert -f raw -O qcow2 "$work/base.img" "$base"
base_sum=$(sum_of "$base")

# guest FORMAT CACHE-MODE
guest() {
  local format=$1 cache=$2 overlay=$work/overlay.$1 log=$work/guest-$1-$2.log since job read_back options=()
  say "$format, cache=$cache"
  since=$SECONDS
  rm -f "$work"/overlay.*
  if [ "$format" = add-cow ]; then options=(-o image_file=overlay.data); fi
  "$penstock" create -f "$format" "${options[@]}" -b base.qcow2 -F qcow2 "$overlay" >/dev/null
  # So slow that the guest has come and gone long before the end, so fast that much is done beside it.
  mount_image --stream --stream-speed 128K -f "$format" "$overlay"
  run_guest "$view" "$cache" "$log"
  say "$(grep -a GUEST- "$log" | tr -d '\r' | tr '\n' ' ')"
  job=$("$penstock" status "$mountpoint" | sed -n 's/^stream: *//p')
  say "stream: $job"
  [[ "$job" == running* ]] || fail "the stream did not run beside the guest: $job"
  "$penstock" stream speed 0 "$mountpoint"
  said=$("$penstock" umount --wait "$mountpoint" 2>/dev/null) || fail "umount --wait: $said"
  [[ "$said" == *finalised* ]] || fail "umount --wait says: $said"
  [[ "$("$penstock" info "$overlay")" != *'backing file:'* ]] || fail "still has a backing file"
  [ "$(sum_of "$base")" = "$base_sum" ] || fail "the base changed"

  read_back=$work/read-back.raw
  if [ "$format" = add-cow ]; then
    # Its raw file is the whole disk from now on.
    cp --sparse=always "$work/overlay.data" "$read_back"
    "$penstock" check "$overlay" >"$work/check.log" || fail "penstock check: $(cat "$work/check.log")"
  else
    check_clean "$overlay"
    mv "$base" "$base.away"
    qemu-img convert -f "$format" -O raw "$overlay" "$read_back"
    mv "$base.away" "$base"
  fi
  "$penstock" compare -f "$format" -F raw "$overlay" "$read_back" >"$work/compare.log" ||
    fail "penstock and QEMU read different disks: $(cat "$work/compare.log")"
  e2fsck -f -n "$read_back" >"$work/fsck.log" 2>&1 || fail "e2fsck: $(cat "$work/fsck.log")"
  attach_loop "$read_back" -r
  mount_device "$loop" "$work/root" -o ro
  [ -s "$work/root/root/last-words" ] || fail "the guest's last words are lost"
  [ ! -e "$work/root/root/freed" ] || fail "what the guest deleted is back"
  same_bytes "$work/root/root/payload" "$work/payload"
  cat "$work/payload" "$work/payload" | cmp - "$work/root/root/synced" || fail "what the guest synced differs"
  (cd "$work/root" && sha256sum --quiet -c root/sums) >"$work/sums.log" 2>&1 || fail "files differ: $(head "$work/sums.log")"
  [ "$(wc -l <"$work/root/root/sums")" -gt 50 ] || fail "the guest looked at few files"
  diff -r --no-dereference "$tree/usr" "$work/root/usr" >"$work/diff.log" 2>&1 || fail "files of the base differ: $(head "$work/diff.log")"
  diff -r --no-dereference "$tree/usr/sbin" "$work/root/root/copy/sbin" >/dev/null || fail "what the guest copied differs"
  unmount_device "$work/root"
  detach_loop "$loop" "$read_back"
  rm "$read_back"
  say "$format, cache=$cache: $((SECONDS - since)) s"
}
if [ "${PENSTOCK_GUESTS:-}" = all ]; then
  for format in qcow2 qed add-cow; do
    for cache in none writeback; do guest $format $cache; done
  done
else
  [ $# -gt 0 ] || set -- qcow2 none
  while [ $# -gt 0 ]; do
    guest "$1" "$2"
    shift 2
  done
fi
