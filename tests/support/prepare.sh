#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes what several scripts need and PENSTOCK_TEST_CACHE keeps, a Debian tree and a guest's kernel, which come from a
# mirror: while the program is being built, nobody waits for that. No test: a script that finds nothing makes it itself.
export PENSTOCK=none
: "${PENSTOCK_TEST_CACHE:?where it is kept}"
. "$(dirname "$0")/../system/lib.sh"
. "$(dirname "$0")/../system/guest.sh"
[ "$(id -u)" -eq 0 ] || exit 0
need mmdebstrap apt-get dpkg-deb gzip
debian_tree
guest_kernel
