# This part hashes what is on the volume, and empties a volume that is not what its snapshot was.
# It expects ancestor_listing, snapshotter, store, content and work.

# If this path were empty, every check would pass and all listings would be equal.
require_store() {
  local blobs=("$content"/blobs/sha256/*)
  [[ -e ${blobs[0]} ]] || fail store "" "$content/blobs/sha256 is missing or empty"
}

# SHA-256 over name, size, mode, owner, time and link of every compressed blob and every file of the
# unpacked layers, and over containerd's own records. A file that was never flushed is empty or
# short. No file is read: from a snapshot each would have to come from S3 first.
hash_listing() {
  local part parts=8
  (
    cd "$store" || exit 1
    export LC_ALL=C
    shopt -s nullglob
    places=(io.containerd.content.v1.content/{blobs/*,ingest} io.containerd.snapshotter.v1.*/snapshots/*/fs)
    for ((part = 0; part < parts; part++)); do
      own=()
      for ((place = part; place < ${#places[@]}; place += parts)); do own+=("${places[$place]}"); done
      ((${#own[@]} == 0)) && continue
      # `total` sums up the files' blocks, which change when a file is flushed.
      # ls escapes line ends in names, so no name can look like a line `total`.
      # shellcheck disable=SC2010
      ls -lAnR --time-style=+%s --quoting-style=escape -- "${own[@]}" | grep -v '^total ' |
        sha256sum >"$work/part.$part" &
    done
    {
      # CRI's records by configuration digest come and go.
      ctr images ls | awk '$1 !~ "^sha256:" { print $1, $3, $NF }'
      ctr snapshots --snapshotter "$snapshotter" ls
      ctr leases ls -q
    } 2>&1 | sort | sha256sum >"$work/part.records" &
    wait
  )
  cat "$work"/part.* 2>/dev/null | sha256sum | cut -d ' ' -f 1
  rm -f "$work"/part.*
}

# Empties a volume whose content differs from what was published.
check_ancestor() {
  local output listing lister
  [[ $ancestor_listing == - ]] && return
  ancestor=kept
  remove_own_image
  collect_garbage
  list_images &
  lister=$!
  listing=$(hash_listing)
  wait "$lister"
  [[ sha256:$listing == "$ancestor_listing" ]] && return
  ancestor=damaged
  say "the files on the volume are not those of the snapshot: everything is pulled again"
  output=$(on_host systemctl stop containerd 2>&1) ||
    fail empty "" "containerd could not be stopped: $output"
  # The part `setup` sets the path to a constant.
  # shellcheck disable=SC2115
  output=$(rm -rf -- "$store"/* 2>&1) ||
    fail empty "" "the volume could not be emptied: $(last_line <<<"$output")"
  output=$(on_host systemctl start containerd 2>&1) ||
    fail empty "" "containerd could not be started: $output"
}
