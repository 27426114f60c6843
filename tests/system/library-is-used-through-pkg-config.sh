#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Who has installed the library, and knows no more of it than pkg-config says, builds the example and reads a chain with
# it. PENSTOCK_BUILD is the build folder that is installed from.
. "$(dirname "$0")/lib.sh"
need meson pkg-config c++ qemu-img
build=${PENSTOCK_BUILD:?the build folder}
source_root=$(readlink -f "$(dirname "$0")/../..")

root=$work/root
meson install -C "$build" --no-rebuild --quiet --destdir "$root" >"$work/install.log" 2>&1 || fail "$(cat "$work/install.log")"
settings=$(find "$root" -name penstock.pc)
[ -n "$settings" ] || fail "no penstock.pc is installed"

say "everything else is in its place, too"
for file in bin/penstock share/man/man1/penstock.1 share/man/man7/penstock-control.7 share/penstock/status.schema.json \
  share/bash-completion/completions/penstock share/zsh/site-functions/_penstock \
  share/fish/vendor_completions.d/penstock.fish; do
  [ -n "$(find "$root" -path "*/$file")" ] || fail "$file is not installed"
done

say "every public header stands alone"
export PKG_CONFIG_PATH=${settings%/*} PKG_CONFIG_SYSROOT_DIR=$root
cflags=$(pkg-config --cflags penstock)
libs=$(pkg-config --libs penstock)
for header in $(cd "$(dirname "$(find "$root" -path '*/include/penstock/image.hpp')")" && ls); do
  # Twice: it must also bear that.
  printf '#include <penstock/%s>\n' "$header" "$header" >"$work/one.cpp"
  # shellcheck disable=SC2086
  c++ $cflags -Wall -Wextra -Werror -fsyntax-only "$work/one.cpp" 2>"$work/c++.log" ||
    fail "$header: $(head -n 20 "$work/c++.log")"
done

say "the example"
# shellcheck disable=SC2086
c++ -Wall -Wextra -Werror $cflags "$source_root/examples/read_chain.cpp" $libs -o "$work/read_chain" 2>"$work/c++.log" ||
  fail "$(head -n 20 "$work/c++.log")"
random_bytes 8 3000000 "$work/base.raw"
qemu-img create -q -f qcow2 -b base.raw -F raw "$work/top.qcow2" 4M
qemu-io -c 'write -P 5 1000k 200k' "$work/top.qcow2" >/dev/null
qemu-img convert -O raw "$work/top.qcow2" "$work/flat"
export LD_LIBRARY_PATH=${settings%/pkgconfig/penstock.pc}
"$work/read_chain" "$work/top.qcow2" >"$work/read" 2>"$work/layers"
same_bytes "$work/read" "$work/flat"
[ "$(wc -l <"$work/layers")" -eq 2 ] || fail "not two layers: $(cat "$work/layers")"
must_fail 'none.qcow2' "$work/read_chain" "$work/none.qcow2"
