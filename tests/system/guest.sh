# SPDX-License-Identifier: Apache-2.0
# For scripts that boot a guest: `. "$(dirname "$0")/guest.sh"` after lib.sh. A real Debian kernel, from its package, and
# a small initramfs that finds the root file system on the virtio disk.

# package NAME DIRECTORY: a Debian package's files, extracted, not installed.
package() {
  local try
  mkdir -p "$2.deb"
  for try in 1 2 3; do
    if (cd "$2.deb" && rm -f -- *.deb && apt-get -q -o APT::Sandbox::User=root download "$1") >"$2.log" 2>&1; then
      dpkg-deb -x "$2.deb"/*.deb "$2"
      return 0
    fi
    apt-get -q update >>"$2.log" 2>&1 || true
  done
  skip "no mirror to fetch $1 from: $(tail -n 1 "$2.log")"
}

# guest_kernel: sets $kernel, $initramfs and $busybox; kept for the other scripts of one run in PENSTOCK_TEST_CACHE.
guest_kernel() {
  local cache=${PENSTOCK_TEST_CACHE:-$work}/guest-kernel name module
  kernel=$cache/vmlinuz
  initramfs=$cache/initramfs.gz
  busybox=$cache/busybox-static
  [ ! -e "$initramfs" ] || return 0
  mkdir -p "$cache"
  name=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p')
  name=${name%%$'\n'*}
  [ -n "$name" ] || skip "no package linux-image-cloud-amd64"
  package "$name" "$cache/linux"
  package busybox-static "$cache/busybox"
  cp "$cache"/linux/boot/vmlinuz-* "$kernel"
  mkdir -p "$cache/root/bin" "$cache/root/dev" "$cache/root/sys" "$cache/root/new"
  cp "$cache/busybox/bin/busybox" "$cache/root/bin/"
  for module in virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk; do
    find "$cache/linux/lib/modules" -name "$module.ko" -exec cp -t "$cache/root" {} +
  done
  cat >"$cache/root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox mkdir -p /bin /dev
/bin/busybox mount -t devtmpfs none /dev
for module in virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk; do
  [ ! -e /$module.ko ] || /bin/busybox insmod /$module.ko
done
while [ ! -b /dev/vda ]; do /bin/busybox sleep 0.1; done
/bin/busybox mount -t ext4 /dev/vda /new
/bin/busybox mount --move /dev /new/dev
/bin/busybox mount -t proc none /new/proc
/bin/busybox mount -t sysfs none /new/sys
/bin/busybox mount -t tmpfs none /new/tmp
exec /bin/busybox switch_root /new /bin/sh /guest-work
INIT
  chmod +x "$cache/root/init"
  (cd "$cache/root" && find . | "$cache/busybox/bin/busybox" cpio -o -H newc 2>/dev/null | gzip -1) >"$initramfs.new"
  mv "$initramfs.new" "$initramfs"
  cp "$cache/busybox/bin/busybox" "$cache/busybox-static"
  mkdir -p "$cache/modules"
  (cd "$cache/linux/lib/modules" && find . -path '*/fs/fuse/*' -o -path '*/drivers/block/loop.ko' -o -name 'modules.*' |
    tar -c --no-recursion -T - | tar -x -C "$cache/modules")
  rm -rf "$cache/linux" "$cache/busybox"
}

# guest_modules TREE: the kernel's modules that penstock needs, for modprobe in a guest with that root.
guest_modules() {
  local modules=${kernel%/*}/modules version
  version=$(ls "$modules")
  mkdir -p "$1/lib/modules"
  cp -a "$modules/$version" "$1/lib/modules/"
  chroot "$1" depmod "$version"
}

# run_guest DISK CACHE-MODE LOG: boots from the raw file and returns when the guest has powered off.
run_guest() {
  local status=0
  # A guest that hangs must not hang the test.
  timeout --kill-after=10 "${PENSTOCK_GUEST_SECONDS:-1000}" qemu-system-x86_64 -nodefaults -no-user-config -display none \
    -machine q35,hpet=off -accel tcg -cpu max -m 512 -kernel "$kernel" -initrd "$initramfs" \
    -append 'console=ttyS0 panic=-1 quiet mitigations=off no_timer_check' -serial "file:$3" -no-reboot \
    -drive "file=$1,format=raw,if=none,id=disk,cache=$2,discard=unmap,aio=threads" \
    -device virtio-blk-pci,drive=disk,discard=on >"$3.qemu" 2>&1 </dev/null || status=$?
  [ $status -eq 0 ] || fail "qemu exits $status: $(cat "$3.qemu"; tail -n 30 "$3")"
  grep -q '^GUEST-DONE' "$3" || fail "the guest did not come to its end: $(tail -n 200 "$3")"
}
