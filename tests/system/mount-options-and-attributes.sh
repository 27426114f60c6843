#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Mount options do what mount(8)'s do, unknown ones are refused by name, and stat, statfs and the extended attributes
# of the view tell the truth.
. "$(dirname "$0")/lib.sh"
need_fuse
need qemu-img qemu-io python3

image=$work/my.disk.qcow2
qemu-img create -q -f qcow2 "$image" 64M
mountpoint=$work/mnt
mkdir "$mountpoint"
on_exit "force_unmount '$mountpoint'"
view=$mountpoint/my.disk.raw
with() { "$penstock" mount "$@" "$image" "$mountpoint" || fail "mount $*"; }
without() { "$penstock" umount "$mountpoint" || fail "umount"; }
option_of() { awk -v path="$mountpoint" '$2 == path { print $1, $3, $4 }' /proc/self/mounts; }

say "defaults"
with
[ -f "$view" ] || fail "the view is not called my.disk.raw: $(ls "$mountpoint")"
[ "$(stat -c '%a %u %g %s' "$view")" = "600 $(id -u) $(id -g) 67108864" ] || fail "$(stat "$view")"
[[ "$(option_of)" == "$image fuse.penstock "* ]] || fail "wrong source or type: $(option_of)"
must_fail 'not permitted' touch "$mountpoint/another"
must_fail 'not permitted' rm "$view"
[ "$(ls "$mountpoint")" = my.disk.raw ] || fail "the directory changed"
must_fail '' bash -c ": > '$view'"
[ "$(stat -c %s "$view")" = 67108864 ] || fail "truncated by an open"
without

say "owner and mode"
with -o uid=1234,gid=4321,mode=0640
[ "$(stat -c '%a %u %g' "$view")" = "640 1234 4321" ] || fail "$(stat "$view")"
chmod 600 "$view"
chown 55:66 "$view"
touch -d '2001-02-03 04:05:06 UTC' "$view"
[ "$(stat -c '%a %u %g %Y' "$view")" = "600 55 66 981173106" ] || fail "$(stat "$view")"
without
with -o umask=027 -o uid=1
[ "$(stat -c '%a %u' "$view")" = "640 1" ] || fail "$(stat "$view")"
without

say "names"
with -o 'fsname=a\,b c\\d,subtype=disk'
[[ "$(option_of)" == 'a,b\040c\134d fuse.disk '* ]] || fail "wrong names: $(option_of)"
without

say "read-only"
for flags in '-r' '-o ro' '--read-only'; do
  # shellcheck disable=SC2086
  with $flags
  must_fail 'Read-only' dd if=/dev/zero of="$view" bs=512 count=1 conv=notrunc
  [ "$(stat -c %a "$view")" = 400 ] || fail "mode of a read-only view: $(stat -c %a "$view")"
  without
done
with -o ro,rw
dd if=/dev/zero of="$view" bs=512 count=1 conv=notrunc status=none
without

say "what mount(8) passes on"
with -o defaults,nosuid,nodev,noexec,noatime,relatime,async,_netdev,nofail,x-systemd.automount,default_permissions,allow_other
[[ "$(option_of)" == *noexec* && "$(option_of)" == *allow_other* ]] || fail "not handed on: $(option_of)"
without

say "sizes of requests"
for option in max_read=4096,max_write=4096 max_read=65536 max_write=1048576; do
  with -o $option --threads 2
  random_bytes 1 3000001 "$work/wanted"
  dd if="$work/wanted" of="$view" bs=3000001 conv=notrunc status=none
  cmp -n 3000001 "$work/wanted" "$view" || fail "$option"
  without
done

say "what is refused, with its name and exit status 2"
for option in frobnicate uid=x uid=-1 gid= mode=999 mode=1777 umask=x max_read=0 max_read=4095 max_read=1048577 \
  max_write=12 max_write=abc fsname= allow_other=1 ro=yes; do
  status=0
  said=$("$penstock" mount -o "$option" "$image" "$mountpoint" 2>&1) || status=$?
  [ $status -eq 2 ] || fail "-o $option exits $status"
  [[ "$said" == *"'$option'"* && "$(wc -l <<<"$said")" -eq 1 ]] || fail "-o $option says: $said"
