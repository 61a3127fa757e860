# Runs in the admin container. Lists what is there of what Frontload's script uses, and changes
# nothing but that the builder ends by itself when nobody ends it. It expects programs, host_programs,
# paths, places and seconds.
# The container's /tmp lies on the data volume.
export TMPDIR=/run
trap 'sleep 0.3' EXIT
host=/.bottlerocket/rootfs
echo "bash $BASH_VERSION"
echo "agent ${1-}"
# The files of the builder are not those of the machine that checks this script.
# shellcheck source=/dev/null
(. /etc/os-release && echo "admin $PRETTY_NAME")
# shellcheck source=/dev/null
(. "$host/etc/os-release" && echo "host $PRETTY_NAME")
for program in $programs; do
  if command -v "$program" >/dev/null; then echo "program $program"; else echo "missing program $program"; fi
done
host_path=$(sheltie env 2>/dev/null | sed -n 's/^PATH=//p')
echo "host-path $host_path"
IFS=: read -ra directories <<<"${host_path:-/usr/bin:/usr/sbin:/bin:/sbin}"
for program in $host_programs; do
  found=
  for directory in "${directories[@]}"; do
    [[ ! -e $host$directory/$program ]] || found=$directory
  done
  if [[ -n $found ]]; then echo "host-program $program"; else echo "missing host-program $program"; fi
done
for path in $paths; do
  if [[ -e $host$path ]]; then echo "path $path"; else echo "missing path $path"; fi
done
for path in $places; do
  if [[ -e $host$path ]]; then echo "place $path"; else echo "absent $path"; fi
done
if sheltie systemd-run --quiet --unit=frontload-check-expiry --on-active="$seconds" systemctl poweroff; then
  echo "expiry $seconds"
else
  echo "missing expiry"
fi
