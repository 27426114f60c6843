#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# An ordinary user mounts, writes and unmounts on directories and files; allow_other is refused with a clear line until
# fuse.conf allows it.
if [ "$(id -u)" -eq 0 ] && [ -z "${PENSTOCK_OWN_NAMESPACE:-}" ]; then
  # /dev/fuse and /etc/fuse.conf are changed for this script alone.
  if ! unshare --mount --propagation private true 2>/dev/null; then
    echo "SKIP: needs a mount namespace of its own, which cannot be had here (a chroot?)" >&2
    exit 77
  fi
  exec unshare --mount --propagation private env PENSTOCK_OWN_NAMESPACE=1 bash "$0" "$@"
fi
. "$(dirname "$0")/lib.sh"
[ -z "${PENSTOCK_OWN_NAMESPACE:-}" ] || forget_foreign_mounts
[ "$(id -u)" -eq 0 ] || skip "needs root, to become somebody else"
need_fuse
need qemu-img fusermount3 setpriv
[ -u "$(command -v fusermount3)" ] || skip "fusermount3 is not set-user-ID here"

user=65534
other=65533
chmod 755 "$work"
install -m 755 "$penstock" "$work/penstock"
install -d -o $user -m 700 "$work/run"
install -d -o $user -m 755 "$work/own"
mknod -m 666 "$work/fuse" c 10 229
mount --bind "$work/fuse" /dev/fuse
on_exit 'umount /dev/fuse'
: >"$work/fuse.conf"
mount --bind "$work/fuse.conf" /etc/fuse.conf
on_exit 'umount /etc/fuse.conf'

as() {
  local who=$1
  shift
  setpriv --reuid="$who" --regid="$who" --clear-groups env HOME=/nonexistent XDG_RUNTIME_DIR="$work/run" "$@"
}
as $user head -c 0 /dev/fuse 2>/dev/null || skip "device files cannot be opened in $work"

cd "$work/own"
image=$work/own/disk.qcow2
as $user qemu-img create -q -f qcow2 "$image" 16M
mountpoint=$work/own/mnt
as $user mkdir "$mountpoint"
on_exit "force_unmount '$mountpoint'"
random_bytes 1 100000 "$work/wanted"
chmod 644 "$work/wanted"

