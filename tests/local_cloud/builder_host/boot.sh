#!/bin/bash
# The first process of an instance: lays out the file systems as Bottlerocket does, starts
# containerd, says "booted", and shuts down when standard input ends, or when the host powers itself
# off or reboots, which it says as well: "powered off", "rebooted".
#
# Three roots, each an overlay of the machine's own root, so that nothing outside can change:
#   host     what `sheltie` shows; /local is the data volume, /var, /opt and /mnt lie on it
#   admin    the admin container; the host is at /.bottlerocket/rootfs
#   control  the SSM agent's container; its state is a directory of the data volume
set -euo pipefail
volume_file=$1 files=$2 shims=$3 hostname=$4 admin=$5 admin_ready_seconds=$6
containerd=$7 # a directory with bin/, or empty for the machine's own
stage=$files/mnt
host=$stage/host/root control=$stage/control/root admin_root=$stage/admin/root
export PATH=/usr/lib/bottlerocket/host:/usr/lib/bottlerocket/containerd/bin
export PATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin

overlay_root() {
    local root=$stage/$1/root
    mkdir -p "$stage/$1/upper" "$stage/$1/work" "$root"
    mount -t overlay "$1" -o "lowerdir=/,upperdir=$stage/$1/upper,workdir=$stage/$1/work" "$root"
    mount -t proc proc "$root/proc"
    mount -t sysfs sysfs "$root/sys"
    if [ -d /sys/fs/cgroup ]; then mount --rbind /sys/fs/cgroup "$root/sys/fs/cgroup"; fi
    mount --rbind /dev "$root/dev"
    mount -t tmpfs run "$root/run"
    mount -t tmpfs tmp "$root/tmp"
    # Reached names are all in /etc/hosts; any other must fail at once.
    rm -f "$root/etc/resolv.conf"
    echo 'nameserver 127.0.0.1' >"$root/etc/resolv.conf"
    cp "$files/hosts" "$root/etc/hosts"
    echo "$hostname" >"$root/etc/hostname"
    mkdir -p "$root/etc/ssl/certs" "$root/usr/lib/bottlerocket"
    cp "$files/ca-certificates.crt" "$root/etc/ssl/certs/ca-certificates.crt"
    cp -r "$shims/$1" "$root/usr/lib/bottlerocket/$1"
}

# On a loop device without a page cache of its own: a flush on the instance then costs what the
# instance wrote, as with EBS. The device goes when nothing has it mounted any more.
mount_file() { # file, mount point, options
    local device mounted=0
    device=$(losetup --find --show --direct-io=on "$1" 2>/dev/null || losetup --find --show "$1")
    mount -o "$3" "$device" "$2" || mounted=$?
    losetup --detach "$device"
    return $mounted
}

mount_data_volume() {
    # The sectors of a volume that comes from a snapshot: files that share blocks have no smaller ones.
    if ! blkid -p "$volume_file" >/dev/null; then mkfs.xfs -q -s size=4096 "$volume_file"; fi
    mkdir -p "$host/local"
    if [ "$(blkid -p -o value -s TYPE "$volume_file")" = xfs ]; then
        # nouuid: volumes made from one snapshot share their UUID, and here also the machine.
        mount_file "$volume_file" "$host/local" nouuid
        xfs_growfs "$host/local" >/dev/null
    else
        mount_file "$volume_file" "$host/local" defaults
    fi
    local directory
    for directory in var/lib/containerd var/log/journal var/tmp opt mnt \
        host-containers/admin host-containers/control/ssm; do
        mkdir -p "$host/local/$directory"
    done
    for directory in var opt mnt; do
        mkdir -p "$host/$directory"
        mount --bind "$host/local/$directory" "$host/$directory"
    done
    echo "$(date -u +%FT%TZ) $hostname systemd[1]: Started Bottlerocket" \
        >>"$host/local/var/log/journal/system.journal"
}

