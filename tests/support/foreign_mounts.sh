# SPDX-License-Identifier: Apache-2.0
# For a script in a mount namespace of its own.

# The copies of foreign mounts lead to daemons and loop devices that are at work for others, and would keep those from
# ending.
forget_foreign_mounts() {
  local place
  awk '$3 ~ /^fuse[.]/ || $2 ~ "/penstock-test-" { print $2 }' /proc/self/mounts | tac | while read -r place; do
    umount -lc "$(printf '%b' "$place")" 2>/dev/null || true
  done
}
