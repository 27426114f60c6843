#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every command that README.md and the manual pages show does what it is shown for, typed as it stands there.
. "$(dirname "$0")/lib.sh"
need_fuse
need_loop
need python3 qemu-img qemu-io mkfs.ext4 unshare
unshare -m true 2>/dev/null || skip "no mount namespaces"
python3 "$(dirname "$0")/documented_commands.py" "$(readlink -f "$penstock")" "$(readlink -f "$(dirname "$0")/../..")" "$work"
