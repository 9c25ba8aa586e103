#!/bin/sh
# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
#
# Delete a file that was made for the management server to fetch: cleanup.sh FILE
#
# The only sender is DeleteFileInVrCommand, for the archive of diagnostics. So: one regular file, directly in a directory
# where such files are, an archive if that is /root; no link, no step up. A file that is gone already is as wanted.
set -eu

# Where the router's files are follows from where this command is; `/` on a router.
case $0 in
*/opt/cloud/bin/*) root=${0%/opt/cloud/bin/*} ;;
*) root= ;;
esac
PATH=$root/usr/sbin:$root/usr/bin:/usr/sbin:/usr/bin:/sbin:/bin

refuse() {
  printf 'cleanup.sh: %s: %s\n' "$1" "$2" >&2
  exit 1
}

[ $# -eq 1 ] || refuse "$*" 'expected one path'
folder=${1%/*}
name=${1##*/}
case $name in
'' | .* | *[!A-Za-z0-9._-]*) refuse "$1" 'expected a plain file name' ;;
esac
case $folder in
/tmp | /var/tmp | /var/cache/cloud/diagnostics) ;;
/root) case $name in *.zip) ;; *) refuse "$1" 'expected a .zip file' ;; esac ;;
*) refuse "$1" 'not in a directory for temporary files' ;;
esac

file=$root$1
if [ -L "$file" ] || { [ -e "$file" ] && ! [ -f "$file" ]; }; then
  refuse "$1" 'expected a regular file'
fi
rm -f -- "$file"
printf 'Deleting diagnostics zip file %s\n' "$1"
