#!/bin/bash
# Set up the simulated host as an operator would (modules, hugepages, cgroups, loopback), run the
# job which lab/boot.py left in the shared directory, leave its status there and power off.
# Runs as process 1 on the machine's own programs; the root is writable and forgotten afterwards.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=linux LANG=C.UTF-8 LAB=1
share=/run/lab

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs -o mode=755 dev /dev
mount -t tmpfs -o mode=755 run /run
mkdir -p $share /dev/pts /dev/shm /dev/hugepages /dev/disk/by-id /run/lock
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t 9p -o trans=virtio,version=9p2000.L,msize=1048576,cache=none out $share
[[ -L /dev/fd ]] || ln -s /proc/self/fd /dev/fd
exec >/dev/hvc0 2>&1 </dev/null

# shellcheck source=/dev/null
source $share/job.env

release=$(uname -r)
mkdir -p "/lib/modules/$release"
mount --bind "$LAB_MODULES" "/lib/modules/$release"
modprobe -a kvm_amd tun vfio-pci vfio_iommu_type1 igb || echo "lab: not every module loaded"

hostname lab
ip link set lo up
mount -t hugetlbfs -o pagesize=2M hugetlbfs /dev/hugepages
for block in /sys/block/vd*; do
    serial=$(cat "$block/serial" 2>/dev/null) && [[ -n $serial ]] || continue
    ln -sf "/dev/${block##*/}" "/dev/disk/by-id/virtio-$serial"
    export "LAB_DISK_${serial//[^A-Za-z0-9]/_}=/dev/disk/by-id/virtio-$serial"
done
# A core file would land in the overlay, that is in memory, for nobody.
ulimit -c 0

touch $share/booted
if [[ -n $LAB_INTERACTIVE ]]; then
    export PS1='lab:\w\$ '
    setsid -c bash $share/job.sh </dev/hvc0
else
    stty -F /dev/hvc0 raw -echo
    setsid bash $share/job.sh
fi
status=$?
echo $status >$share/status.new && mv $share/status.new $share/status
sync -f $share
exec busybox poweroff -f
