# This part pulls one image and gives it all its names. It expects architecture, snapshotter,
# limit_seconds, ecr_passwords, references, repositories, tags, digests, manifests, ecr_regions and
# work.

# Errors that a retry does not fix.
is_final() { # the last line of ctr
  [[ $1 == *"no space left on device"* || $1 == *": not found" ||
    $1 == *"401 Unauthorized"* || $1 == *"403 Forbidden"* ]]
}

set_credentials() { # ECR region or -
  [[ $1 == - ]] || credentials=(--user "AWS:${ecr_passwords[$1]}")
}

# Downloads the layers of an image whose pull waits for another one to unpack the shared layers:
# containerd 2.x would start to download the others only then. --all-platforms selects the only
# platform of a manifest; without a named platform ctr unpacks nothing. The pull reports the errors
# of this download. A client that needs a layer which another one is downloading waits for seconds,
# so the pulls start first.
fetch_ahead() { # index
  local credentials=()
  set_credentials "${ecr_regions[$1]}"
  sleep 0.5
  ctr images pull --all-platforms --label io.cri-containerd.image=managed \
    "${credentials[@]}" "${repositories[$1]}@${manifests[$1]}" >/dev/null 2>&1
}

pull_image() { # image, name to pull, ECR region or -
  local output attempt status credentials=()
  set_credentials "$3"
  for attempt in 1 2 3; do
    output=$(ctr images pull --platform "linux/$architecture" --snapshotter "$snapshotter" \
      --label io.cri-containerd.image=managed "${credentials[@]}" "$2" 2>&1 >/dev/null | last_line)
    status=$?
    ((status == 0)) && return
    ((status == 124 || status == 137)) && fail time "$1" "not pulled within $limit_seconds seconds"
    say "attempt $attempt of $1: $output"
    is_final "$output" && break
    ((attempt < 3)) && sleep "$attempt"
  done
  fail pull "$1" "$output"
}

digest_of() { # image name: the digest that containerd knows it by
  awk -v name="$1" '$1 == name { print $3 }' <<<"$(ctr images ls "name==\"$1\"" 2>/dev/null)"
}

# Pods find an image only by exactly the name that they use. The tag and the digest each need a
# record, and CRI sees only labelled records.
name_image() { # image, existing name, further name
  local output
  output=$(ctr images tag --force "$2" "$3" 2>&1 &&
    ctr images label "$3" io.cri-containerd.image=managed 2>&1) ||
    fail name "$1" "$3 could not be recorded: $(last_line <<<"$output")"
}

take_image() { # index: writes the image's digest
  local image=${references[$1]} repository=${repositories[$1]} tag=${tags[$1]}
  local digest=${digests[$1]} begun=$SECONDS
  if [[ $digest == - ]]; then
    pull_image "$image" "$repository:$tag" "${ecr_regions[$1]}"
    digest=$(digest_of "$repository:$tag")
    [[ $digest == sha256:* ]] || fail check "$image" "containerd does not know it after the pull"
    name_image "$image" "$repository:$tag" "$repository@$digest"
  else
    pull_image "$image" "$repository@$digest" "${ecr_regions[$1]}"
    [[ $tag == - ]] || name_image "$image" "$repository@$digest" "$repository:$tag"
  fi
  echo "$digest" >"$work/$1.digest"
  say "pulled $image in $((SECONDS - begun)) s"
}
