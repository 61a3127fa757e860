# This part removes what identifies this builder, now and at its shutdown, and flushes the volume.
# It expects host and retired.

# Stops what would write at shutdown: the journal, the clock's drift, the random seed. The shutdown
# does not stop a stopped service again.
hush_host() {
  local output
  output=$(on_host journalctl --relinquish-var 2>&1) || fail scrub "" "the journal could not be closed: $output"
  output=$(on_host systemctl stop chronyd.service systemd-random-seed.service 2>&1) ||
    fail scrub "" "chronyd and systemd-random-seed could not be stopped: $output"
}

# Host paths with the identity of this instance: its logs, keys, leases and state. Every node
# creates its own.
identity=(/var/log /var/lib/kubelet /var/lib/chrony /var/lib/cni /var/lib/netdog /var/lib/systemd
  /local/host-containers/admin /local/bootstrap-containers)
# In use until the shutdown; containerd's directory contains an id of its own.
in_use=(/local/host-containers /var/lib/host-containerd "$retired" /var/tmp
  /var/lib/containerd/io.containerd.grpc.v1.introspection)

# The SSM agent needs its files of this command until it has reported the end, and the host
# containers need their files. So a systemd unit removes the rest when it is stopped: at shutdown,
# after the units in its Before=, and while the volume is mounted. The host has no shell, and its
# default limit for a stop is 10 s (core-kit, packages/release). Since core-kit 10.0.0, which is in
# every release that a builder may have, a service may delete what containerd created
# (packages/selinux-policy, cache_t).
set_last_scrub() {
  local output
  on_host systemctl --quiet is-active frontload-scrub.service && return
  output=$(on_host systemd-run --quiet --unit=frontload-scrub --property=Type=oneshot \
    --property=RemainAfterExit=yes --property=DefaultDependencies=no \
    --property=Conflicts=shutdown.target --property=TimeoutStopSec=60 \
    --property="RequiresMountsFor=/local /var" \
    --property="Before=shutdown.target host-containers@admin.service host-containers@control.service host-containerd.service containerd.service kubelet.service chronyd.service systemd-random-seed.service systemd-journal-flush.service systemd-networkd.service" \
    --property="ExecStop=-/usr/bin/find ${identity[*]} ${in_use[*]} -xdev -mindepth 1 -delete" \
    /usr/bin/true 2>&1) ||
    fail scrub "" "what the running builder needs could not be marked for removal: $output"
}

# Removes the traces of this instance and of its work; see also `set_last_scrub`.
scrub() { # path of the SSM agent's copy of this command
  local command_id=${1#*/orchestration/} instance=${1%%/document/*} agent=$host/local/host-containers/control/ssm
  local directory file
  command_id=${command_id%%/*} instance=${instance##*/}
  shopt -s globstar nullglob dotglob
  for directory in "${identity[@]}"; do
    # Both are constants that are not empty.
    # shellcheck disable=SC2115
    rm -rf -- "$host$directory"/* || fail scrub "" "$directory could not be emptied"
  done
  # Vault contains the registration key; an agent of another instance would register with it. Nobody
  # should have written the two TOML files, but every node would read settings from them.
  rm -rf -- "$host"/local/{frontload-*,user-data-*.toml} "$agent"/Vault ||
    fail scrub "" "$agent/Vault could not be removed"
  for directory in "$agent"/i-*; do
    # Left by the builder of the snapshot that this volume was created from.
    [[ -z $instance || ${directory##*/} == "$instance" ]] || rm -rf -- "$directory" ||
      fail scrub "" "$directory could not be removed"
  done
  for file in "$agent"/*/document/**/*; do
    [[ -f $file && "$file/" != *"/$command_id/"* ]] || continue
    rm -f -- "$file" || fail scrub "" "$file could not be removed"
  done
}

# A node that finds the record of a host container starts the builder's container instead of its own
# (bottlerocket-core-kit, sources/host-ctr). host-ctr deletes the record after an orderly stop;
# under another name nobody finds it in any case. It is renamed and not deleted, since both
# containers run, also when this command runs a second time.
retire_host_containers() {
  [[ ! -e $host$retired/host-containerd || -e $host/var/lib/host-containerd ]] || return 0
  # The failure of any of the three has to end the script.
  # shellcheck disable=SC2015
  rm -rf -- "$host$retired" && mkdir -p -- "$host$retired" &&
    mv -- "$host/var/lib/host-containerd" "$host$retired/" ||
    fail scrub "" "/var/lib/host-containerd could not be renamed"
}

# Without this a snapshot contains every file name but no file content, and nothing in containerd
# notices.
flush() {
  local output
  output=$(on_host sync -f /local 2>&1) || fail flush "" "sync of /local failed: $output"
}
