#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# installed-files.sh MESON BUILD PREFIX: an installation has its files where the file system hierarchy wants them and
# nowhere else; the installed program runs, and the unit and the links name it.
set -euo pipefail
export LC_ALL=C
umask 022
meson=$1 build=$2 prefix=$3
work=$(mktemp -d "${PENSTOCK_TEST_DIRECTORY:-/var/tmp}/penstock-install-XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
fail() {
  printf 'FAIL: %s\n' "$*" >&2
  exit 1
}

# What another user may have built must not be built again by whoever runs this.
DESTDIR=$work "$meson" install -C "$build" --no-rebuild --quiet >"$work.log" 2>&1 || fail "meson install: $(cat "$work.log")"
rm -f "$work.log"
cd "$work"
(find . -type f -o -type l) | sed 's,^\.,,' | sort >list
printf '%s\n' /list >known

expect() {
  local pattern=$1
  grep -E "^$pattern\$" list >>known || fail "not installed: $pattern; there is: $(cat list)"
}
p=$prefix
expect "$p/bin/penstock"
expect "$p/include/penstock/[a-z_]+\.hpp"
expect "$p/lib(/[a-z0-9_-]+)?/libpenstock\.a"
expect "$p/lib(/[a-z0-9_-]+)?/libpenstock\.so(\.[0-9.]+)?"
expect "$p/lib(/[a-z0-9_-]+)?/pkgconfig/penstock\.pc"
expect "$p/lib/systemd/system/penstock@\.service"
expect "$p/share/doc/penstock/.*"
expect "$p/share/penstock/.*"
expect "($p)?/sbin/u?mount(\.fuse)?\.penstock"
for page in penstock.1 penstock-attach.1 penstock-formats.5 penstock-guests.7 mount.penstock.8; do
  [ ! -d "$work$p/share/man" ] || expect "$p/share/man/man${page##*.}/${page/./\\.}(\.gz)?"
done
# By other parts of the build, where they are on.
grep -E "^$p/share/(man/man[1578]/(penstock|mount\.penstock)[-a-z0-9.]*|(bash-completion|zsh|fish)/.*penstock.*)$" list >>known || true
[ -z "$(sort -u known | comm -13 - list)" ] || fail "installed elsewhere: $(sort -u known | comm -13 - list)"

"$work$p/bin/penstock" --version >/dev/null || fail "the installed program does not run"
[ "$(grep -c '/sbin/u\?mount.*penstock$' list)" -eq 4 ] || fail "helpers of mount(8): $(grep /sbin list)"
for link in $(find "$work" -type l -name "*mount*.penstock"); do
  [ "$(readlink "$link")" = "$p/bin/penstock" ] || fail "$link leads to $(readlink "$link")"
done
for line in "ExecStart=$p/bin/penstock mount --foreground" "ExecStop=$p/bin/penstock umount"; do
  grep -q "^$line " "$work$p/lib/systemd/system/penstock@.service" || fail "the unit lacks: $line"
done
! grep -n '@' "$work$p/lib/systemd/system/penstock@.service" | grep -v 'modprobe@\|penstock@\|SystemCallFilter' ||
  fail "the unit has names that were not filled in"
pc=$(find "$work$p" -name penstock.pc)
grep -qx "prefix=$p" "$pc" || fail "penstock.pc: $(cat "$pc")"
