#!/bin/busybox sh
# shellcheck shell=dash
# Begins in the initramfs: this machine's own file system, that nothing is written to, becomes the guest's root.
bb=/bin/busybox
$bb mount -t proc proc /proc
$bb mount -t sysfs sysfs /sys
$bb mount -t devtmpfs devtmpfs /dev
while read -r module; do $bb insmod "$module" || $bb echo "no $module"; done </order
options=trans=virtio,version=9p2000.L,ro,cache=loose,msize=524288
$bb mount -t 9p -o $options root /lower || $bb poweroff -f
$bb mount -t tmpfs -o size=70% upper /upper
$bb mkdir /upper/changes /upper/work
$bb mount -t 9p -o $options kernel /kernel || $bb poweroff -f
# no mount of their own for the modules: it would be one within /usr, which containers of the tests have from here
layers=lowerdir=/kernel:/lower,upperdir=/upper/changes,workdir=/upper/work
$bb mount -t overlay -o $layers overlay /root || $bb poweroff -f
# of what is mounted here only empty directories are wanted there
for name in tmp run sys/fs/cgroup; do $bb mkdir -p /root/$name; done
for name in proc sys dev; do $bb mount --move /$name /root/$name; done
guest=$($bb sed 's/.*tricorn\.guest=\([^ ]*\).*/\1/' /root/proc/cmdline)
exec $bb switch_root /root /bin/sh "$guest"
