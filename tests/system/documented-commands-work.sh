#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every command that README.md and the manual pages show does what it is shown for, typed as it stands there.
. "$(dirname "$0")/lib.sh"
need_fuse
need_loop
need python3 qemu-img qemu-io mkfs.ext4 unshare
unshare -m true 2>/dev/null || skip "no mount namespaces"
# The sessions end what they have mounted; a daemon of somebody else goes on.
qemu-img create -q -f qcow2 "$work/foreign.qcow2" 1M
mount_image "$work/foreign.qcow2"
python3 "$(dirname "$0")/documented_commands.py" "$(readlink -f "$penstock")" "$(readlink -f "$(dirname "$0")/../..")" "$work"
"$penstock" status "$mountpoint" >/dev/null || fail "a foreign daemon was ended"
unmount_image
