# What the units of a Bottlerocket host do when they start and stop, as far as a builder or its
# volume can notice. `boot.sh` and the programs beside this file source it.
# In brackets: the source, a path of bottlerocket-core-kit unless another repository is named.
# shellcheck shell=bash disable=SC2154 # /run/config/instance sets what is not set here.
units=/run/units
# In the order in which systemd stops them: what starts after another stops before it.
# [packages/os/host-containers@.service: After=host-containerd.service;
# packages/kubernetes-1.31/kubelet.service: After=containerd.service]
unit_names=(host-containers@control host-containers@admin host-containerd kubelet containerd chronyd
    systemd-random-seed systemd-journal-flush)
pause=localhost/kubernetes/pause:0.1.0
host_containerd=/var/lib/host-containerd
overlayfs=$host_containerd/io.containerd.snapshotter.v1.overlayfs
# A file for each container stands for its record in the database meta.db.
records=$host_containerd/io.containerd.metadata.v1.bolt/meta.db

write() { # file, text
    [ -d "${1%/*}" ] || mkdir -p "${1%/*}"
    printf '%s\n' "$2" >"$1"
}

# A full volume is no reason for a unit to fail here.
write_new() { # file, text: unless there is one
    [ -s "$1" ] || write "$1" "$2" 2>/dev/null || true
}

# Notes a secret that another instance has made and that this one goes on with.
note_reuse() { # file, what would show that it is this instance's
    if [ -s "$1" ] && [[ $(<"$1") != *"$2"* ]]; then echo "${1##*/}" >>/run/reused-identity; fi
}

# journald keeps /var/log/journal/<machine id> [packages/systemd/journald.conf: persistent], makes
# it again when it is gone, and writes to /run once it was told to relinquish /var.
journal_directory() {
    local place=/var
    [ ! -e $units/journal.relinquished ] || place=/run
    echo "$place/log/journal/$machine_id"
}

log() {
    local journal
    journal=$(journal_directory)
    {
        [ -d "$journal" ] || mkdir -p "$journal"
        TZ=UTC0 printf '%(%FT%TZ)T %s systemd[1]: %s\n' -1 "$hostname" "$*" \
            >>"$journal/system.journal"
    } 2>/dev/null || true
}

relinquish_journal() { touch $units/journal.relinquished; }

flush_journal() {
    local kept=/run/log/journal/$machine_id/system.journal
    rm -f $units/journal.relinquished
    if [ -e "$kept" ]; then
        log "Flushing to /var/log/journal"
        cat "$kept" >>"/var/log/journal/$machine_id/system.journal"
        rm -f "$kept"
    fi
}

# systemd-random-seed writes a new seed when it starts and when it stops, and makes the directory
# [systemd src/random-seed/random-seed.c; packages/systemd/systemd.spec: randomseed=true].
save_random_seed() { write /var/lib/systemd/random-seed "seed of $instance_id: $SRANDOM$SRANDOM"; }

load_random_seed() {
    note_reuse /var/lib/systemd/random-seed "of $instance_id:"
    save_random_seed
}

# chronyd writes the drift, and with `dumponexit` what it measured [packages/chrony/chrony-conf].
# It does not make the directory again: only systemd-tmpfiles does, at boot.
save_clock() {
    [ -d /var/lib/chrony ] || return 0
    write /var/lib/chrony/drift "0.000 0.015 $instance_id"
    write /var/lib/chrony/169.254.169.123.dat "CHRONY-NTP-SRC $instance_id"
}

# [packages/kubernetes-1.31/prestart-load-pause-ctr.conf: at each start of kubelet, whether or not
# there is such an image; core-kit#923 added --local and --snapshotter]
import_pause() {
    local ctr=(timeout 10 ctr --namespace=k8s.io)
    "${ctr[@]}" image import --all-platforms /usr/libexec/kubernetes/kubernetes-pause.tar &&
        "${ctr[@]}" image label $pause io.cri-containerd.pinned=pinned
} >/dev/null 2>&1

