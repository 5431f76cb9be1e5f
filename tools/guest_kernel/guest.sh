#!/bin/sh
# The guest's first process: what a booted system has ready, then the trial, then its end.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 PYTHONUNBUFFERED=1
mount -t tmpfs -o mode=1777 tmp /tmp
mount -t tmpfs -o mode=755 run /run
mkdir -p /run/lock /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
ln -sf /proc/self/fd /dev/fd
mount -t cgroup2 cgroup2 /sys/fs/cgroup
read -r controllers </sys/fs/cgroup/cgroup.controllers
for each in $controllers; do echo "+$each" >/sys/fs/cgroup/cgroup.subtree_control; done
if [ ! -x /sbin/modprobe ]; then
    mkdir -p /run/modules
    ln -s "$(command -v busybox)" /run/modules/modprobe
    echo /run/modules/modprobe >/proc/sys/kernel/modprobe
fi
ip link set lo up
hostname guest
sh "${0%/*}/trial.sh" </dev/null
echo "test-guest ends with $?"
sync
busybox poweroff -f
