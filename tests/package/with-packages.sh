#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# with-packages.sh test-packages|systemd-guest: that script with the packages in the folder PENSTOCK_PACKAGES, which
# tests/run.sh --all has built.
set -euo pipefail
if [ -z "${PENSTOCK_PACKAGES:-}" ]; then
  echo "SKIP: PENSTOCK_PACKAGES names no folder with packages"
  exit 77
fi
here=$(dirname "$0")
case $1 in
  test-packages) exec "$here/test-packages.sh" "$PENSTOCK_PACKAGES" ;;
  systemd-guest) exec "$here/systemd-guest.sh" "$PENSTOCK_PACKAGES"/{penstock,libpenstock0}_*.deb ;;
esac
echo "usage: ${0##*/} test-packages|systemd-guest" >&2
exit 2
