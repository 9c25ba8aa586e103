#!/bin/sh
# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
#
# Print `<release>&<checksum of the scripts>`: get_template_version.sh
#
# The first command of every router start. It waits until the boot is done, because whatever the management server sends
# next relies on it; a router that is not up after 240 s fails its start here (contract.md).
set -eu
umask 077

# Where the router's files are follows from where this command is; `/` on a router.
case $0 in
*/opt/cloud/bin/*) root=${0%/opt/cloud/bin/*} ;;
*) root= ;;
esac
PATH=$root/usr/sbin:$root/usr/bin:/usr/sbin:/usr/bin:/sbin:/bin
inbox=$root/var/cache/cloud

tries=1200
until [ -e "$inbox/boot_up_done" ]; do
  tries=$((tries - 1))
  if [ "$tries" -le 0 ]; then
    echo 'the boot is not done after 240 s, see journalctl -u cloudstack-boot' >&2
    exit 1
  fi
  sleep 0.2
done

first_line() {
  line=
  # A last line without its newline makes read fail and is fine; so is no signature: no archive was left here.
  if [ -e "$1" ]; then
    IFS= read -r line <"$1" || :
  fi
  printf '%s' "$line"
}

if ! [ -s "$root/etc/cloudstack-release" ]; then
  echo '/etc/cloudstack-release: missing or empty' >&2
  exit 1
fi
release=$(first_line "$root/etc/cloudstack-release")
signature=$(first_line "$inbox/cloud-scripts-signature")
printf '%s&%s\n' "$release" "$signature"
