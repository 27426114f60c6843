#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs the Debian 12 packages that penstock is built from ("build"), built, run and tested with ("test"), or made into
# packages with, which are tested, besides ("packages").
# Does nothing, quickly, where all of them are there.
set -euo pipefail

case "${1:-}" in
  build | test | packages) ;;
  *)
    echo "usage: ${0##*/} build|test|packages" >&2
    exit 2
    ;;
esac

packages=(g++ meson ninja-build pkg-config libfuse3-dev fuse3 libcli11-dev nlohmann-json3-dev zlib1g-dev libdeflate-dev
  libzstd-dev scdoc util-linux mount e2fsprogs qemu-utils)
if [ "$1" != build ]; then
  # qemu-system-common has qemu-storage-daemon; procps and strace look at the daemon from outside.
  packages+=(libgtest-dev libbenchmark-dev systemtap-sdt-dev clang-19 libclang-rt-19-dev clang-format-19 doxygen
    qemu-system-common fio xfsprogs btrfs-progs mmdebstrap attr python3 python3-jsonschema procps strace
    zsh fish git ca-certificates fdisk qemu-system-x86 systemd)
fi
if [ "$1" = packages ]; then packages+=(dpkg-dev debhelper fakeroot lintian mandoc); fi

missing=()
for package in "${packages[@]}"; do
  state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$state" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
  echo "${0##*/}: this is no Debian; install what these packages hold: ${missing[*]}" >&2
  exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
  echo "${0##*/}: run as root to install: ${missing[*]}" >&2
  exit 1
fi

export DEBIAN_FRONTEND=noninteractive
options=(-q -y -o Acquire::Retries=5 -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0)
# A mirror that hiccups must not end an unattended run: begin again from the package lists.
for pause in 5 15 45 0; do
  if apt-get "${options[@]}" update && apt-get "${options[@]}" install --no-install-recommends "${missing[@]}"; then
    exit 0
  fi
  echo "${0##*/}: the installation failed" >&2
  [ "$pause" -eq 0 ] || sleep "$pause"
done
exit 1
