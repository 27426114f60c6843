#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A file of 64 KiB that claims to be a disk of 2 EiB (and tables to match) costs the memory of what it holds, not of
# what it claims: refused or shown in less than a few seconds and a few dozen MiB, program text and threads included.
# With a hole behind it (sparse=), its tables are there, and all zero: an L1 table of the 32 MiB that the format allows
# may then be held, twice while it is read.
. "$(dirname "$0")/lib.sh"
need_fuse
need qemu-img

# hostile FILE FIELD=VALUE...: a header with these fields in 64 KiB.
hostile() {
  python3 - "$@" <<'PYTHON'
import struct, sys

fields = dict(version=3, cluster_bits=16, size=1 << 61, l1_size=0, l1_offset=0x10000, table_offset=0x20000,
              table_clusters=1, snapshots=0, snapshots_offset=0, order=4, sparse=65536)
fields.update((key, int(value, 0)) for key, value in (word.split("=") for word in sys.argv[2:]))
header = struct.pack(">4sIQIIQIIQQIIQQQQII", b"QFI\xfb", fields["version"], 0, 0, fields["cluster_bits"],
                     fields["size"], 0, fields["l1_size"], fields["l1_offset"], fields["table_offset"],
                     fields["table_clusters"], fields["snapshots"], fields["snapshots_offset"], 0, 0, 0,
                     fields["order"], 104)
with open(sys.argv[1], "wb") as file:
    file.write(header.ljust(65536, b"\0"))
    file.truncate(fields["sparse"])
PYTHON
}
# cost COMMAND...: sets $kib to the most memory that the command held; it must end by itself.
cost() {
  kib=$(timeout 60 python3 -c 'import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
if done.returncode < 0: sys.exit(1)
# A check says all that it finds.
if sys.argv[2] != "check" and len(done.stderr.splitlines()) > 1: sys.exit(2)' "$@") || fail "dies, hangs or says more than a line: $*"
}

# In KiB.
allowance() { if [[ "$1" == *sparse* ]]; then echo $((96 * 1024)); else echo $((24 * 1024)); fi; }

cost "$penstock" --version
floor=$kib
say "the program alone: $floor KiB"
number=0
for claim in size=0x2000000000000000,l1_size=0x2000000 size=0x2000000000000000,l1_size=0x400000 \
  size=0x2000000000000000,cluster_bits=21,l1_size=0x400000,l1_offset=0x400000,table_offset=0x200000 \
  size=0x2000000000000000,cluster_bits=21,l1_size=0x400000,l1_offset=0x400000,table_offset=0x200000,sparse=0x10000000 \
  size=0x100000000,l1_size=8,sparse=0x100000 \
  size=0x7ffffffffffffe00,cluster_bits=21,l1_size=0x800000,l1_offset=0x400000,table_offset=0x200000 \
  size=0x100000000,l1_size=8,table_clusters=0x80 size=0x100000000,l1_size=8,table_clusters=0xffffffff \
  size=0x100000000,cluster_bits=9,l1_size=0x400000,table_clusters=0x4000 \
  size=0x100000000,l1_size=8,snapshots=65536,snapshots_offset=0x8000 \
  size=0x100000000,l1_size=8,snapshots=65536,snapshots_offset=0x10000 size=0x100000000,cluster_bits=63 \
  size=0x100000000,cluster_bits=0 size=0x100000000,order=31 size=0xffffffffffffffff,l1_size=0xffffffff; do
  number=$((number + 1))
  image=$work/claim$number.qcow2
  hostile "$image" ${claim//,/ }
  before=$(sum_of "$image")
  for command in info map check; do
    # Nothing but a walk through four million empty table entries; QEMU takes minutes for it.
    [[ "$command $claim" != map*0x10000000 ]] || continue
    cost "$penstock" $command "$image"
    [ "$kib" -lt $((floor + $(allowance "$claim"))) ] || fail "$command of $claim takes $kib KiB, $((kib - floor)) more than nothing"
  done
  # Mounted or refused, within a time limit; a mounted one answers reads, with data or EIO, and stays small.
  mountpoint=$work/mnt.claim$number
  mkdir "$mountpoint"
  on_exit "force_unmount '$mountpoint'"
  "$penstock" mount --foreground -r -f qcow2 "$image" "$mountpoint" 2>"$work/claim.log" >&2 &
  daemon=$!
  on_exit "end_child $daemon"
  settled() { is_mounted "$mountpoint" || is_gone "$daemon"; }
  wait_until 60 settled || fail "mount of $claim neither mounts nor ends"
  if is_mounted "$mountpoint"; then
    find_view
    timeout 60 dd if="$view" of=/dev/null bs=64k count=16 status=none 2>/dev/null || true
    kib=$(sed -n 's/^VmHWM:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$daemon/status")
    say "$claim: mounted, $kib KiB"
    [ "$kib" -lt $((floor + $(allowance "$claim"))) ] || fail "mounting $claim takes $kib KiB"
    unmount_image "$mountpoint"
  else
    ! wait "$daemon" || fail "mount of $claim ends with status 0"
    say "$claim: $(head -n 1 "$work/claim.log")"
    [ "$(wc -l <"$work/claim.log")" -eq 1 ] || fail "not one line: $(cat "$work/claim.log")"
  fi
  [ "$(sum_of "$image")" = "$before" ] || fail "$claim: the file changed"
done