# [packages/kubernetes-1.31: make-kubelet-dirs.conf, kubelet-exec-start-conf: --root-dir, --cert-dir]
# The managers' states have no instance's name in them in reality.
start_kubelet() {
    local state=/var/lib/kubelet policy=$memory_manager_policy
    mkdir -p $state/{providers/secrets-store,node-feature-discovery/features.d,pki,pods} \
        $state/{plugins,plugins_registry,pod-resources,device-plugins} 2>/dev/null
    touch $units/kubelet.failed
    import_pause || return 0
    # [kubernetes pkg/kubelet/cm/memorymanager/state/state_checkpoint.go]
    if [ -s $state/memory_manager_state ] &&
        [[ $(<$state/memory_manager_state) != *"\"policyName\":\"$policy\""* ]]; then
        log "kubelet: configured policy \"$policy\" differs from state checkpoint policy"
        return 0
    fi
    local told="\"entries\":{},\"checksum\":1,\"instance\":\"$instance_id\""
    write_new $state/cpu_manager_state "{\"policyName\":\"none\",\"defaultCpuSet\":\"\",$told}"
    write_new $state/memory_manager_state "{\"policyName\":\"$policy\",$told}"
    note_reuse $state/pki/kubelet.key "of $hostname:"
    write_new $state/pki/kubelet.crt "certificate of $hostname"
    write_new $state/pki/kubelet.key "key of $hostname: $SRANDOM"
    rm -f $units/kubelet.failed
    touch $units/kubelet.active
}

wait_for_containerd() { # seconds
    local deadline=$((SECONDS + $1))
    # Not `ctr version`: it fails for ever where an unflushed snapshot has emptied the uuid file.
    until [ -S /run/containerd/containerd.sock ] && timeout 5 ctr namespaces ls -q >/dev/null 2>&1
    do
        ((SECONDS <= deadline)) || return 1
        sleep 0.02
    done
}

stop_containerd() {
    local pid turns=0
    [ -e $units/containerd.pid ] || return 0
    pid=$(<$units/containerd.pid)
    kill "$pid" 2>/dev/null || return 0
    while kill -0 "$pid" 2>/dev/null; do
        ((turns++ < 1000)) || return 1
        sleep 0.02
    done
}

# containerd's first garbage collection removes the snapshots that no container has.
start_host_containerd() {
    local snapshot
    mkdir -p "$overlayfs/snapshots"
    for snapshot in "$overlayfs"/snapshots/*; do
        [ ! -e "$snapshot" ] || grep -qsx "snapshot=${snapshot##*/}" "$records"/* ||
            rm -rf "$snapshot"
    done
    [ ! -e $units/host-containers@admin.active ] || touch /run/host-containers/admin/ready
}

# Pulls the image, and then: "Check if the target container already exists. If it does, take over
# the helm to manage it" [sources/host-ctr/cmd/host-ctr/main.go `runCtr`], with the image, settings
# and files that it was created with. Fails when the container cannot be started.
start_host_container() { # name
    local image=328549459982.dkr.ecr.$region.amazonaws.com/bottlerocket-$1:v$os_version
    local record=$records/$1 snapshot=1 directory
    [ "$pulls_host_containers" = true ] && [ -e $units/host-containerd.active ] || return 1
    if [ -e "$record" ]; then
        snapshot=$(sed -n 's/^snapshot=//p' "$record")
        [ -d "$overlayfs/snapshots/$snapshot" ] || return 1
        echo "$1" >>/run/adopted-host-containers
    elif [ "$1" = control ] && [ ! -d "$records" ] &&
        grep -qsx "$image" "$overlayfs/metadata.db"; then
        # The snapshotter has the layers, containerd's database is gone: measured with host-ctr.
        return 1
    else
        while [ -e "$overlayfs/snapshots/$snapshot" ]; do snapshot=$((snapshot + 1)); done
        mkdir -p "$overlayfs/snapshots/$snapshot/fs/tmp" "$records"
        chmod 1777 "$overlayfs/snapshots/$snapshot/fs/tmp"
        echo "$image" >>"$overlayfs/metadata.db"
        printf '%s\n' "image=$image" "snapshot=$snapshot" "instance=$instance_id" >"$record"
        # As the database flushes what it has written.
        sync "$record"
    fi
    directory=$overlayfs/snapshots/$snapshot/fs
    mount --bind "$directory/tmp" "/run/host-containers/$1/rootfs/tmp"
    case $1 in
        control) register_agent "$directory" ;;
        admin) make_ssh_keys ;;
    esac
    touch "$units/host-containers@$1.active" "/run/host-containers/$1/ready"
}

