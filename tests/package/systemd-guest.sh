#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# systemd-guest.sh DEB...: a Debian 12 guest with systemd and the packages boots (under TCG: minutes), mounts an image
# from its fstab and a file system in it, starts penstock@.service by mounting what is in its raw file, stops both,
# attaches an image whose partitions the kernel finds, and shuts down with an image mounted; afterwards the images are
# looked at from outside.
export PENSTOCK=${PENSTOCK:-/usr/bin/penstock}
. "$(dirname "$0")/../system/lib.sh"
. "$(dirname "$0")/../system/guest.sh"
[ $# -gt 0 ] || fail "usage: systemd-guest.sh DEB..."
need qemu-img qemu-system-x86_64 mkfs.ext4 mmdebstrap

guest_kernel
tree=$work/tree
say "a Debian root with systemd and the packages"
# The guest itself is kept for the next run in PENSTOCK_TEST_CACHE, as the kernel is.
tar=${PENSTOCK_TEST_CACHE:-$work}/systemd-root.tar
if [ ! -e "$tar" ]; then
  mmdebstrap --quiet --variant=apt --mode=root --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt=force-unsafe-io \
    --include=systemd-sysv,udev,dbus,fuse3,kmod,mount,fdisk,e2fsprogs,libdeflate0,libzstd1,zlib1g \
    bookworm "$tar.new.tar"
  mv "$tar.new.tar" "$tar"
fi
mkdir "$tree"
tar -C "$tree" -x --xattrs --xattrs-include='*' -f "$tar"
mkdir "$tree/debs"
cp "$@" "$tree/debs/"
cp /etc/resolv.conf "$tree/etc/resolv.conf" || true
chroot "$tree" sh -c 'apt-get -q -y install --no-install-recommends /debs/*.deb' >"$work/install.log" 2>&1 ||
  fail "apt install: $(tail -n 20 "$work/install.log")"
rm -rf --one-file-system "$tree/debs"
guest_modules "$tree"

mkdir -p "$tree/srv/a" "$tree/srv/files" "$tree/srv/vm" "$tree/srv/on-top" "$tree/etc/penstock"
truncate -s 64M "$work/inner.img"
mkdir "$work/inner"
random_bytes 1 $((8 << 20)) "$work/inner/data"
mkfs.ext4 -q -F -d "$work/inner" "$work/inner.img"
qemu-img convert -f raw -O qcow2 "$work/inner.img" "$tree/srv/base.qcow2"
(cd "$tree/srv" && qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 a.qcow2)
(cd "$tree/srv" && qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 vm.qcow2)
qemu-img create -q -f qcow2 "$tree/srv/disk.qcow2" 64M
cat >"$tree/etc/fstab" <<'FSTAB'
/srv/a.qcow2 /srv/a penstock x-systemd.mount-timeout=30min 0 0
/srv/a/a.raw /srv/files ext4 loop,x-systemd.requires-mounts-for=/srv/a,x-systemd.mount-timeout=30min 0 0
/srv/vm/vm.raw /srv/on-top ext4 loop,noauto,x-systemd.requires=penstock@vm.service,x-systemd.mount-timeout=30min 0 0
FSTAB
# An emulated processor, on a busy machine, is no reason to give up: what takes seconds takes minutes.
for unit in mount service; do
  mkdir -p "$tree/etc/systemd/system/$unit.d"
  printf '[%s]\nTimeoutSec=30min\n' "${unit^}" >"$tree/etc/systemd/system/$unit.d/slow.conf"
done
mkdir -p "$tree/etc/systemd/system/penstock@.service.d"
printf '[Service]\nWatchdogSec=30min\nTimeoutStopSec=30min\n' >"$tree/etc/systemd/system/penstock@.service.d/slow.conf"
cat >"$tree/etc/penstock/vm.conf" <<'CONF'
PENSTOCK_IMAGE=/srv/vm.qcow2
PENSTOCK_MOUNTPOINT=/srv/vm
PENSTOCK_FLAGS=--stream
PENSTOCK_STOP_FLAGS=--wait
CONF
cat >"$tree/etc/systemd/system/guest-test.service" <<'UNIT'
[Unit]
After=local-fs.target srv-files.mount
[Service]
Type=oneshot
ExecStart=/bin/bash /root/test
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
TimeoutStartSec=infinity
[Install]
WantedBy=multi-user.target
UNIT
mkdir -p "$tree/etc/systemd/system/multi-user.target.wants"
ln -s ../guest-test.service "$tree/etc/systemd/system/multi-user.target.wants/"
# A login there would hang up on the test.
ln -s /dev/null "$tree/etc/systemd/system/serial-getty@ttyS0.service"
printf '#!/bin/sh\nexec /lib/systemd/systemd\n' >"$tree/guest-work"
cat >"$tree/root/test" <<'GUEST'
set -e
failed() {
  set +e
  echo GUEST-FAILED
  journalctl -b --no-pager -o short-monotonic | grep -i -E 'penstock|fuse|srv|loop|guest-test' | tail -n 60
  systemctl --failed --no-pager
  systemctl status --no-pager -l srv-a.mount srv-files.mount penstock@vm
  for process in /proc/[0-9]*; do
    grep -q penstock "$process/cmdline" || continue
    echo "$process $(tr '\0' ' ' <"$process/cmdline") $(cat "$process/wchan")"
    cat "$process/status" | grep -E 'Seccomp|NoNew|Cap|State'
    grep -h State: "$process"/task/*/status
    cat "$process"/task/*/stack
  done
  systemctl poweroff
} 2>&1
trap failed EXIT
echo "GUEST-UP $(uname -r) $(cat /proc/uptime)"
findmnt -n /srv/a
findmnt -n /srv/files
echo 'written through fstab' >/srv/files/hello
sync -f /srv/files
echo "GUEST: fstab mounted the image and what is in it"
systemd-analyze verify --man=no /lib/systemd/system/penstock@.service
# What is on top brings the service up first.
timeout 900 systemctl start srv-on\\x2dtop.mount
systemctl is-active penstock@vm
systemctl show -p StatusText -p MainPID -p NotifyAccess -p Type penstock@vm
# In the namespace of everybody.
findmnt -n /srv/vm
[ "$(stat -c %s /srv/vm/vm.raw)" -eq 67108864 ]
! penstock status /srv/vm | grep -i 'sandbox.*off'
penstock status /srv/vm
findmnt -n /srv/on-top
echo 'written on top of the service' >/srv/on-top/hello
# And is unmounted before the service ends, or it would refuse.
timeout 900 systemctl stop penstock@vm
! findmnt -n /srv/on-top
[ "$(systemctl is-active penstock@vm || true)" = inactive ]
systemctl show -p Result -p ExecMainStatus penstock@vm | tee /dev/stderr | grep -q 'Result=success'
! findmnt -n /srv/vm
! penstock info /srv/vm.qcow2 | grep 'backing file:'
echo "GUEST: the service was started, and stopped complete"
loop=$(penstock attach /srv/disk.qcow2)
printf 'label: gpt\nsize=16M\nsize=16M\n' | sfdisk -q "$loop"
udevadm settle
[ -b "${loop}p2" ]
mkfs.ext4 -q "${loop}p1"
penstock detach "$loop"
loop=$(penstock attach /srv/disk.qcow2)
udevadm settle
[ -b "${loop}p1" ] && [ -b "${loop}p2" ]
mount "${loop}p1" /mnt
echo partitioned >/mnt/hello
! penstock detach "$loop"
umount /mnt
penstock detach "$loop"
[ ! -e "${loop}p1" ]
echo "GUEST: partitions were found by the kernel"
# Busy at the shutdown: an fstab mount with a file system on it.
trap - EXIT
echo "GUEST-DONE $(cat /proc/uptime)"
systemctl poweroff
GUEST
truncate -s 1500M "$work/root.img"
mkfs.ext4 -q -F -d "$tree" "$work/root.img"
say "boot"
PENSTOCK_GUEST_SECONDS=${PENSTOCK_GUEST_SECONDS:-900} run_guest "$work/root.img" writeback "$work/guest.log"
tr -d '\r' <"$work/guest.log" | grep -a 'GUEST\|StatusText\|/srv\|Result' || true

say "from outside"
attach_loop "$work/root.img" -r
mount_device "$loop" "$work/root" -o ro,noload
check_clean "$work/root/srv/a.qcow2"
check_clean "$work/root/srv/vm.qcow2"
check_clean "$work/root/srv/disk.qcow2"
(cd "$work/root/srv" && qemu-img convert -U -f qcow2 -O raw a.qcow2 "$work/a.raw")
e2fsck -f -n "$work/a.raw" >"$work/fsck.log" 2>&1 || fail "e2fsck: $(cat "$work/fsck.log")"
[ "$(debugfs -R 'cat /hello' "$work/a.raw" 2>/dev/null)" = 'written through fstab' ] || fail "what was written is lost"
qemu-img convert -U -f qcow2 -O raw "$work/root/srv/vm.qcow2" "$work/vm.raw"
e2fsck -f -n "$work/vm.raw" >"$work/fsck.log" 2>&1 || fail "e2fsck: $(cat "$work/fsck.log")"
[ "$(debugfs -R 'cat /hello' "$work/vm.raw" 2>/dev/null)" = 'written on top of the service' ] || fail "what was written is lost"
debugfs -R "dump /data $work/data" "$work/vm.raw" 2>/dev/null
same_bytes "$work/data" "$work/inner/data"
unmount_device "$work/root"
say "all of it holds"
