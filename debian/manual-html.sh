#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# manual-html.sh PAGES OUTPUT: the manual pages in the folder PAGES as HTML, with links among them and a list of them.
set -euo pipefail
export LC_ALL=C.UTF-8
pages=$1 output=$2
mkdir -p "$output"
{
  printf '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/><title>penstock: the manual</title></head>\n'
  printf '<body style="max-width: 60em; margin: 2em auto; font-family: sans-serif">\n<h1>penstock: the manual</h1>\n<dl>\n'
} >"$output/index.html"
# The program first, then its commands, then what is no command.
for page in "$pages"/penstock.1 "$pages"/penstock-*.1 "$pages"/*.[578]; do
  name=${page##*/}
  section=${name##*.}
  name=${name%.*}
  mandoc -T html -O man=%N.%S.html "$page" |
    sed -E -e 's,<b>((mount\.)?penstock[a-z-]*)</b>\(([1578])\),<a href="\1.\3.html"><b>\1</b>(\3)</a>,g' \
      -e 's,</style>,  body { max-width: 60em; margin: 2em auto; font-family: sans-serif; }\n    pre { background: #f2f2f2; padding: 0.5em; overflow-x: auto; }\n  &,' \
      -e 's,^<body>$,&\n<p><a href="index.html">The manual</a></p>,' >"$output/$name.$section.html"
  # What it is, as the page says it.
  about=$(mandoc -T utf8 -O width=200 "$page" | sed -E 's/.\x08//g' | sed -n '/^NAME/,/^[A-MO-Z]/ { s/^ .* - //p; }' | head -n 1)
  [ -n "$about" ] || { echo "$page does not say what it is" >&2; exit 1; }
  printf '<dt><a href="%s.%s.html">%s(%s)</a></dt><dd>%s</dd>\n' "$name" "$section" "$name" "$section" "$about" \
    >>"$output/index.html"
done
printf '</dl>\n</body></html>\n' >>"$output/index.html"
# A reference to a page that is not there would be a dead link.
status=0
for target in $(grep -oh 'href="[a-z][^"#]*\.html' "$output"/*.html | sed 's/href="//' | sort -u); do
  [ -e "$output/$target" ] || { echo "no page $target" >&2; status=1; }
done
exit $status
