# This part reads the planned images into references and the seven arrays beside it, and finds those
# that are missing on the volume. It changes waits and missing for the parts that pull.
# It expects snapshotter, repository_list, images, order, ancestor, content and work.

# Digests arrive without the algorithm: - or 64 digits.
whole_digest() { [[ $1 == - ]] && echo - || echo "sha256:$1"; }

read_images() {
  local at repository region tag digest wait shared manifest names=() regions=()
  while read -r repository region; do names+=("$repository") regions+=("$region"); done <<<"$repository_list"
  while read -r at tag digest wait shared manifest; do
    repository=${names[$at]} digest=$(whole_digest "$digest")
    repositories+=("$repository") ecr_regions+=("${regions[$at]}") tags+=("$tag")
    digests+=("$digest") waits+=("$wait")
    shared_layers+=("$(whole_digest "$shared")") manifests+=("$(whole_digest "$manifest")")
    if [[ $tag == - ]]; then references+=("$repository@$digest"); else references+=("$repository:$tag"); fi
  done <<<"$images"
}

list_images() { # what containerd knows, and what of it is whole
  ctr images ls >"$work/listed" 2>/dev/null
  ctr images check --snapshotter "$snapshotter" >"$work/checked" 2>/dev/null
}

names_of() { # index: the names that pods ask for
  echo "${repositories[$1]}@${digests[$1]}"
  [[ ${tags[$1]} == - ]] || echo "${repositories[$1]}:${tags[$1]}"
}

is_cached() { # index: whether an image came with the volume, under all its names
  local name found=0 wanted=0
  [[ ${digests[$1]} != - ]] || return
  while read -r name; do
    wanted=$((wanted + 1))
    grep -qxF "$name ${digests[$1]}" "$work/cached" && found=$((found + 1))
  done < <(names_of "$1")
  ((found == wanted))
}

# All images on this volume were complete, so a layer that exists is also unpacked.
came_with_volume() { # layer or -
  [[ $1 != - && -e $content/blobs/sha256/${1#sha256:} ]]
}

list_missing_images() {
  local index name digest labels status unpacked
  read -ra missing <<<"$order"
  [[ $ancestor == kept ]] || return
  missing=()
  while read -r name digest labels; do
    read -r status unpacked < <(awk -v name="$name" '$1 == name { print $4, $NF }' "$work/checked")
    [[ $labels == *io.cri-containerd.image=managed* && "$status $unpacked" == "complete true" ]] &&
      echo "$name $digest"
  done < <(awk '{ print $1, $3, $NF }' "$work/listed") >"$work/cached"
  for index in $order; do
    if is_cached "$index"; then
      say "${references[$index]} is on the volume"
      echo "${digests[$index]}" >"$work/$index.digest"
    else
      missing+=("$index")
      came_with_volume "${shared_layers[$index]}" && waits[index]=-
    fi
  done
}
