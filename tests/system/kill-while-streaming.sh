#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The daemon is killed (SIGKILL) again and again while it streams, the first time under a load of writes and syncs: each
# mount goes on by itself, nothing that was synced is lost, what was copied and flushed is not copied again, and in the
# end the image stands alone, without leaks. KILLS=N tries longer, OVER=loop through a loop device.
. "$(dirname "$0")/lib.sh"
need_fuse
need qemu-img
load=$(dirname "$0")/kill_load.py
kills=${KILLS:-3}
over=${OVER:-mount}
[ "$over" = mount ] || need_loop
size=$((48 << 20))
speed=$((4 << 20))
interval=2 # seconds after which copied data is durable

mkdir "$work/below"
python3 "$load" base $size "$work/below/base.raw"
copied_so_far() { "$penstock" status --json "$mountpoint" | python3 -c 'import json, sys; print((json.load(sys.stdin)["stream"] or {}).get("copied", 0))'; }
# A moment, any moment.
doze() { sleep "$(printf '0.%03d' $((RANDOM % 600 + 20)))"; }

# one_image NAME FORMAT CREATE-OPTIONS
one_image() {
  local image=$work/$1 format=$2 options=$3 seed=$RANDOM writer kill total=0 at
  say "$format $options, seed $seed, $kills kills"
  "$penstock" create -q -f "$format" -b below/base.raw -F raw -o "$options" "$image"
  for ((kill = 0; kill < kills; kill++)); do
    if [ $kill -eq 0 ]; then
      mount_in_foreground -f "$format" --stream --stream-speed $speed "$image"
      target=$view
      if [ "$over" = loop ]; then
        attach_loop "$view" --direct-io=on
        target=$loop
      fi
      python3 "$load" load "$seed" "$target" "$work/log" "$work/started" &
      writer=$!
      on_exit "end_child $writer"
      wait_until 120 test -e "$work/started" || fail "the load does not start"
    else
      # No --stream: the image remembers.
      mount_in_foreground -f "$format" --stream-speed $speed "$image"
    fi
    doze
    at=$(copied_so_far)
    [ $kill -gt 0 ] || touch "$work/started.killed"
    kill -KILL "$daemon"
    wait "$daemon" 2>/dev/null || true
    total=$((total + at))
    if [ $kill -eq 0 ]; then
      wait "$writer" || fail "the load failed other than by the end of the mount"
      rm "$work/started" "$work/started.killed"
      [ "$over" = mount ] || detach_loop "$loop" "$view"
    fi
    force_unmount "$mountpoint"
    # A killed QED image waits for its check, which the next writable open runs.
    # So does one with lazy refcounts.
    if [[ "$format" = qcow2 && "$options" != *lazy* ]]; then check_no_corruption "$image"; fi
  done
  mount_image -f "$format" "$image"
  python3 "$load" verify "$work/log" "$view" || fail "after the kills"
  # A life that was long enough has ended the job already.
  expected='flushed and closed'
  if "$penstock" status --json "$mountpoint" | python3 -c 'import json, sys; sys.exit(json.load(sys.stdin)["stream"] is None)'; then
    "$penstock" stream wait "$mountpoint" >/dev/null || fail "the job did not end"
    expected='needs no backing file'
  fi
  total=$((total + $(copied_so_far)))
  python3 "$load" verify "$work/log" "$view" || fail "after the job"
  "$penstock" umount "$mountpoint" >"$work/said"
  grep -q "$expected" "$work/said" || fail "umount says: $(cat "$work/said")"
  [ $total -le $((size + kills * speed * interval * 5 / 4)) ] || fail "copied $total bytes in all"
  say "   copied $((total >> 10)) KiB in all for $((size >> 10)) KiB"
  mv "$work/below" "$work/away"
  "$penstock" check "$image" >/dev/null || fail "penstock check"
  case $format in
    add-cow) python3 "$load" verify "$work/log" "$work/data.raw" || fail "the raw file alone" ;;
    *)
      check_clean "$image"
      qemu-img convert -f "$format" -O raw "$image" "$work/model.raw"
      python3 "$load" verify "$work/log" "$work/model.raw" || fail "through QEMU"
      ;;
  esac
  mv "$work/away" "$work/below"
  rm -f "$image" "$work/data.raw" "$work/model.raw" "$work/log"
}

RANDOM=${PENSTOCK_SEED:-$RANDOM}
one_image a.qed qed cluster_size=64k
one_image b.qcow2 qcow2 cluster_size=64k
one_image c.qcow2 qcow2 cluster_size=16k,compat=0.10
one_image d.qcow2 qcow2 cluster_size=64k,lazy_refcounts=on
one_image e.add-cow add-cow cluster_size=64k,image_file=data.raw
