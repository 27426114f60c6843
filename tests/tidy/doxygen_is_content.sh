#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# doxygen_is_content.sh SOURCE-ROOT [OUTPUT-FOLDER]: the public headers make documentation without a warning, and
# each of their types is documented.
set -euo pipefail
command -v doxygen >/dev/null || exit 77
output=${2:-$(mktemp -d)}
[ $# -gt 1 ] || trap 'rm -rf "$output"' EXIT
cd "$1"
{
  cat Doxyfile
  echo "OUTPUT_DIRECTORY = \"$output\""
} | doxygen -
# Every type says what it is. Members may speak for themselves.
{
  cat Doxyfile
  printf '%s\n' "OUTPUT_DIRECTORY = \"$output\"" 'EXTRACT_ALL = NO' 'WARN_IF_UNDOCUMENTED = YES' 'WARN_AS_ERROR = NO'
} | doxygen - 2>&1 | grep -E '(Compound .*|\((typedef|enumeration)\).*) is not documented' && exit 1
[ -s "$output/html/index.html" ] || {
  echo "doxygen made no index.html"
  exit 1
}
