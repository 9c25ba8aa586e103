#!/bin/sh
# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
#
# Make a machine of the router's container: install the packages in /debs. No network is asked, nothing is started.
set -eu

export DEBIAN_FRONTEND=noninteractive SYSTEMD_OFFLINE=1 INITRD=No LC_ALL=C.UTF-8
cp -a /machine/root/etc/dpkg /etc/
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 0755 /usr/sbin/policy-rc.d
apt-get install --yes --quiet --no-install-recommends /debs/*.deb
rm -f /usr/sbin/policy-rc.d
cp -a /machine/root/. /
chown -R root:root /etc/dpkg /etc/initramfs-tools /etc/fstab /etc/systemd/system /boot/grub /usr/local/sbin
chmod 0755 /etc/initramfs-tools/hooks/cloudstack
for unit in /machine/root/etc/systemd/system/*; do
  systemctl enable "${unit##*/}"
done
systemctl mask systemd-networkd-wait-online.service
