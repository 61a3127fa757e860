# This part comes last. It calls the others in order and prints the report.
# It expects limit_seconds, work, digests and ancestor.

exec 9>/run/frontload.lock
flock --wait "$limit_seconds" 9 || fail time "" "another run of this command did not end"
set_expiry "${1-}"
mask_kubelet
containerd=$(on_host containerd --version 2>/dev/null | awk '{ print $3 }')
containerd=${containerd#v}
containerd_major=${containerd%%.*}
[[ $containerd_major =~ ^[0-9]+$ ]] || fail version "" "containerd calls itself '$containerd'"
read_images
start_log_in
check_ancestor
list_missing_images
finish_log_in
pull_images
require_store
remove_other_images
collect_garbage
hash_listing >"$work/listing" &
lister=$!
check_images
wait "$lister"
listing=sha256:$(<"$work/listing")
hush_host
set_last_scrub
scrub "${1-}"
retire_host_containers
flush
used_bytes=$(on_host df --block-size=1 --output=used /local 2>/dev/null | tail -n 1)
printf '%s\n' "${digests[@]}" |
  jq -Rcn --arg containerd "$containerd" --arg kernel "$(uname -r)" --arg ancestor "$ancestor" \
    --arg listing "$listing" --argjson used "${used_bytes:-0}" \
    '{outcome: "pulled", containerd: $containerd, kernel: $kernel, flushed: true, usedBytes: $used,
      ancestor: $ancestor, listing: $listing, digests: [inputs]}'
