# This part removes what no planned image needs. It expects content and references.

# Removes the images that are not planned. Runs after the pulls, so that layers shared with planned
# images are not downloaded again. Bottlerocket's own image (pause) is removed, too: each node
# imports the one of its own release, and a volume with it would change with the OS.
remove_other_images() {
  local index name digest _ others=()
  local -A wanted=()
  while read -r name; do
    wanted[$name]=1 wanted[${name#*@}]=1
  done < <(for index in "${!references[@]}"; do names_of "$index"; done)
  while read -r name _ digest _; do
    [[ $name == REF || -n ${wanted[$name]-} ]] && continue
    # CRI also records each image that it sees under its configuration digest.
    [[ $name == sha256:* && -n ${wanted[$digest]-} ]] && continue
    say "removing $name, which is not planned"
    others+=("$name")
  done < <(ctr images ls 2>/dev/null)
  ((${#others[@]} == 0)) || ctr images rm "${others[@]}" >/dev/null 2>&1 ||
    fail prune "${others[0]}" "the ${#others[@]} images that are not planned could not be removed"
}

# Removes the remains of interrupted downloads, and content that belongs to no image. If a later
# start of containerd removed them, the volume would differ from its listing.
collect_garbage() {
  local leases output
  rm -rf -- "$content"/ingest/* ||
    fail prune "" "what was half downloaded could not be removed"
  ctr leases create --id frontload >/dev/null 2>&1
  read -ra leases -d '' < <(ctr leases ls -q 2>/dev/null)
  # The last deletion waits until containerd has removed unreferenced content.
  output=$(ctr leases rm --sync "${leases[@]}" 2>&1) ||
    fail prune "" "what no image holds could not be removed: $(last_line <<<"$output")"
}

# Bottlerocket's own image, which it imported at this boot, is not part of the listing. Nor are
# CRI's records by configuration digest, one of which would keep an older image.
remove_own_image() {
  local name _ own=()
  while read -r name _; do
    [[ $name != localhost/* && $name != sha256:* ]] || own+=("$name")
  done < <(ctr images ls 2>/dev/null)
  ((${#own[@]} == 0)) || ctr images rm "${own[@]}" >/dev/null 2>&1 ||
    fail prune "${own[0]}" "Bottlerocket's own image could not be removed"
}
