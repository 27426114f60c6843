# SPDX-License-Identifier: Apache-2.0
# For the scripts in this folder: `. "$(dirname "$0")/lib.sh"` first. PENSTOCK is the program under test.
# What a helper makes (mounts, loop devices, processes) is undone in reverse order when the script ends, however it
# ends. Every wait polls for a condition and gives up loudly: how fast the machine is must not decide a test.
set -euo pipefail
shopt -s inherit_errexit
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"
# What a person has set for their own shell is not part of any test; nor is a core in the root directory of what a test
# has killed.
unset CDPATH POSIXLY_CORRECT BASH_ENV ENV NO_COLOR COLUMNS LINES NOTIFY_SOCKET WATCHDOG_USEC WATCHDOG_PID JOURNAL_STREAM
umask 022
ulimit -c 0
penstock=${PENSTOCK:?the program under test}
. "$(dirname "${BASH_SOURCE[0]}")/../support/foreign_mounts.sh"

undo=()
cleaned_up() {
  local status=$? index
  trap - EXIT
  set +e
  [ "$status" -eq 0 ] || [ "$status" -eq 77 ] || show_state
  for ((index = ${#undo[@]} - 1; index >= 0; index--)); do eval "${undo[index]}"; done
  exit "$status"
}
trap cleaned_up EXIT
trap 'exit 130' INT TERM HUP PIPE
# end_child PID: a child of this script, if it still runs. Asked first, since the number of one that has ended may by
# then be somebody else's.
end_child() {
  [ "$(ps -o ppid= -p "$1" 2>/dev/null | tr -d ' ')" = $$ ] || return 0
  kill -KILL "$1" 2>/dev/null || true
  wait "$1" 2>/dev/null || true
}
# helper_of DAEMON: the process beside it, which was started by the same command line. Prints nothing if there is none.
helper_of() {
  local process
  for process in /proc/[0-9]*; do
    [ "$(cat "$process/comm" 2>/dev/null)" = penstock-umount ] || continue
    cmp -s "$process/cmdline" "/proc/$1/cmdline" && echo "${process#/proc/}"
  done
  true
}
# The command must be harmless when the script has undone its part itself.
on_exit() { undo+=("$1"); }

say() { printf '%s\n' "-- $*"; }
fail() {
  printf 'FAIL: %s\n' "$*" >&2
  exit 1
}
skip() {
  printf 'SKIP: %s\n' "$*"
  exit 77
}
show_state() {
  [ -n "${work:-}" ] || return 0
  printf -- '-- state at the failure\n'
  grep -F "$work" /proc/mounts
  losetup -a | grep -F "$work"
  find "$work" -maxdepth 1 -name '*.log' -exec tail -n 40 {} +
  df -h "$work"
  df -i "$work"
  head -c 32M /dev/zero >"$work/room" || printf 'FAIL: %s: the room ran out\n' "$work"
} >&2

need() {
  local tool
  for tool in "$@"; do command -v "$tool" >/dev/null || skip "$tool is not installed"; done
}
need_fuse() {
  if [ ! -c /dev/fuse ] || [ ! -w /dev/fuse ]; then skip "no /dev/fuse"; fi
}
need_loop() {
  need losetup
  [ "$(id -u)" -eq 0 ] || skip "loop devices need root"
  losetup -f >/dev/null 2>&1 || skip "no loop devices"
}

# Not /tmp: it may be a tmpfs, without O_DIRECT and with little room. By its real name, as it is among the mounts.
work=
place=$(realpath "${PENSTOCK_TEST_DIRECTORY:-/var/tmp}")
[[ "$place" =~ ^[[:alnum:]/._+-]+$ ]] || fail "PENSTOCK_TEST_DIRECTORY: $place: the tests want a name of letters, digits and ._+-"
work=$(mktemp -d "$place/penstock-test-XXXXXX")
on_exit 'rm -rf --one-file-system "$work"'

# wait_until SECONDS COMMAND...: polls until the command succeeds.
wait_until() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.1
  done
}
not() { ! "$@"; }
# Not mountpoint(1): it takes a mount whose daemon died for none.
is_mounted() { awk -v path="$1" '$2 == path { found = 1 } END { exit !found }' /proc/self/mounts; }
# is_gone PROCESS: ended, with all of its threads; one that nobody has waited for yet (a container's first process may
# never do so) counts as ended.
is_gone() {
  local tasks=("/proc/$1/task"/*) state
  [ -e "${tasks[0]}" ] || return 0
  [ ${#tasks[@]} -eq 1 ] || return 1
  state=$(sed 's/.*) //; s/ .*//' "/proc/$1/stat" 2>/dev/null) || return 0
  [ "$state" = Z ] || [ "$state" = X ]
}
# The program under test carries a sanitizer.
sanitized() { grep -qaE '__(asan|tsan)_init' "$penstock"; }
now_ms() { date +%s%3N; }
# has FLAG... PATTERN: of what comes through a pipe, all of which is read: grep -q ends in the middle, which is an error of
# whoever writes on.
has() { [ "$(grep -c "$@")" -gt 0 ]; }

# must_fail TEXT COMMAND...: the command fails, and what it says contains TEXT; its words are left in $said.
must_fail() {
  local text=$1 status=0
  shift
  said=$("$@" 2>&1) || status=$?
  [ "$status" -ne 0 ] || fail "succeeded: $*"
  [[ "$said" == *"$text"* ]] || fail "'$*' does not say '$text' but: $said"
}

# show_slowly FILE THREADS MILLISECONDS: the bare server shows FILE as slow.raw beside it, a disk on which so many reads at
# a time take that long each. Its server is left in $slow_server; stopped, it never answers.
show_slowly() {
  : >"$work/slow.raw"
  "${PENSTOCK_BARE:?the bare server}" "$work/$1" "$work/slow.raw" "$2" "$3" &
  slow_server=$!
  on_exit "kill -CONT $slow_server 2>/dev/null; force_unmount '$work/slow.raw'; wait $slow_server 2>/dev/null"
  wait_until 60 is_mounted "$work/slow.raw" || fail "the slow disk does not come up"
}

mounts=0
# mount_image [FLAG...] IMAGE: sets $mountpoint and $view, the raw file in it.
mount_image() {
  mounts=$((mounts + 1))
  mountpoint=$work/mnt.$mounts
  mkdir "$mountpoint"
  on_exit "force_unmount '$mountpoint'"
  "$penstock" mount "$@" "$mountpoint" || fail "penstock mount $* $mountpoint"
  find_view
}
# The same with the daemon as a child of this script: sets $daemon, its process id, too.
mount_in_foreground() {
  mounts=$((mounts + 1))
  mountpoint=$work/mnt.$mounts
  mkdir "$mountpoint"
  on_exit "force_unmount '$mountpoint'"
  "$penstock" mount --foreground "$@" "$mountpoint" >"$mountpoint.log" 2>&1 &
  daemon=$!
  on_exit "end_child $daemon"
  wait_until 60 is_mounted "$mountpoint" || fail "penstock mount --foreground $*: $(cat "$mountpoint.log")"
  find_view
}
find_view() {
  local files=("$mountpoint"/*.raw)
  [ -f "${files[0]}" ] || fail "no raw file in $mountpoint: $(ls -la "$mountpoint")"
  view=${files[0]}
}
# unmount_image [MOUNTPOINT]: flushes, closes the image, and says so by its exit status.
unmount_image() {
  "$penstock" umount "${1:-$mountpoint}" || fail "penstock umount ${1:-$mountpoint}"
  ! is_mounted "${1:-$mountpoint}" || fail "${1:-$mountpoint} is still mounted after umount"
}
force_unmount() {
  local try
  for try in 1 2 3 4 5; do
    is_mounted "$1" || return 0
    umount "$1" 2>/dev/null && return 0
    sleep 0.2
  done
  umount -l "$1"
}

# attach_loop FILE [FLAG...]: sets $loop.
attach_loop() {
  local file=$1 try node
  shift
  for try in 1 2 3 4 5; do
    # Where /dev is not the kernel's own (a container's), a fresh loop device has no node yet.
    node=$(losetup -f)
    [ -b "$node" ] || mknod "$node" b 7 "${node#/dev/loop}" || true
    if loop=$(losetup -f --show "$@" "$file"); then
      on_exit "detach_loop '$loop' '$file' || true"
      return 0
    fi
    sleep 0.3
  done
  fail "losetup $* $file"
}
is_attached_to() { [ "$(losetup -n -O BACK-FILE "$1" 2>/dev/null)" = "$2" ]; }
# detach_loop DEVICE FILE: returns when the kernel has let go of the file.
detach_loop() {
  is_attached_to "$1" "$2" || return 0
  losetup -d "$1"
  wait_until 60 not is_attached_to "$1" "$2"
}
# mount_device DEVICE DIRECTORY [FLAG...]
mount_device() {
  local device=$1 directory=$2
  shift 2
  mkdir -p "$directory"
  on_exit "force_unmount '$directory'"
  mount "$@" "$device" "$directory"
}
# unmount_device DIRECTORY: returns when the kernel has let go of the device, too. Something that looks at every new mount
# (a desktop, an indexer) may hold it for a moment, and so may a copy of the mount in a namespace that somebody has just
# made.
unmount_device() {
  local device
  device=$(awk -v path="$1" '$2 == path { print $1 }' /proc/self/mounts)
  wait_until 60 umount "$1" || fail "umount $1"
  [ ! -b "$device" ] || wait_until 60 nobody_has "$device" || fail "$device is in use after umount $1"
}
nobody_has() { python3 -c 'import os, sys; os.open(sys.argv[1], os.O_RDONLY | os.O_EXCL)' "$1" 2>/dev/null; }

# No corruption and no leaks.
check_clean() {
  local status=0
  qemu-img check -q "$1" >"$work/check.log" 2>&1 || status=$?
  [ "$status" -eq 0 ] || fail "qemu-img check $1 exits $status: $(head -c 2000 "$work/check.log")"
}
# Leaks at most, as after a crash.
check_no_corruption() {
  local status=0
  qemu-img check "$1" >"$work/check.log" 2>&1 || status=$?
  [ "$status" -eq 0 ] || [ "$status" -eq 3 ] ||
    fail "qemu-img check $1 exits $status: $(head -c 2000 "$work/check.log")"
}
# compare_with_raw IMAGE RAW: the same size and bytes, as QEMU reads them.
compare_with_raw() {
  qemu-img compare -F raw "$1" "$2" >"$work/compare.log" 2>&1 || fail "$1 and $2 differ: $(cat "$work/compare.log")"
  local info
  info=$(qemu-img info --output=json "$1")
  [[ "$info" == *"\"virtual-size\": $(stat -c %s "$2"),"* ]] || fail "$1 is not as long as $2: $info"
}
# settle FILE...: which nobody uses now. XFS sets room aside behind the end of a file that grows, and takes it back minutes
# later, or when the file is cut where it ends.
settle() {
  local file
  for file in "$@"; do truncate -s "$(stat -c %s "$file")" "$file"; done
  sync -f "$1"
}
# host_bytes FILE...: the room that the files take on the host, together.
host_bytes() { stat -c '%b' "$@" | awk '{ sum += $1 * 512 } END { print sum }'; }
# sparse_data FILE: 16 MiB of data in pieces of 64 KiB among 112 MiB of zeroes, which are written out: only looking at
# them tells.
sparse_data() {
  python3 - "$1" <<'PYTHON'
import random, sys
source = random.Random(5)
with open(sys.argv[1], "wb") as out:
    out.write(bytes(128 << 20))
    for piece in source.sample(range(128 << 4), 256):
        out.seek(piece << 16)
        out.write(source.randbytes(1 << 16))
PYTHON
}
same_bytes() { cmp "$1" "$2" || fail "$1 and $2 differ"; }
sum_of() { sha256sum "$1" | cut -d ' ' -f 1; }

# random_bytes SEED COUNT FILE: bytes that do not compress, the same for the same seed.
random_bytes() {
  python3 -c 'import random, sys
left = int(sys.argv[2])
source = random.Random(sys.argv[1])
with open(sys.argv[3], "wb") as out:
  while left:
    piece = min(left, 1 << 20)
    out.write(source.randbytes(piece))
    left -= piece' "$@"
}

# debian_tree: sets $tree to a Debian root file system made from packages; kept for the other scripts of one run in
# PENSTOCK_TEST_CACHE, where whoever comes while it is made waits for it.
debian_tree() {
  local cache=${PENSTOCK_TEST_CACHE:-$work}
  tree=$cache/debian-tree
  (flock 9 && make_debian_tree) 9>"$tree.lock"
}
# without_foreign_mounts COMMAND...: for one that makes a namespace: what tests beside this one have mounted must not stay
# mounted in there.
without_foreign_mounts() {
  local forget
  forget="$(declare -f forget_foreign_mounts); forget_foreign_mounts; exec \"\$@\""
  if unshare --mount --propagation private true 2>/dev/null; then
    set -- unshare --mount --propagation private bash -c "$forget" bash "$@"
  fi
  "$@"
}
make_debian_tree() {
  [ ! -e "$tree.complete" ] || return 0
  local try
  for try in 1 2 3; do
    rm -rf --one-file-system "$tree"
    if without_foreign_mounts mmdebstrap --quiet --variant=essential --mode=root --aptopt='Acquire::Retries "5"' \
      --dpkgopt=path-exclude=/usr/share/doc/* bookworm "$tree" >"$cache/mmdebstrap.log" 2>&1; then
      touch "$tree.complete"
      return 0
    fi
    say "mmdebstrap failed ($try): $(tail -n 3 "$cache/mmdebstrap.log")"
  done
  # Without a mirror: the files of this machine's own essential packages.
  say "no mirror; taking the essential packages of this machine"
  rm -rf --one-file-system "$tree"
  mkdir "$tree"
  dpkg-query -W -f '${Essential} ${Package}\n' | sed -n 's/^yes //p' | xargs dpkg-query -L | sort -u |
    tar -C / --create --no-recursion --ignore-failed-read --files-from=- | tar -C "$tree" --extract
  touch "$tree.complete"
}
