#!/bin/sh
# The small guest: loads its virtio drivers and does what the kernel command line says.
#   addr=10.0.0.1/24   address of the first NIC, which is brought up
#   run="COMMANDS"     run by the shell, then power off; without it, a shell on the console
# (The kernel hands both to us as environment variables.)
export PATH=/bin
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
while read -r module; do
    insmod "/modules/$module.ko" || echo "guest: cannot load $module"
done </modules/order
ip link set lo up
if [ -n "$addr" ]; then
    ip addr add "$addr" dev eth0
    ip link set eth0 up
fi
echo "guest: up after $(cut -d' ' -f1 /proc/uptime) s"
if [ -n "$run" ]; then
    sh -c "$run"
    echo "guest: run ended with status $?"
else
    setsid -c sh
fi
sync
poweroff -f
