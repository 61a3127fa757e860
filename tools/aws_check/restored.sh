# Runs in the admin container of a builder whose data volume was made from the snapshot: lists what
# came with it outside of containerd's store, what containerd knows, and starts a container.
# It expects launched, identity, image, digest, snapshotter and seconds.
# The container's /tmp lies on the data volume.
export TMPDIR=/run
trap 'sleep 0.3' EXIT
host=/.bottlerocket/rootfs
list=/run/frontload-check.list
ctr() { sheltie ctr --address /run/containerd/containerd.sock --namespace k8s.io "$@"; }
sheltie systemd-run --quiet --unit=frontload-check-expiry --on-active="$seconds" systemctl poweroff
shopt -s globstar dotglob nullglob
device=$(stat --format=%d "$host/local")

# What was made before this builder was launched came with the snapshot. A file system that does not
# tell when a file was made tells when it was changed last: then what this builder changed is left
# out. Other devices that are mounted below are left out, too.
came() {
  stat --format='%W %Z %d %F|%s|%n' -- "$@" 2>/dev/null |
    awk -v device="$device" -v launched="$launched" -v host="$host" -v identity="$identity" '
      $3 == device && ($1 > 0 ? $1 : $2) < launched {
        split($0, part, "|")
        path = substr(part[3], length(host) + 1)
        if (part[1] ~ / directory$/) { print "directory -", path; next }
        kind = "other"
        count = split(identity, places, " ")
        for (i = 1; i <= count; i++) if (index(path, places[i]) == 1) kind = "identity"
        print kind, part[2], path
      }'
}

list_tree() {
  local entries=("$1"/**) at
  for ((at = 0; at < ${#entries[@]}; at += 500)); do came "${entries[@]:at:500}"; done
}

for top in "$host"/local/* "$host"/opt "$host"/mnt "$host"/var/* "$host"/var/lib/*; do
  case $top in
    */local/var | */local/opt | */local/mnt | */var/lib | */var/lib/containerd) continue ;;
  esac
  [[ -L $top ]] || list_tree "$top"
done | LC_ALL=C sort -u >"$list"
for kind in identity other directory; do echo "count $kind $(grep -c "^$kind " "$list")"; done
grep -v '^directory ' "$list" | head -n 100 | cut -c 1-150
rm -f "$list"

known=$(ctr images ls 2>&1)
checked=$(ctr images check --snapshotter "$snapshotter" 2>&1)
for name in "$image" "${image%:*}@$digest"; do
  read -r _ _ has _ <<<"$(awk -v name="$name" '$1 == name' <<<"$known")"
  read -r whole <<<"$(awk -v name="$name" '$1 == name { print $4, $NF }' <<<"$checked")"
  echo "image $name ${has:--} ${whole:--}"
done
printf '%s\n' "$known" | head -n 20 | cut -c 1-200 | sed 's/^/known /'
echo "container $(timeout 60 sheltie ctr --address /run/containerd/containerd.sock --namespace k8s.io \
  run --rm --snapshotter "$snapshotter" "$image" frontload-check /bin/echo started 2>&1 | tail -n 1)"
