# This part runs programs on the host, within the time limit. It also sets the builder's own end and
# stops kubelet. It expects limit_seconds, expiry_seconds, containerd_socket and host.

seconds_left() { echo $((limit_seconds > SECONDS ? limit_seconds - SECONDS : 1)); }

# The host enforces the time limit. sheltie forks: if only sheltie were killed, the host's process
# would keep running and keep the output open. --foreground: with a process group of its own it
# would outlive the job that it belongs to.
on_host() { sheltie timeout --foreground --kill-after=5 "$(seconds_left)" "$@"; }

# ctr 2.x takes flags only before the image reference (bottlerocket#4707).
ctr() { on_host ctr --address "$containerd_socket" --namespace k8s.io "$@"; }

last_line() { tail -c 4000 | tr '\r' '\n' | sed '/^[[:space:]]*$/d' | tail -n 1; }

# Past its time limits the builder shuts down, whatever happens to the build, the reaper and the
# stack. A systemd timer needs neither this script nor AWS.
#
# A reboot removes the timer but not the unfinished pulls. The SSM agent may then run the command a
# second time, on a volume whose files may be empty: not all of them were flushed, and containerd
# does not check (see `flush`).
set_expiry() { # path of the SSM agent's copy of this command
  local output begun=${1%%/document/*}
  begun=$host/local/frontload-${begun##*/}
  on_host systemctl --quiet is-active frontload-expiry.timer && return
  [[ ! -e $begun ]] || fail reboot "" "the builder was booted again while it pulled"
  : >"$begun" || fail expiry "" "$begun could not be written"
  flush
  output=$(on_host systemd-run --quiet --unit=frontload-expiry --on-active="$expiry_seconds" \
    systemctl poweroff 2>&1) || fail expiry "" "the builder's own end could not be set: $output"
}

# The builder joins no cluster. A plain stop would be undone: multi-user.target
# upholds kubelet (bottlerocket-core-kit#773).
mask_kubelet() {
  local output
  output=$(on_host systemctl mask --runtime --now kubelet 2>&1) ||
    fail mask "" "kubelet could not be masked: $output"
}
