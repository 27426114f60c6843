# SPDX-License-Identifier: Apache-2.0
# For the scripts in this folder that need a machine with nothing of ours: `. "$(dirname "$0")/clean-root.sh"` first.
# Sets $source_root, $work (a folder that is gone in the end) and, by clean_root, $root: a Debian 12 root file system.
# Needs root, FUSE, loop devices, mmdebstrap and a mirror.
set -euo pipefail
exec </dev/null
if [ -z "${PENSTOCK_ROOT_NAMESPACE:-}" ]; then
  # What is mounted below $work is then seen by nobody else, and gone when this ends, however it ends.
  exec unshare --mount --propagation private env PENSTOCK_ROOT_NAMESPACE=1 bash "$0" "$@"
fi
. "$(dirname "$0")/../support/foreign_mounts.sh"
forget_foreign_mounts
# What is made here is looked at by others: apt's own user goes through it.
umask 022
unset CDPATH POSIXLY_CORRECT
export LC_ALL=C DEBIAN_FRONTEND=noninteractive PATH="$PATH:/usr/sbin:/sbin"
source_root=$(cd "$(dirname "$0")/../.." && pwd)
# By its real name, as it is among the mounts.
work=$(mktemp -d "$(realpath "${PENSTOCK_TEST_DIRECTORY:-/var/tmp}")/penstock-package-XXXXXX")
root=$work/root
step_began=$SECONDS
# step NAME: says how long the one before took.
step() {
  printf '\n== %s (the step before: %d s)\n' "$1" $((SECONDS - step_began))
  step_began=$SECONDS
}
fail() {
  printf 'FAIL: %s\n' "$*" >&2
  exit 1
}
mounted_below() { awk -v below="$work/" 'index($2, below) == 1 { print $2 }' /proc/self/mounts | sort -r; }
# From the innermost outwards. Nothing is removed while something is mounted below: it might be the host's.
end_root() {
  local place
  mounted_below | while read -r place; do umount "$place" || umount -l "$place"; done
  [ -z "$(mounted_below)" ] && rm -rf --one-file-system "$root"
}
clean_up() {
  local status=$?
  trap - EXIT
  set +e
  if end_root; then rm -rf --one-file-system "$work"; else echo "kept, since something is mounted there: $work" >&2; fi
  exit $status
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

inside() { chroot "$root" "$@"; }
# quietly LOG COMMAND...: what it says is told only when it fails.
quietly() {
  local log=$work/$1.log
  shift
  "$@" >"$log" 2>&1 || {
    tail -n 40 "$log"
    fail "$*"
  }
}
# clean_root: what Debian 12 has at the least; kept for the next one in PENSTOCK_TEST_CACHE.
clean_root() {
  local tar=${PENSTOCK_TEST_CACHE:-$work}/clean-root.tar
  if [ ! -e "$tar" ]; then
    mmdebstrap --quiet --variant=minbase --include=ca-certificates --dpkgopt=force-unsafe-io bookworm "$tar.new.tar" ||
      fail "mmdebstrap"
    mv "$tar.new.tar" "$tar"
  fi
  mkdir "$root"
  # A mount, onto itself, for programs inside that want a mount namespace of their own. Its nodes come from below.
  mount --bind "$root" "$root"
  tar -C "$root" -x --xattrs --exclude='./dev/*' -f "$tar"
  # Mounts of its own, none of the host's directories.
  mount -t proc proc "$root/proc"
  mount -t sysfs sysfs "$root/sys"
  mount -t devtmpfs devtmpfs "$root/dev"
  mkdir -p "$root/dev/pts" "$root/dev/shm"
  mount -t devpts devpts "$root/dev/pts"
  mount -t tmpfs tmpfs "$root/dev/shm"
  # As any system that was booted has it: fusermount3 looks there.
  [ -e "$root/etc/mtab" ] || ln -s ../proc/self/mounts "$root/etc/mtab"
  cp /etc/resolv.conf "$root/etc/resolv.conf" 2>/dev/null || true
  # Nothing here has to survive a power cut but what the tests sync themselves.
  echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/unsafe"
  quietly update inside apt-get -q update
}
# build_packages: sets $packages, the folder that they are in.
build_packages() {
  packages=$work/build
  mkdir "$packages"
  # The clone may be somebody else's than root's.
  git -c safe.directory="$source_root" -C "$source_root" archive --prefix=penstock/ HEAD | tar -x -C "$packages"
  quietly dpkg-buildpackage env -C "$packages/penstock" dpkg-buildpackage -us -uc -b -j"${PENSTOCK_JOBS:-$(nproc)}"
}
