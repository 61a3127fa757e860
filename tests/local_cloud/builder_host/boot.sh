#!/bin/bash
# The first process of an instance: lays out the file systems as Bottlerocket does, starts
# containerd, says "booted", and shuts down when standard input ends, or when the host powers itself
# off or reboots, which it says as well: "powered off", "rebooted".
#
# Three roots, each an overlay of the machine's own root, so that nothing outside can change:
#   host     what `sheltie` shows; /local is the data volume, /var, /opt and /mnt lie on it
#   admin    the admin container; the host is at /.bottlerocket/rootfs
#   control  the SSM agent's container; its state is a directory of the data volume
# The containers' /tmp is on the data volume as all of them is in reality; the rest is not here.
# In brackets: the source, a path of bottlerocket-core-kit. What units do is in `units.sh`.
# shellcheck disable=SC2154 # /run/config/instance, which `boot_files.py` writes, sets the rest.
set -euo pipefail
volume_file=$1 files=$2 shims=$3
# shellcheck source-path=SCRIPTDIR source=shims/host/units.sh
. "$shims/host/units.sh"
# shellcheck source=/dev/null
. "$files/host/run/config/instance"
stage=$files/mnt admin_start=
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
    # A container's /run has 64 MiB [containerd oci/mounts.go].
    if [ "$1" = host ]; then
        mount -t tmpfs run "$root/run"
        mount -t tmpfs tmp "$root/tmp"
    else
        mount -t tmpfs -o size=65536k,mode=755 run "$root/run"
    fi
    local programs=$root/usr/lib/bottlerocket/$1
    mkdir -p "$programs"
    if [ -d "$shims/$1" ]; then cp -r "$shims/$1/." "$programs"; fi
    if [ "$1" = host ]; then
        cp "$shims/../apiserver.py" "$programs/apiserver"
    else
        cp "$shims/../apiclient.py" "$programs/apiclient"
    fi
    cp -dr --remove-destination "$files/every/." "$files/$1/." "$root"
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
    prepare_data_volume "$host/local"
    # [packages/release: var.mount, opt.mount, mnt.mount, then mask-local-var.service and so on:
    # the empty /srv of the read-only root hides /local/var, for the admin container, too]
    local directory
    mkdir -p "$host/srv"
    for directory in var opt mnt; do
        mkdir -p "$host/$directory"
        mount --bind "$host/local/$directory" "$host/$directory"
        mount --bind -o ro,nosuid,nodev,noexec "$host/srv" "$host/local/$directory"
    done
    # The settings are on the OS disk [packages/release/var-lib-bottlerocket.mount].
    mount -t tmpfs private "$host/var/lib/bottlerocket"
}

# What systemd-tmpfiles and the prepare-*.service make and remove at each boot.
prepare_data_volume() { # where it is mounted
    local lib=$1/var/lib
    # [packages/release: prepare-var.service, prepare-opt.service; packages/selinux-policy,
    # packages/systemd, packages/cni-plugins, packages/kubernetes-1.31: *-tmpfiles.conf. Of
    # kubelet's states only this one.]
    rm -rf "$lib"/{kernel-devel,kernel-modules,cni-plugins,csi-helpers,selinux} \
        "$lib"/{systemd/linger,cni/results,kubelet/cpu_manager_state} "$1"/opt/{cni,csi}
    # [packages: release, os, chrony, netdog: *-tmpfiles.conf; systemd tmpfiles.d/systemd.conf;
    # packages/containerd, packages/kubernetes-1.31: prepare-var-lib-*.service;
    # sources/api/host-containers/src/main.rs: a directory for each container, enabled or not]
    mkdir -p "$lib"/{kernel-devel,kernel-modules,cni-plugins,csi-helpers}/.overlay/{upper,work} \
        "$lib"/{containerd,kubelet,selinux,systemd/linger,chrony,netdog,private} \
        "$lib"/{bottlerocket,bottlerocket-migrations} \
        "$1"/var/log/{journal,kdump,support,private} "$1"/var/cache/{containerd,private} \
        "$1"/{var/tmp,opt/cni,opt/csi,mnt,bootstrap-containers} "$1"/host-containers/{admin,control}
}

