#!/bin/sh
# Makes a node of the namespaces it is started in (mount, uts, ipc, pid, cgroup, net) and becomes its systemd.
# usage: node_init.sh BASE DIRECTORY NAME
# DIRECTORY holds upper/, work/, root/, state/ (what is bind-mounted) and cgroups ("TYPE OPTIONS PLACE" a line).
set -eu
base=$1 directory=$2 name=$3
root=$directory/root

mount --make-rprivate /
mount -t overlay -o "lowerdir=$base,upperdir=$directory/upper,workdir=$directory/work" overlay "$root"
mkdir -p "$root/old" "$root/var/lib/tricorn"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"

mount -t tmpfs -o mode=755,size=1m dev "$root/dev"
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
mount -t tmpfs -o size=64m shm "$root/dev/shm"
for device in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0; do
  IFS=: read -r file major minor <<EOF
$device
EOF
  mknod -m 666 "$root/dev/$file" c "$major" "$minor"
done
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s fd/0 "$root/dev/stdin"
ln -s fd/1 "$root/dev/stdout"
ln -s fd/2 "$root/dev/stderr"

mount -t tmpfs -o mode=755,size=256m run "$root/run"
# Mounted from inside the cgroup namespace, so that the node sees its own part only.
grep -q ' \.$' "$directory/cgroups" || mount -t tmpfs -o mode=755,size=1m cgroup "$root/sys/fs/cgroup"
while read -r type options place; do
  mkdir -p "$root/sys/fs/cgroup/$place"
  mount -t "$type" -o "$options" cgroup "$root/sys/fs/cgroup/$place"
done <"$directory/cgroups"

# An overlay can't lie on this root, which is one: what keeps snapshots is a real directory.
mount --bind "$directory/state" "$root/var/lib/tricorn"
hostname "$name"
cd "$root"
pivot_root . old
umount -l /old
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=tricorn-test TERM=dumb \
  chroot . /sbin/init --log-target=console --show-status=0
