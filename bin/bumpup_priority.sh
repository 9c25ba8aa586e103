#!/bin/sh
# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
#
# Make this router the preferred primary before the other one of the pair is replaced: bumpup_priority.sh [null]
#
# keepalived reads the mark itself and takes it into account at the next election; there is none now. The management
# server also sends it to routers that are not one of a pair (restart with cleanup of an isolated network); there is
# nobody to be preferred over, so that is a success.
set -eu

# Where the router's files are follows from where this command is; `/` on a router.
case $0 in
*/opt/cloud/bin/*) root=${0%/opt/cloud/bin/*} ;;
*) root= ;;
esac
PATH=$root/usr/sbin:$root/usr/bin:/usr/sbin:/usr/bin:/sbin:/bin
prepared=$root/var/lib/cloudstack/redundancy

# The databag is written with one pair per line (drops.md), so a line is enough to know.
if grep -qs '"redundant_router": "true"' "$root/etc/cloudstack/cmdline.json"; then
  mkdir -p "$prepared"
  echo 1 >"$prepared/bump"
fi