# [packages/os/configure-snapshotter.service of core-kit#582: unless the active snapshotter is the
# selected one, also when nobody knows which was active, the store is emptied]
configure_snapshotter() {
    local file=/var/cache/containerd/active-snapshotter
    if [ ! -e $file ] || [ "$(<$file)" != "ACTIVE_SNAPSHOTTER=$snapshotter" ]; then
        find /var/lib/containerd -mindepth 1 -delete
        echo "ACTIVE_SNAPSHOTTER=$snapshotter" >$file
        # A boot is minutes ago in reality when someone takes a snapshot.
        sync $file
    fi
}

# [sources/netdog/src/main.rs; sources/api/shibaken/src/admin_userdata.rs]
write_network_status() {
    local name
    for name in current_ip primary_interface primary_mac_address; do
        echo "$name of $instance_id" >"/var/lib/netdog/$name"
    done
    echo '{"ssh":{"authorized-keys":[]}}' >/local/host-containers/admin/user-data
}

add_containerd() {
    [ -n "$containerd" ] || return 0
    mkdir -p "$host/usr/lib/bottlerocket/containerd"
    mount --bind "$containerd" "$host/usr/lib/bottlerocket/containerd"
}

join_containers_to_host() {
    local container current
    mkdir -p "$admin_root/.bottlerocket/rootfs" "$control/var/lib/amazon"
    mount --rbind "$host" "$admin_root/.bottlerocket/rootfs"
    # [bottlerocket-control-container Dockerfile]
    ln -sfn /.bottlerocket/host-containers/current/ssm "$control/var/lib/amazon/ssm"
    if [ "$admin_is_amazon_linux_2" = true ]; then
        cp "$shims/admin-amazon-linux-2/bash" "$admin_root/usr/lib/bottlerocket/admin/"
    fi
    for container in control admin; do
        # [sources/host-ctr/cmd/host-ctr/main.go: withDefaultMounts]
        current=$stage/$container/root/.bottlerocket/host-containers/current
        mkdir -p "$current"
        mount --bind "$host/local/host-containers/$container" "$current"
        # These programs are the host's: a script that forgets `sheltie` must not find them.
        rm -f "$stage/$container/root"/usr/{bin,sbin,local/bin,local/sbin}/{ctr,containerd,runc}
        rm -f "$stage/$container/root"/usr/bin/{systemctl,systemd-run,journalctl}
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
        until [ -e $units/containerd.active ]; do sleep 0.05; done
        env -i PATH="$PATH" containerd --config /etc/containerd/config.toml \
            >>/run/containerd.log 2>&1 </dev/null &
        echo $! >$units/containerd.pid
        wait $! || true
        sleep 0.05
    done
}

start_units() {
    mkdir -p $units
    touch $units/{systemd-journal-flush,systemd-random-seed,chronyd,host-containerd,containerd}.active
    echo "$end_seconds" >$units/end-seconds
    log 'Started Bottlerocket'
    load_random_seed
    write_network_status
    save_clock
    configure_snapshotter
    keep_containerd &
    start_host_containerd
    if ! wait_for_containerd 20; then
        tail -n 20 /run/containerd.log >&2
        return 1
    fi
    start_kubelet
    start_host_container control || true
    if [ "$admin" = true ]; then
        (sleep "$admin_ready_seconds"; start_host_container admin) &
        admin_start=$!
    fi
}

# Sets `ending`: by `systemctl reboot` or `poweroff`, at once or by a timer that is due.
is_ending() {
    local timer
    [ ! -e $units/reboot ] || ending=rebooted
    [ ! -e $units/poweroff ] || ending='powered off'
    for timer in "$units"/*.timer.active; do
        [ ! -e "$timer" ] || (($(<"$timer") > EPOCHSECONDS)) || ending='powered off'
    done
    [ -n "$ending" ]
}

# Whoever loses patience meanwhile cuts the power: see `Instance.stop`.
shut_down() {
    [ -z "$admin_start" ] || kill "$admin_start" 2>/dev/null || true
    timeout 2 fsfreeze --unfreeze /local 2>/dev/null || true
    sleep "$(<$units/end-seconds)"
    end_all_units
    timeout 20 sync -f /local || true
}

mount -t tmpfs instance "$stage"
ip link set lo up
ip address add 169.254.169.254/32 dev lo
for root in host admin control; do overlay_root "$root"; done
mount_data_volume
add_containerd
join_containers_to_host
echo "$hostname" >/proc/sys/kernel/hostname
enter_host_root
start_units
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
