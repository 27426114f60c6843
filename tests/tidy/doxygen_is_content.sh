#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# doxygen_is_content.sh SOURCE-ROOT [OUTPUT-FOLDER]: the public headers make documentation without a warning.
set -euo pipefail
command -v doxygen >/dev/null || exit 77
output=${2:-$(mktemp -d)}
[ $# -gt 1 ] || trap 'rm -rf "$output"' EXIT
cd "$1"
{
  cat Doxyfile
  echo "OUTPUT_DIRECTORY = \"$output\""
} | doxygen -
[ -s "$output/html/index.html" ] || {
  echo "doxygen made no index.html"
  exit 1
}
