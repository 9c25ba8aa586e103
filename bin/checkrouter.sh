#!/bin/sh
# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
#
# Print the redundancy state of this router: checkrouter.sh
#
# Only PRIMARY, BACKUP and FAULT are states, and a router that is not one of a pair is PRIMARY. One of a pair that has no
# guest network to be elected on has none, for which the management server wants any other text that is not blank
# (contract.md). What the watchdog found wrong follows on lines of its own; the server reads the beginning only.
set -u

# Where the router's files are follows from where this command is; `/` on a router.
case $0 in
*/opt/cloud/bin/*) root=${0%/opt/cloud/bin/*} ;;
*) root= ;;
esac
PATH=$root/usr/sbin:$root/usr/bin:/usr/sbin:/usr/bin:/sbin:/bin
run=$root/run/cloudstack/redundancy

# A single router is what serves its network: any other word is a false alarm for whoever asks.
state=PRIMARY
# The databag is written with one pair per line (drops.md), so a line is enough to know.
if grep -qs '"redundant_router": "true"' "$root/etc/cloudstack/cmdline.json"; then
  if ! grep -qs '^vrrp_instance' "$root/etc/keepalived/keepalived.conf"; then
    state=UNKNOWN
  elif systemctl --quiet is-active keepalived.service; then
    read -r state <"$run/state" || state=UNKNOWN
  else
    state=FAULT
  fi
fi
case $state in
PRIMARY | BACKUP | FAULT) ;;
*) state=UNKNOWN ;;
esac
echo "Status: $state"
if [ -s "$run/problems" ]; then
  while read -r problem; do
    [ -z "$problem" ] || echo "Problem: $problem"
  done <"$run/problems"
fi