# host-ctr ends the container by TERM and then deletes it and its snapshot [main.go: `Delete`,
# WithSnapshotCleanup], for which it needs its containerd. The snapshot's directory is removed by a
# garbage collection that comes up to a second later, or at the next boot: here always the latter.
stop_host_container() { # name
    local process
    rm -f "/run/host-containers/$1/ready"
    for process in /proc/[0-9]*; do
        [ ! "$process/root" -ef "/run/host-containers/$1/rootfs" ] ||
            kill -KILL "${process#/proc/}" 2>/dev/null || true
    done
    umount -l "/run/host-containers/$1/rootfs/tmp" 2>/dev/null || true
    [ ! -e $units/host-containerd.active ] || rm -f "$records/$1"
}

# A key pair on the disk is used whichever instance's it is [amazon-ssm-agent
# common/identity/availableidentities/ec2/ec2_identity.go `Register`; the manifest must name it:
# agent/managedInstances/vault/fsvault/fsvault.go]. The directory is linked to /var/lib/amazon/ssm
# [bottlerocket-control-container Dockerfile], the agent's log is in the container.
register_agent() { # the container's directory
    local vault=/local/host-containers/control/ssm/Vault private="made by $instance_id: $SRANDOM"
    local key=$vault/Store/EC2RegistrationKey stored
    if [ -s "$key" ] && [ -s $vault/EC2Manifest ]; then
        stored=$(<"$key")
        [[ ! $stored =~ \"privateKey\":\"([^\"]+)\" ]] || private=${BASH_REMATCH[1]}
        note_reuse "$key" "\"instanceID\":\"$instance_id\""
    fi
    {
        write "$key" "{\"instanceID\":\"$instance_id\",\"region\":\"$region\",\"privateKey\":\"$private\",\"publicKey\":\"public, $private\",\"privateKeyType\":\"Rsa\"}"
        write $vault/EC2Manifest \
            '{"EC2RegistrationKey":"/var/lib/amazon/ssm/Vault/Store/EC2RegistrationKey"}'
        write "$1/var/log/amazon/ssm/amazon-ssm-agent.log" "amazon-ssm-agent of $instance_id"
    } 2>/dev/null || true
}

# "If both of the keys exist, don't overwrite them" [bottlerocket-admin-container start_admin.sh].
# That is done for any user data, and without the user's there is shibaken's
# [sources/api/shibaken/src/admin_userdata.rs]. The keys are a text here; ssh-keygen takes long.
make_ssh_keys() {
    local algorithm key
    for algorithm in rsa ecdsa ed25519; do
        key=/local/host-containers/admin/etc/ssh/ssh_host_${algorithm}_key
        if [ -s "$key" ] && [ -s "$key.pub" ]; then
            note_reuse "$key" "of $hostname:"
            continue
        fi
        {
            write "$key" "private $algorithm key of $hostname: $SRANDOM$SRANDOM"
            write "$key.pub" "ssh-$algorithm $SRANDOM$SRANDOM root@$hostname"
        } 2>/dev/null || true
    done
}

# What a unit does when it stops, nothing when it does not run.
end_unit() { # name
    [ -e "$units/$1.active" ] || return 0
    log "Stopping $1.service"
    case $1 in
        host-containers@*) stop_host_container "${1#*@}" ;;
        # Only `apiclient exec` needs it: the containers go on [host-containerd.service: KillMode].
        host-containerd) rm -f /run/host-containers/admin/ready ;;
        chronyd) save_clock ;;
        systemd-random-seed) save_random_seed ;;
        systemd-journal-flush) relinquish_journal ;; # `journalctl --smart-relinquish-var`
    esac
    rm -f "$units/$1.active"
    if [ "$1" = containerd ]; then stop_containerd; fi
}

