#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test-packages.sh [DIRECTORY]: builds the Debian packages from what git has (or takes those in DIRECTORY), has lintian
# look at them, installs them into a clean Debian 12 root, passes the three jobs there (attach; run while provisioning;
# finalise), runs the system tests against the installed program, and purges: nothing may be left. Needs root, FUSE,
# loop devices and a mirror; prints how long each step took.
#
# PENSTOCK_PACKAGE_TESTS: which system tests (names without ".sh"), "none", or all that a root without compilers can run.
set -euo pipefail
exec </dev/null
export LC_ALL=C DEBIAN_FRONTEND=noninteractive PATH="$PATH:/usr/sbin:/sbin"
source_root=$(cd "$(dirname "$0")/../.." && pwd)
packages=${1:-}
work=$(mktemp -d "${PENSTOCK_TEST_DIRECTORY:-/var/tmp}/penstock-package-XXXXXX")
root=$work/root
step_began=$SECONDS
step() {
  printf '\n== %s (the step before: %d s)\n' "$1" $((SECONDS - step_began))
  step_began=$SECONDS
}
fail() {
  printf 'FAIL: %s\n' "$*" >&2
  exit 1
}
clean_up() {
  local status=$? place
  trap - EXIT
  set +e
  # From the innermost outwards.
  awk -v root="$root" 'index($2, root) == 1 { print $2 }' /proc/self/mounts | sort -r | while read -r place; do
    umount "$place" || umount -l "$place"
  done
  rm -rf --one-file-system "$work"
  exit $status
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

if [ -z "$packages" ]; then
  step "dpkg-buildpackage"
  mkdir "$work/build"
  git -C "$source_root" archive --prefix=penstock/ HEAD | tar -x -C "$work/build"
  (cd "$work/build/penstock" && dpkg-buildpackage -us -uc -b -j"${PENSTOCK_JOBS:-$(nproc)}") >"$work/build.log" 2>&1 ||
    { tail -n 60 "$work/build.log"; fail "dpkg-buildpackage"; }
  packages=$work/build
fi
ls -l "$packages"/*.deb
step "lintian"
lintian --allow-root --fail-on error --display-level '>=warning' "$packages"/*.changes || fail "lintian finds errors"

step "a clean Debian 12 root"
# ifupdown and friends are not needed: apt, dpkg and what is required.
mmdebstrap --quiet --variant=apt --include=ca-certificates bookworm "$root" || fail "mmdebstrap"
for place in dev proc sys; do
  mkdir -p "$root/$place"
  mount --rbind --make-rslave "/$place" "$root/$place"
done
cp /etc/resolv.conf "$root/etc/resolv.conf" 2>/dev/null || true
inside() { chroot "$root" "$@"; }
inside apt-get -q update >/dev/null
everything() {
  find "$root" -xdev \( -path "$root/var/lib/dpkg" -o -path "$root/var/lib/apt" -o -path "$root/var/cache" \
    -o -path "$root/var/log" -o -path "$root/proc" -o -path "$root/sys" -o -path "$root/dev" \) -prune -o -print | sort
}
# What the packages depend on stays when they are purged: it belongs to the picture before.
step "apt install ./*.deb"
mkdir "$root/debs"
find "$packages" -maxdepth 1 -name '*.deb' ! -name '*-dbgsym_*' -exec cp -t "$root/debs" {} +
depends=$(for deb in "$root"/debs/*.deb; do dpkg-deb -f "$deb" Depends; done | tr ',' '\n' |
  sed 's/(.*//; s/|.*//; s/ //g' | grep -v '^libpenstock\|^penstock' | sort -u)
# shellcheck disable=SC2086
inside apt-get -q -y install --no-install-recommends $depends >"$work/depends.log" 2>&1 ||
  { tail -n 20 "$work/depends.log"; fail "dependencies"; }
everything >"$work/before"
inside sh -c 'apt-get -q -y install --no-install-recommends /debs/*.deb' >"$work/install.log" 2>&1 ||
  { tail -n 30 "$work/install.log"; fail "apt install"; }
inside penstock --version
inside sh -c 'ls -l /sbin/mount.penstock /usr/bin/penstock /lib/systemd/system/penstock@.service /usr/share/man/man1/penstock*'

step "the three jobs"
cp "$source_root/tests/package/three-jobs.sh" "$root/debs/"
began=$SECONDS
inside bash /debs/three-jobs.sh || fail "the three jobs"
printf 'the three jobs took %d s\n' $((SECONDS - began))

if [ "${PENSTOCK_PACKAGE_TESTS:-}" != none ]; then
  step "system tests against the installed program"
  inside apt-get -q -y install --no-install-recommends qemu-utils e2fsprogs attr python3 procps util-linux mount fdisk \
    strace >"$work/tools.log" 2>&1 || { tail -n 20 "$work/tools.log"; fail "tools for the tests"; }
  cp -r "$source_root/tests/system" "$root/debs/tests"
  failed=0
  for name in ${PENSTOCK_PACKAGE_TESTS:-attach-and-detach mount-helper-and-fstab mount-options-and-attributes \
    unmount-ways-close-the-image streaming-is-steered-and-shown flush-reaches-the-host snapshots-survive locks-against-qemu}; do
    status=0
    inside env PENSTOCK=/usr/bin/penstock PENSTOCK_TEST_DIRECTORY=/debs bash "/debs/tests/$name.sh" >"$work/$name.log" 2>&1 ||
      status=$?
    printf '%-40s exit status %d\n' "$name" $status
    if [ $status -ne 0 ]; then
      tail -n 15 "$work/$name.log"
      [ $status -eq 77 ] || failed=1
    fi
  done
  [ $failed -eq 0 ] || fail "system tests against the installed program"
fi

step "purge"
inside apt-get -q -y purge penstock libpenstock0 libpenstock-dev penstock-doc >"$work/purge.log" 2>&1 ||
  { tail -n 20 "$work/purge.log"; fail "purge"; }
if [ "${PENSTOCK_PACKAGE_TESTS:-}" != none ]; then
  # The tools came in between; only what bears the name counts.
  everything | { grep -i penstock || true; } >"$work/left"
else
  everything >"$work/after"
  diff "$work/before" "$work/after" | sed -n 's/^> //p' >"$work/left"
fi
grep -v "^$root/debs" "$work/left" >"$work/left-over" || true
[ ! -s "$work/left-over" ] || fail "left after the purge: $(cat "$work/left-over")"
printf 'nothing is left after the purge\n'
step "done, $SECONDS s in all"
