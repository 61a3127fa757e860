# This part checks that every planned image is whole: names, platform, layers and blobs.
# It expects architecture, content, references, digests and work.

# `images check --quiet` would also list an image whose unpacking failed.
check_name() { # image, name, digest
  local listed checked
  listed=$(awk -v name="$2" '$1 == name { print $3, $6 }' "$work/listed")
  [[ ${listed%% *} == "$3" ]] ||
    fail check "$1" "$2 has digest ${listed%% *}, planned was $3"
  # The pull of an image without an index succeeds even if it is for another platform.
  [[ ",${listed#* }," == *",linux/$architecture"[,/]* ]] ||
    fail platform "$1" "it is for ${listed#* }, the builder is linux/$architecture"
  checked=$(awk -v name="$2" '$1 == name { print $4, $NF }' "$work/checked")
  [[ $checked == "complete true" ]] ||
    fail check "$1" "$2 is not complete and unpacked (${checked:-unknown to containerd})"
}

check_images() {
  local index name
  list_images
  for index in "${!references[@]}"; do
    while read -r name; do
      check_name "${references[$index]}" "$name" "${digests[$index]}"
    done < <(names_of "$index")
  done
  check_blobs || exit 1
}

# For `images check` a blob is complete when its file exists, however short. It reports missing
# blobs; those of other platforms are not needed.
check_blobs() (
  cd "$content/blobs" 2>/dev/null || fail store "" "$content/blobs is missing"
  manifests=()
  declare -A size_of=() image_of=()
  while read -r blob size; do size_of[$blob]=$size; done < <(stat --format='%n %s' -- */*)
  for index in "${!references[@]}"; do
    blob=${digests[$index]/://}
    [[ -z ${image_of[$blob]-} ]] || continue
    image_of[$blob]=${references[$index]}
    manifests+=("$blob")
  done
  # No descriptor gives the size of these blobs, so check their digests.
  output=$(printf '%s\n' "${manifests[@]}" | sed 's|.*/\(.*\)|\1  &|' | sha256sum --check --quiet 2>/dev/null) ||
    fail check "${image_of[${output%%:*}]}" "the blob ${output%%:*} is not what its digest says"
  while ((${#manifests[@]} > 0)); do
    output=$(jq -r '((.manifests[]? | .kind = "manifest"), .config?, .layers[]?) | select(.digest)
      | "\(input_filename) \(.digest | sub(":"; "/")) \(.size // 0) \(.kind)"' "${manifests[@]}" 2>&1) ||
      fail check "${references[*]}" "a manifest of one of them cannot be read: $(last_line <<<"$output")"
    manifests=()
    while read -r parent blob size kind; do
      [[ -n $blob && -n ${size_of[$blob]-} && -z ${image_of[$blob]-} ]] || continue
      image_of[$blob]=${image_of[$parent]}
      [[ $size == 0 || $size == "${size_of[$blob]}" ]] ||
        fail check "${image_of[$blob]}" "the blob $blob has ${size_of[$blob]} bytes and should have $size"
      [[ $kind != manifest ]] || manifests+=("$blob")
    done <<<"$output"
  done
)