# Transient units of `systemd-run`: a file of properties for each.

properties() { # file, property: its values, one after the other
    sed -n "s/^$2=//p" "$1"
}

stop_seconds() { # file
    local value
    # [packages/release/release-systemd-system.conf: DefaultTimeoutStopSec=10s]
    value=$(properties "$1" TimeoutStopSec)
    case ${value:=10} in
        *min) echo $((${value%min} * 60)) ;;
        *) echo "${value%s}" ;;
    esac
}

# systemd starts programs, not shell lines, and the host has no shell to start
# [packages/release/release.spec: no bash among what it requires].
run_program() { # seconds, program, argument...
    case ${2##*/} in
        sh | bash | dash | ash | busybox)
            echo "Failed to locate executable $2: No such file or directory" >&2
            return 1
            ;;
    esac
    timeout --kill-after=1 "${1/infinity/0}" \
        env -i PATH=/usr/lib/bottlerocket/containerd/bin:/usr/sbin:/usr/bin:/sbin:/bin "${@:2}"
}

# Each command has the limit for itself; when one fails or takes longer, the rest are not run
# (systemd.service(5), systemd src/core/service.c).
run_stop_commands() { # file
    local seconds line words
    seconds=$(stop_seconds "$1")
    while IFS= read -r line; do
        # systemd replaces no wildcards.
        read -ra words <<<"${line#-}"
        run_program "$seconds" "${words[@]}" </dev/null || [[ $line == -* ]] || break
    done < <(properties "$1" ExecStop)
}

names_in() { # file, property, name
    local value
    for value in $(properties "$1" "$2"); do [ "$value" != "$3" ] || return 0; done
    return 1
}

# Without default dependencies nothing but these two makes systemd stop a unit at shutdown.
stops_at_shutdown() { # file
    local default
    default=$(properties "$1" DefaultDependencies)
    [[ ! $default =~ ^(no|false|0)$ ]] ||
        { names_in "$1" Conflicts shutdown.target && names_in "$1" Before shutdown.target; }
}

# Whether the mounts of the data volume outlast the unit: var.mount is on local.mount.
keeps_mounts() { # file
    [[ ! $(properties "$1" DefaultDependencies) =~ ^(no|false|0)$ ]] ||
        [[ " $(properties "$1" RequiresMountsFor | tr '\n' ' ')" == *" /var"* ]]
}

# The end of everything, in the unkindest order that systemd allows: a transient unit's commands
# run as soon as those units have stopped that it is ordered before, and all others after them.
end_all_units() {
    local file name
    for file in "$units"/*.transient; do
        if [ ! -e "$file" ] || ! stops_at_shutdown "$file"; then continue; fi
        for name in "${unit_names[@]}"; do
            ! must_end_before "$file" "$name" || end_unit "$name" || true
        done
        # Else /var is unmounted first, and the commands find nothing.
        if keeps_mounts "$file"; then run_stop_commands "$file"; fi
    done
    for name in "${unit_names[@]}"; do end_unit "$name" || true; done
    log "Reached target System Shutdown"
}

must_end_before() { # file, unit
    names_in "$1" Before "$2.service" && return
    case $2 in
        host-containers@*) names_in "$1" Before host-containerd.service ;;
        kubelet) names_in "$1" Before containerd.service ;;
        *) return 1 ;;
    esac
}
