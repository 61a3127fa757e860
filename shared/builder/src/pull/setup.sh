# This part comes first. It sets the paths, makes a directory in memory and declares what the other
# parts fill. It expects no variable; script.rs assigns those that depend on the build before it.
#
# The script runs in Bottlerocket's admin container as root. It is the same for every build; the
# assignments before it come from checked types.
#
# stdout carries one line of JSON, the report, and nothing else. stderr is a log in /run, which the
# caller shows when the build fails. Every error ends in `fail`, so that no snapshot is made of half
# a cache.
# "$1" is the path of the SSM agent's copy of this command; it contains the command's id.
#
# script.rs joins the parts and removes comments, blank lines and indentation before it sends them.
# The code contains no backtick, since a backtick ends the transfer.

set -uo pipefail

containerd_socket=/run/containerd/containerd.sock
host=/.bottlerocket/rootfs
# /var and not /local/var, which Bottlerocket masks with an empty mount (bottlerocket-core-kit,
# packages/release/mask-local-var.service).
store=$host/var/lib/containerd
content=$store/io.containerd.content.v1.content
# For files that may not keep their path; empty in a snapshot.
retired=/var/lib/frontload
instance_metadata=http://169.254.169.254/latest
# The container's /tmp is on the data volume; a here-document would stay there.
export TMPDIR=/run
work=$(mktemp -d)
# apiclient sometimes loses the output of a command that runs for less than 0.2 s.
sleep 0.3 &
lived=$!
trap 'rm -rf "$work"; wait "$lived"' EXIT
declare -A ecr_passwords=()
references=() repositories=() tags=() digests=() ecr_regions=() waits=() shared_layers=() manifests=()
missing=() started=()
ancestor=none