add_containerd() {
    [ -n "$containerd" ] || return 0
    mkdir -p "$host/usr/lib/bottlerocket/containerd"
    mount --bind "$containerd" "$host/usr/lib/bottlerocket/containerd"
}

join_containers_to_host() {
    mkdir -p "$admin_root/.bottlerocket/rootfs" "$control/var/lib/amazon/ssm"
    mount --rbind "$host" "$admin_root/.bottlerocket/rootfs"
    mount --bind "$host/local/host-containers/control/ssm" "$control/var/lib/amazon/ssm"
    local container
    for container in control admin; do
        # These programs are the host's: a script that forgets `sheltie` must not find them.
        rm -f "$stage/$container/root"/usr/{bin,sbin,local/bin,local/sbin}/{ctr,containerd,runc}
        rm -f "$stage/$container/root"/usr/bin/{systemctl,journalctl}
        mkdir -p "$host/run/host-containers/$container/rootfs"
        mount --move "$stage/$container/root" "$host/run/host-containers/$container/rootfs"
    done
}

enter_host_root() {
    mkdir -p "$host/.machine"
    pivot_root "$host" "$host/.machine"
    cd /
    umount -l /.machine
    rmdir /.machine
}

keep_containerd() {
    while true; do
        until [ -e /run/units/containerd.active ]; do sleep 0.05; done
        env -i PATH="$PATH" containerd --config /etc/containerd/config.toml \
            >>/run/containerd.log 2>&1 </dev/null &
        echo $! >/run/units/containerd.pid
        wait $! || true
        sleep 0.05
    done
}

start_units() {
    mkdir -p /run/units /etc/containerd
    cp /run/config/containerd.toml /etc/containerd/config.toml
    touch /run/units/containerd.active /run/units/kubelet.active
    keep_containerd &
    local deadline=$((SECONDS + 20))
    # Not `ctr version`: it fails for ever where an unflushed snapshot has emptied the uuid file.
    until [ -S /run/containerd/containerd.sock ] && timeout 5 ctr namespaces ls -q >/dev/null 2>&1
    do
        if ((SECONDS > deadline)); then
            tail -n 20 /run/containerd.log >&2
            return 1
        fi
        sleep 0.02
    done
}

# Sets `ending`: by `systemctl reboot` or `poweroff`, at once or by a timer that is due.
is_ending() {
    local timer
    [ ! -e /run/units/reboot ] || ending=rebooted
    [ ! -e /run/units/poweroff ] || ending='powered off'
    for timer in /run/units/*.timer.active; do
        [ ! -e "$timer" ] || (($(<"$timer") > EPOCHSECONDS)) || ending='powered off'
    done
    [ -n "$ending" ]
}

shut_down() {
    timeout 2 fsfreeze --unfreeze /local 2>/dev/null || true
    rm -f /run/units/containerd.active
    if [ -e /run/units/containerd.pid ]; then kill "$(cat /run/units/containerd.pid)" || true; fi
    timeout 20 sync -f /local || true
}

mount -t tmpfs instance "$stage"
ip link set lo up
ip address add 169.254.169.254/32 dev lo
for root in host admin control; do overlay_root "$root"; done
mount_data_volume
add_containerd
join_containers_to_host
mkdir -p "$host/run/config"
cp "$files/containerd.toml" "$host/run/config/"
echo "$hostname" >/proc/sys/kernel/hostname
enter_host_root
start_units
if [ "$admin" = true ]; then
    (sleep "$admin_ready_seconds"; touch /run/host-containers/admin/ready) &
fi
touch /run/host-containers/control/ready
echo "booted $(findmnt -n -o SOURCE /local)"
ending=
until is_ending; do
    read -r -t 0.2 _ || [ $? -gt 128 ] || break
done
if [ -n "$ending" ]; then
    # The agent ends before what it runs: nobody learns how that ended.
    echo "$ending"
    sleep 0.5
fi
exec >/dev/null
shut_down
