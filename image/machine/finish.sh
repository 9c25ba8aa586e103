#!/bin/sh
# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
#
# Leave nothing in the tree that is of this build alone: names, keys, logs, caches, the order and time of what was done.
# SOURCE_DATE_EPOCH is the time that everything younger gets.
set -eu

export LC_ALL=C.UTF-8 PYTHONHASHSEED=0

clamp() {
  find / -xdev \( -path /machine -o -path /stage \) -prune -o -newermt "@$SOURCE_DATE_EPOCH" \
    -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
}

# Of this build, or of one machine.
rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/ldconfig/* /var/cache/debconf/*-old /var/lib/dpkg/*-old \
  /var/lib/systemd/random-seed /var/lib/dbus/machine-id /etc/ssh/ssh_host_* /etc/.pwd.lock /etc/*- /root/.ansible \
  /root/.cache /tmp/* /var/tmp/* /boot/initrd.img-* /etc/apt/sources.list /etc/apt/sources.list.d/*
find /var/log -type f -delete
: >/etc/machine-id

# shadow(5): the third field is the day of the last change of a password, of which there is none.
day=$((SOURCE_DATE_EPOCH / 86400))
awk -F: -v OFS=: -v day="$day" '{ $3 = day; print }' /etc/shadow >/etc/shadow.new
cat /etc/shadow.new >/etc/shadow
rm /etc/shadow.new

# Byte code names the time of its source, so it is made after that has become what it will be.
find / -xdev -name __pycache__ -prune -exec rm -rf {} +
clamp
/opt/cloudstack/venv/bin/python -m compileall -q -j 1 --invalidation-mode timestamp \
  /usr/lib/python3 /usr/lib/python3.*/ /opt/cloudstack /opt/cloud /usr/share/ansible

update-initramfs -c -k all
# /vmlinuz and /initrd.img, which the boot loader reads: when the kernel was installed there was no second one yet.
for kernel in /boot/vmlinuz-*; do
  linux-update-symlinks install "${kernel#/boot/vmlinuz-}" "$kernel"
done
rm -f /vmlinuz.old /initrd.img.old
test -e /vmlinuz && test -e /initrd.img
find /var/log -type f -delete
clamp

# What a live patch may have overwritten is put back from here (/opt/cloud/bin/setup/patch.sh).
umask 077
mkdir -p /usr/share/cloudstack
tar --create --sort=name --mtime="@$SOURCE_DATE_EPOCH" --directory=/ etc | gzip -n >/usr/share/cloudstack/etc.tar.gz
clamp
