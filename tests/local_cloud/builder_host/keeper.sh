#!/bin/bash
# Keeps the volumes' file system mounted until standard input ends, which it does when the
# builder host closes or dies. Then every instance, being in this PID namespace, ends too.
set -eu
pool=$1 mount_point=$2
mount -t proc proc /proc
# Without a page cache of its own: see boot.sh.
device=$(losetup --find --show --direct-io=on "$pool" 2>/dev/null || losetup --find --show "$pool")
mount -t xfs -o discard "$device" "$mount_point" || { losetup --detach "$device"; exit 1; }
losetup --detach "$device"
echo ready
read -r _ || true
# Instances see the same end of input: leave them up to five seconds to stop by themselves.
for _ in $(seq 100); do
    set -- /proc/[0-9]*
    [ $# -le 1 ] && break
    sleep 0.05
done
