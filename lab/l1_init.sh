#!/bin/sh
# First program of the simulated host: puts the real machine's root file system, read-only by 9p,
# under a writable overlay in memory, and goes on there with the set-up script of the lab.
# Kernel arguments: lab.setup=SCRIPT (a path on the real machine).
export PATH=/bin
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
while read -r module; do
    insmod "/modules/$module.ko" || echo "lab: cannot load $module"
done </modules/order

for word in $(cat /proc/cmdline); do
    case $word in lab.setup=*) setup=${word#lab.setup=} ;; esac
done
p9=trans=virtio,version=9p2000.L,msize=1048576
mkdir -p /host /rw /root
# Nothing changes on the real machine while the lab runs, or if it does the lab need not see it.
mount -t 9p -o $p9,ro,cache=loose host /host || exec poweroff -f
mount -t tmpfs -o size=60%,mode=755 rw /rw || exec poweroff -f
mkdir -p /rw/upper /rw/work
mount -t overlay -o lowerdir=/host,upperdir=/rw/upper,workdir=/rw/work root /root ||
    exec poweroff -f
umount /proc /sys /dev
exec switch_root /root "$setup"
