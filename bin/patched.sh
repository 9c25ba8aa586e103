#!/bin/sh
# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
#
# List the files named, and fail unless all are there: patched.sh FILE...
#
# The management server polls this with a glob pattern, which the shell of the connection has expanded; a pattern that
# stays what it is names a file that is not there.
set -eu

PATH=/usr/sbin:/usr/bin:/sbin:/bin

if [ $# -eq 0 ]; then
  echo 'usage: patched.sh FILE...' >&2
  exit 1
fi
for file in "$@"; do
  if ! [ -e "$file" ]; then
    printf '%s: not there\n' "$file" >&2
    exit 1
  fi
done
exec ls -ldtr -- "$@"