say "a directory"
as $user "$work/penstock" mount "$image" mnt || fail "mount"
as $user dd if="$work/wanted" of=mnt/disk.raw conv=notrunc status=none
as $user cmp -n 100000 "$work/wanted" mnt/disk.raw || fail "other contents"
[ "$(as $user stat -c '%u %a' mnt/disk.raw)" = "$user 600" ] || fail "wrong owner or mode"
must_fail denied ls mnt
must_fail 'run this as that user' "$penstock" status mnt
as $user "$work/penstock" status mnt >/dev/null || fail "status"
[ "$(stat -c '%u %a' "$work/run/penstock")" = "$user 700" ] || fail "the runtime directory is not private"
socket=$(as $user getfattr --only-values -n user.penstock.control mnt/disk.raw 2>/dev/null || ls "$work"/run/penstock/*.sock)
[ "$(stat -c '%u %a' "$socket")" = "$user 600" ] || fail "the control socket is not private"
say "busy"
as $user bash -c "exec 7<mnt/disk.raw; ! '$work/penstock' umount mnt" 2>"$work/busy.txt" || fail "a busy mount was unmounted"
grep -q 'in use' "$work/busy.txt" || fail "busy is not said: $(cat "$work/busy.txt")"
as $user "$work/penstock" umount mnt || fail "umount"
not is_mounted "$mountpoint" || fail "still mounted"
[ ! -e "$socket" ] || fail "the control socket is left behind"
check_clean "$image"
qemu-img convert -O raw "$image" "$work/got.raw"
cmp -n 100000 "$work/wanted" "$work/got.raw" || fail "not in the image"

say "a file as mountpoint, and fusermount3 -u"
as $user touch file.raw
on_exit "force_unmount '$work/own/file.raw'"
as $user "$work/penstock" mount "$image" file.raw || fail "mount on a file"
as $user cmp -n 100000 "$work/wanted" file.raw || fail "other contents on a file"
daemon=$(as $user "$work/penstock" status --json file.raw | sed -n 's/.*"pid": \([0-9]*\).*/\1/p')
as $user fusermount3 -u file.raw || fail "fusermount3 -u"
wait_until 60 is_gone "$daemon" || fail "the daemon is still there"
[ "$(stat -c %s file.raw)" -eq 0 ] || fail "the file is still covered"
as $user "$work/penstock" mount -o writeback "$image" file.raw || fail "mount on a file with -o writeback"
as $user cmp -n 100000 "$work/wanted" file.raw || fail "other contents on a file with -o writeback"
as $user "$work/penstock" umount file.raw

say "SIGTERM"
as $user "$work/penstock" mount "$image" mnt
daemon=$(as $user "$work/penstock" status --json mnt | sed -n 's/.*"pid": \([0-9]*\).*/\1/p')
kill -TERM "$daemon"
wait_until 60 is_gone "$daemon" || fail "the daemon is still there"
not is_mounted "$mountpoint" || fail "still mounted after SIGTERM"

say "what may not be"
must_fail user_allow_other as $user "$work/penstock" mount -o allow_other "$image" mnt
not is_mounted "$mountpoint" || fail "mounted after an error"
must_fail user_allow_other as $user "$work/penstock" mount -o allow_root "$image" mnt
mkdir "$work/foreign"
on_exit "force_unmount '$work/foreign'"
must_fail penstock: as $user "$work/penstock" mount "$image" "$work/foreign"
[ "$(wc -l <<<"$said")" -eq 1 ] || fail "more than one line: $said"
not is_mounted "$work/foreign" || fail "mounted on a foreign directory"
must_fail penstock: as $other env XDG_RUNTIME_DIR=/nonexistent "$work/penstock" status mnt

say "allow_other where fuse.conf allows it"
echo user_allow_other >"$work/fuse.conf"
as $user "$work/penstock" mount -o allow_other,mode=0644 "$image" mnt || fail "allow_other"
as $other cmp -n 100000 "$work/wanted" mnt/disk.raw || fail "others cannot read"
must_fail denied as $other dd if=/dev/zero of=mnt/disk.raw bs=1 count=1 conv=notrunc
must_fail penstock: as $other "$work/penstock" umount mnt
is_mounted "$mountpoint" || fail "somebody else unmounted it"
"$penstock" umount mnt || fail "root cannot unmount"
as $user "$work/penstock" mount -o allow_root "$image" mnt || fail "allow_root"
cmp -n 100000 "$work/wanted" mnt/disk.raw || fail "root cannot read"
must_fail denied as $other head -c 1 mnt/disk.raw
as $user "$work/penstock" umount mnt || fail "umount of allow_root"

say "without a runtime directory"
[ -e /tmp/penstock-$user ] || on_exit "rmdir /tmp/penstock-$user"
as $user env -u XDG_RUNTIME_DIR "$work/penstock" mount "$image" mnt || fail "mount without XDG_RUNTIME_DIR"
as $user "$work/penstock" umount mnt || fail "umount without XDG_RUNTIME_DIR"
check_clean "$image"
cd /

say "a limit on processes: refused in one line, or served"
no_process_is_left() { ! pgrep -u $user >/dev/null; }
if command -v pgrep >/dev/null && wait_until 60 no_process_is_left; then
  served=0
  for limit in 2 3 4 5 6 7 8 9; do
    status=0
    said=$(as $user prlimit --nproc=$limit "$work/penstock" mount -r "$image" "$mountpoint" 2>&1) || status=$?
    if [ $status -eq 0 ]; then
      served=$((served + 1))
      as $user head -c 1M "$mountpoint/disk.raw" >"$work/got" || fail "$limit processes: no reading"
      [ "$(stat -c %s "$work/got")" -eq $((1 << 20)) ] || fail "$limit processes: short"
      as $user "$work/penstock" umount -q "$mountpoint" || fail "$limit processes: umount"
    else
      [ $status -eq 1 ] || fail "$limit processes: exit status $status: $said"
      [ "$(wc -l <<<"$said")" -eq 1 ] || fail "$limit processes: not one line: $said"
    fi
    say "   $limit: exit status $status${said:+: $said}"
    not is_mounted "$mountpoint" || fail "$limit processes: left mounted"
    wait_until 60 no_process_is_left || fail "$limit processes: something is left"
  done
  [ $served -gt 0 ] || fail "no limit is high enough"

  say "a limit on processes that is reached for a moment while it unmounts"
  as $user prlimit --nproc=9 "$work/penstock" mount -r "$image" "$mountpoint" || fail "9 processes: mount"
  for _ in 1 2 3 4 5 6 7 8 9; do as $user sleep 600 & done
  sleepers() { pgrep -u $user -x sleep; }
  on_exit 'mapfile -t pids < <(sleepers) && [ ${#pids[@]} -eq 0 ] || kill "${pids[@]}"'
  all_sleep() { [ "$(sleepers | wc -l)" -eq 9 ]; }
  wait_until 60 all_sleep || fail "the sleepers have not begun"
  mapfile -t pids < <(sleepers)
  (sleep 0.3 && kill "${pids[@]}") &
  as $user "$work/penstock" umount -q "$mountpoint" || fail "a limit that is reached for a moment: umount"
  not is_mounted "$mountpoint" || fail "a limit that is reached for a moment: left mounted"
  wait_until 60 no_process_is_left || fail "something is left"
fi
