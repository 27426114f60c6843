#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test-packages.sh [DIRECTORY]: builds the Debian packages from what git has (or takes those in DIRECTORY), has lintian
# look at them, installs them into a clean Debian 12 root, passes the three jobs there (attach; run while provisioning;
# finalise), builds the example with what the library's packages bring, runs the system tests against the installed
# program, and purges: nothing may be left. Needs root, FUSE, loop devices and a mirror; prints how long each step took.
#
# PENSTOCK_PACKAGE_TESTS: which system tests (names without ".sh"), "none", or all that need no build folder.
. "$(dirname "$0")/clean-root.sh"
packages=${1:-}

if [ -z "$packages" ]; then
  step "dpkg-buildpackage"
  build_packages
  # The tests that belong to them, whatever becomes of the tree meanwhile.
  source_root=$packages/penstock
fi
ls -l "$packages"/*.deb
step "lintian"
lintian --allow-root --fail-on error --display-level '>=warning' "$packages"/*.changes || fail "lintian finds errors"

step "a clean Debian 12 root"
clean_root
# (/run/mount is what mount(8) remembers.)
everything() {
  find "$root" -xdev \( -path "$root/var/lib/dpkg" -o -path "$root/var/lib/apt" -o -path "$root/var/cache" \
    -o -path "$root/var/log" -o -path "$root/proc" -o -path "$root/sys" -o -path "$root/dev" \
    -o -path "$root/run/mount" \) -prune -o -print | sed "s,^$root,," | sort
}
# What the packages depend on stays when they are purged: it belongs to the picture before.
step "apt install ./*.deb"
mkdir "$root/debs"
find "$packages" -maxdepth 1 -name '*.deb' ! -name '*-dbgsym_*' -exec cp -t "$root/debs" {} +
depends=$(for deb in "$root"/debs/*.deb; do dpkg-deb -f "$deb" Depends; done | tr ',' '\n' |
  sed 's/(.*//; s/|.*//; s/ //g' | grep -v '^libpenstock\|^penstock' | sort -u)
# shellcheck disable=SC2086
quietly depends inside apt-get -q -y install $depends
everything >"$work/before"
install() { quietly install inside sh -c 'apt-get -q -y install /debs/*.deb'; }
purge() { quietly purge inside apt-get -q -y purge penstock libpenstock0 libpenstock-dev penstock-doc; }
# What standard input names must be this script's own.
left_over() {
  grep -v '^/debs\(/\|$\)' >"$work/left-over" || true
  [ ! -s "$work/left-over" ] || fail "left after the purge: $(cat "$work/left-over")"
}
install
inside penstock --version
inside sh -c 'ls -l /sbin/mount.penstock /usr/bin/penstock /lib/systemd/system/penstock@.service /usr/share/man/man1/penstock*'

step "the three jobs"
cp "$source_root/tests/package/three-jobs.sh" "$root/debs/"
began=$SECONDS
inside bash /debs/three-jobs.sh || fail "the three jobs"
printf 'the three jobs took %d s\n' $((SECONDS - began))

step "purge"
purge
everything >"$work/after"
{ diff "$work/before" "$work/after" || true; } | sed -n 's/^[<>] //p' | left_over
running=$(find /proc -maxdepth 2 -name exe -lname "$root/*" 2>/dev/null || true)
[ -z "$running" ] || fail "still running: $running"

step "the library"
install
# Beside what libpenstock-dev depends on, a compiler is all that it takes.
quietly compiler inside apt-get -q -y install --no-install-recommends g++ pkg-config
# shellcheck disable=SC2016
inside sh -ec 'cd /tmp
  cp /usr/share/doc/libpenstock-dev/examples/read_chain.cpp .
  c++ read_chain.cpp $(pkg-config --cflags --libs penstock) -o read_chain
  penstock create -q -f qcow2 chain.qcow2 4M
  ./read_chain chain.qcow2 | cmp -n 4194304 - /dev/zero
  rm read_chain read_chain.cpp chain.qcow2' || fail "the example of libpenstock-dev"

if [ "${PENSTOCK_PACKAGE_TESTS:-}" != none ]; then
  step "system tests against the installed program"
  quietly tools inside apt-get -q -y install --no-install-recommends qemu-utils qemu-system-common e2fsprogs xfsprogs \
    btrfs-progs attr python3 python3-jsonschema procps util-linux mount fdisk fio strace binutils libfuse3-dev
  mkdir "$root/debs/source" "$root/debs/work"
  cp -r "$source_root"/{README.md,man,examples,share,tests} "$root/debs/source/"
  passed=0 failed=0 skipped=0
  while read -r -a words; do
    if [ -n "${PENSTOCK_PACKAGE_TESTS:-}" ] && [[ " $PENSTOCK_PACKAGE_TESTS " != *" ${words[0]} "* ]]; then continue; fi
    case "${words[0]}" in
      # They need a build folder; a mirror and a guest of their own, which systemd-guest.sh is; a probe beside them.
      library-is-used-through-pkg-config | debian-over-loop | guest-runs-while-streaming | waiting-for-the-disk-*) continue ;;
    esac
    status=0
    began=$SECONDS
    inside env PENSTOCK=/usr/bin/penstock PENSTOCK_TEST_DIRECTORY=/debs/work PENSTOCK_SEED="${PENSTOCK_SEED:-20261121}" \
      timeout -k 10 900 bash "/debs/source/tests/system/${words[0]}.sh" "${words[@]:1}" >"$work/test.log" 2>&1 || status=$?
    printf '%-60s exit status %d, %d s\n' "${words[*]}" $status $((SECONDS - began))
    case $status in
      0) passed=$((passed + 1)) ;;
      77) skipped=$((skipped + 1)) && tail -n 1 "$work/test.log" ;;
      *) failed=$((failed + 1)) && tail -n 25 "$work/test.log" ;;
    esac
  done < <(sed -nE "s/^  \['([^']*)', \[(.*)\], [0-9]+\],\$/\1 \2/p" "$source_root/tests/system/meson.build" | tr -d "',")
  printf 'against the installed program: %d passed, %d failed, %d skipped\n' $passed $failed $skipped
  [ $((passed + failed)) -gt 0 ] || fail "no such system tests: $PENSTOCK_PACKAGE_TESTS"
  [ $failed -eq 0 ] || fail "system tests against the installed program"
fi

step "purge again"
purge
# Compilers and tools came in between: only what bears the name counts.
everything | { grep -i penstock || true; } | left_over
printf 'nothing is left after the purge\n'
step "done, $SECONDS s in all"