done
for flags in '--discard=all' '--threads=0' '--threads=x' '--cache-size=much' '--no-such-flag' '-r --resizable'; do
  status=0
  # shellcheck disable=SC2086
  said=$("$penstock" mount $flags "$image" "$mountpoint" 2>&1) || status=$?
  [ $status -eq 2 ] && [ "$(wc -l <<<"$said")" -eq 1 ] || fail "$flags exits $status: $said"
done
not is_mounted "$mountpoint" || fail "something is mounted"

say "room in use, times, block sizes"
with
before=$(stat -c %b "$view")
sleep 0.1
mtime=$(stat -c %.Y "$view")
random_bytes 2 $((8 << 20)) "$work/wanted"
dd if="$work/wanted" of="$view" bs=1M seek=16 conv=notrunc,fsync status=none
after=$(stat -c %b "$view")
[ $(((after - before) * 512)) -ge $((8 << 20)) ] && [ $(((after - before) * 512)) -le $((9 << 20)) ] ||
  fail "st_blocks went from $before to $after by writing 8 MiB"
[ "$(stat -c %.Y "$view")" != "$mtime" ] || fail "mtime stands still"
[ "$(stat -c %b "$view")" -eq "$(stat -c %b "$image")" ] || fail "st_blocks is not the image's"
fallocate --punch-hole --offset $((16 << 20)) --length $((8 << 20)) "$view"
[ "$(stat -c %b "$view")" -lt $((after - (7 << 11))) ] || fail "punching gave no room back: $(stat -c %b "$view")"
[ "$(stat -c %o "$view")" -ge 4096 ] || fail "st_blksize is $(stat -c %o "$view")"
[ "$(stat -f -c %s "$view")" -eq 65536 ] || fail "f_bsize is not the cluster: $(stat -f "$view")"
read -r total free < <(stat -f -c '%b %f' "$view")
[ "$total" -gt 0 ] && [ "$free" -gt 0 ] && [ "$total" -ge "$free" ] || fail "statfs: $total blocks, $free free"
python3 - "$view" <<'PYTHON'
import os, sys
view = sys.argv[1]
names = sorted(os.listxattr(view))
assert names == ["user.penstock.control", "user.penstock.format", "user.penstock.image"], names
assert os.getxattr(view, "user.penstock.format") == b"qcow2"
assert os.path.samefile(os.getxattr(view, "user.penstock.image"), os.path.dirname(view) + "/../my.disk.qcow2")
assert os.getxattr(os.path.dirname(view), "user.penstock.control") == os.getxattr(view, "user.penstock.control")
for name in ("user.other", "security.capability"):
    try:
        os.getxattr(view, name)
        sys.exit(name)
    except OSError:
        pass
here = os.statvfs(view)
host = os.statvfs(os.path.dirname(os.path.dirname(view)))
assert here.f_blocks * here.f_frsize == host.f_blocks * host.f_frsize, (here, host)
PYTHON
without

say "--discard=ignore keeps the room, and a hole reads as zero"
with --discard=ignore
dd if="$work/wanted" of="$view" bs=1M conv=notrunc,fsync status=none
before=$(stat -c %b "$view")
fallocate --punch-hole --offset 12345 --length $((4 << 20)) "$view"
cmp <(tail -c +12346 "$view" | head -c $((4 << 20))) <(head -c $((4 << 20)) /dev/zero) || fail "the hole is no zero"
[ "$(stat -c %b "$view")" -ge "$before" ] || fail "--discard=ignore gave room back"
without
check_clean "$image"

say "the loop driver discards in clusters"
if [ "$(id -u)" -eq 0 ] && losetup -f >/dev/null 2>&1; then
  with
  attach_loop "$view"
  [ "$(cat "/sys/block/${loop#/dev/}/queue/discard_granularity")" -eq 65536 ] ||
    fail "discard granularity $(cat "/sys/block/${loop#/dev/}/queue/discard_granularity")"
  detach_loop "$loop" "$view"
  wait_until 60 "$penstock" umount "$mountpoint" || fail "umount after the loop device"
fi
check_clean "$image"
