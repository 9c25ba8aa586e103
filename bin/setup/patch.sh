#!/bin/sh
# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
#
# Refuse a live patch, and put right what its archive has written. Sourced by the management server's patch-sysvms.sh,
# after it has unpacked cloud-scripts.tgz over `/` and written the archive's digest; it calls patch_system_vm.
#
# The archive is for the router that this one replaces. On a disk of ours (docs/image.md) the commands are safe behind
# opt-cloud.mount. Files in /etc get the disk's content back, those that it does not have go, and a converge makes of
# them what it wants. The digest is again that of the archive before: the management server shall not believe that it
# has patched anything. One line is printed, without a colon: a colon is how the server finds a digest.

patch_system_vm() {
  inbox=/var/cache/cloud
  state=/var/lib/cloudstack
  kept=/usr/share/cloudstack/etc.tar.gz

  if [ -s "$kept" ]; then
    put_right "$inbox/cloud-scripts.tgz" "$kept"
  fi
  former=$state/scripts-signed.before
  # The archive may have come so late that vr-boot has not signed it.
  if [ -n "$(find "$inbox/cloud-scripts.tgz" -newer "$state/scripts-signed" 2>/dev/null)" ]; then
    former=$state/scripts-signed
  fi
  rm -f "$inbox/cloud-scripts.tgz"
  if [ -s "$former" ]; then
    cp "$former" "$inbox/cloud-scripts-signature"
    cp "$inbox/cloud-scripts-signature" "$state/scripts-signed"
  else
    rm -f "$inbox/cloud-scripts-signature" "$state/scripts-signed"
  fi
  systemctl daemon-reload
  if ! /opt/cloud/bin/configure.py monitor_service.json >/dev/null 2>&1; then
    complain 'the converge after a refused patch has failed'
  fi
  logger --tag cloudstack-patch 'a live patch was refused'
  echo 'refused - this router is not made of these scripts, restart its network with cleanup to replace it'
  return 1
}

complain() {
  logger --priority daemon.err --tag cloudstack-patch "$1"
}

# Give what an archive wrote into /etc its content of the disk: put_right ARCHIVE KEPT
#
# Without the whole list of what the disk has nothing is removed: it would be all.
put_right() {
  wrote=/run/cloudstack/patch-wrote
  had=/run/cloudstack/patch-had
  known=/run/cloudstack/patch-known

  # A list without a line is none of grep's failures here.
  tar -tzf "$1" | sed -e 's|^\./||' -e '/\/$/d' | { grep '^etc/' || :; } >"$wrote"
  if tar -tzf "$2" >"$had" && { grep -Fx -f "$wrote" "$had" >"$known" || [ "$?" -eq 1 ]; }; then
    if ! tar -xzf "$2" -C / --files-from="$known"; then
      complain "not all that a refused patch wrote into /etc has its content of $2 again"
    fi
    { grep -Fxv -f "$known" "$wrote" || :; } | while IFS= read -r path; do
      rm -f "/$path"
    done
  else
    complain "$2 cannot be read, and what a refused patch wrote into /etc stays"
  fi
  rm -f "$wrote" "$had" "$known"
}
