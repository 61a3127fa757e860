# Runs in Bottlerocket's admin container as root. This file is the same for every build; the
# assignments before it come from checked types.
#
# stdout carries one line of JSON, the report, and nothing else. stderr is a log in /run, which the
# caller shows when the build fails. Every error ends in `fail`, so that no snapshot is made of half
# a cache.
# "$1" is the path of the SSM agent's copy of this command; it contains the command's id.
#
# script.rs removes comments, blank lines and indentation before it sends this file. The code
# contains no backtick, since a backtick ends the transfer.

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

fail() { # step, image or "", reason
  local reason=${3:0:600} password
  for password in "${ecr_passwords[@]}"; do reason=${reason//"$password"/***}; done
  jq -cn --arg step "$1" --arg image "$2" --arg reason "$reason" \
    '{outcome: "failed", step: $step, image: $image, reason: $reason}'
  exit 1
}

say() { echo "$SECONDS s: $*" >&2; }

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

metadata() {
  curl --silent --show-error --fail --max-time 10 \
    --header "X-aws-ec2-metadata-token: $metadata_token" "$instance_metadata/$1"
}

# Signs as the instance role. Key and token go through curl's standard input, since the process list
# shows arguments.
request_ecr_token() { # region, domain, credentials (JSON)
  jq -r '"user = \"\(.AccessKeyId):\(.SecretAccessKey)\"",
         "header = \"X-Amz-Security-Token: \(.Token)\""' <<<"$3" |
    curl --config - --silent --show-error --fail-with-body --max-time 30 --retry 3 \
      --aws-sigv4 "aws:amz:$1:ecr" \
      --header 'Content-Type: application/x-amz-json-1.1' \
      --header 'X-Amz-Target: AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken' \
      --data '{}' "https://api.ecr.$1.$2/" 2>&1
}

log_in_to_ecr() { # image, region, domain: fills ecr_passwords[region]
  [[ -n ${ecr_passwords[$2]-} ]] && return
  local metadata_token role credentials answer password
  metadata_token=$(curl --silent --show-error --fail --max-time 10 --request PUT \
    --header 'X-aws-ec2-metadata-token-ttl-seconds: 300' "$instance_metadata/api/token" 2>&1) ||
    fail token "$1" "the instance metadata service gave no session token: $metadata_token"
  role=$(metadata meta-data/iam/security-credentials/ 2>&1) ||
    fail token "$1" "the instance has no role: $role"
  credentials=$(metadata "meta-data/iam/security-credentials/$role" 2>&1) ||
    fail token "$1" "the instance role gave no credentials"
  answer=$(request_ecr_token "$2" "$3" "$credentials") ||
    fail token "$1" "ECR in $2 gave no authorization token: $(last_line <<<"$answer")"
  password=$(jq -r '.authorizationData[0].authorizationToken // ""' <<<"$answer" | base64 -d)
  [[ -n ${password#AWS:} ]] || fail token "$1" "ECR in $2 answered without an authorization token"
  ecr_passwords[$2]=${password#AWS:}
}

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

log_in() { # prints region and password, or a failure
  local index region domain
  for index in "${!references[@]}"; do
    region=${ecr_regions[$index]}
    [[ $region == - ]] && continue
    domain=${repositories[$index]#*".dkr.ecr.$region."}
    log_in_to_ecr "${references[$index]}" "$region" "${domain%%/*}"
  done
  for region in "${!ecr_passwords[@]}"; do echo "$region ${ecr_passwords[$region]}"; done
}

# Runs while the ancestor is checked. Uses a pipe, as a file could end up in the snapshot.
start_log_in() { exec 7< <(log_in); }

# A registry may be out of reach if none of its images is missing.
finish_log_in() {
  local index region password failure=
  while read -r region password <&7; do
    if [[ $region == "{"* ]]; then failure="$region $password"; else ecr_passwords[$region]=$password; fi
  done
  exec 7<&-
  for index in "${missing[@]}"; do
    region=${ecr_regions[$index]}
    [[ $region == - || -n ${ecr_passwords[$region]-} ]] && continue
    echo "$failure"
    exit 1
  done
}

# containerd 2.x unpacks a layer once, however many pulls need it. With 1.x each pull unpacks every
# layer itself: an image waits until the one with which it shares most is unpacked, and an image
# with unknown layers waits until no other pull runs.
is_due() { # index
  ((containerd_major >= 2)) && return
  [[ -z $alone ]] || return
  case ${waits[$1]} in
    -) return 0 ;;
    alone) ((${#jobs[@]} == 0)) ;;
    *) [[ -e $work/${waits[$1]}.digest ]] ;;
  esac
}

start_fetches() {
  local index
  ((containerd_major >= 2)) || return
  for index in "${missing[@]}"; do
    ((${#fetches[@]} < lanes)) || return
    [[ ${waits[$index]} =~ ^[0-9]+$ && ${manifests[$index]} != - ]] || continue
    [[ -e $work/${waits[$index]}.digest ]] && continue
    start_job fetch_ahead "$index"
    fetches[index]=$!
  done
}

stop_fetch() { # index
  [[ -z ${fetches[$1]-} ]] || stop_jobs "${fetches[$1]}"
  unset "fetches[$1]"
}

start_due_images() {
  local index
  for index in "${missing[@]}"; do
    ((${#jobs[@]} < lanes)) || return
    [[ -n ${started[$index]-} ]] && continue
    is_due "$index" || continue
    started[index]=yes
    [[ ${waits[$index]} == alone ]] && alone=$index
    start_job run_image_job "$index"
    jobs[index]=$!
  done
}

# Uses a process group of its own, which can be killed as a whole.
start_job() {
  set -m
  "$@" &
  set +m
}

stop_jobs() { # process groups
  local job
  for job in "$@"; do kill -KILL -- "-$job" 2>/dev/null; done
  wait "$@" 2>/dev/null
}

run_image_job() { # index
  trap 'echo "'"$1"' $?" >&8' EXIT
  take_image "$1" >"$work/$1.failure"
}

# Flushes during the pulls, so that the last flush takes less time.
flush_alongside() {
  while sleep 1; do on_host sync -f /local 2>/dev/null; done
}

pull_images() {
  local index status flusher alone='' lanes=$(($(nproc) * 2)) jobs=() fetches=()
  ((lanes > 4)) || lanes=4
  mkfifo "$work/ended"
  exec 8<>"$work/ended"
  start_job flush_alongside
  flusher=$!
  start_due_images
  start_fetches
  while ((${#jobs[@]} > 0)); do
    # Each pull has the same limit and reports its image, so give it time to end first.
    if ! read -r -t "$(($(seconds_left) + 5))" -u 8 index status; then
      stop_jobs "$flusher" "${jobs[@]}" "${fetches[@]}"
      fail time "" "${#jobs[@]} images were not pulled within $limit_seconds seconds"
    fi
    if ((status != 0)); then
      stop_jobs "$flusher" "${jobs[@]}" "${fetches[@]}"
      cat "$work/$index.failure"
      exit 1
    fi
    unset "jobs[$index]"
    stop_fetch "$index"
    [[ $alone == "$index" ]] && alone=''
    digests[index]=$(<"$work/$index.digest")
    start_due_images
  done
  stop_jobs "$flusher"
}

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
  output=$(rm -rf -- "$store"/* 2>&1) ||
    fail empty "" "the volume could not be emptied: $(last_line <<<"$output")"
  output=$(on_host systemctl start containerd 2>&1) ||
    fail empty "" "containerd could not be started: $output"
}

# Stops what would write at shutdown: the journal, the clock's drift, the random seed. The shutdown
# does not stop a stopped service again.
hush_host() {
  local output
  output=$(on_host journalctl --relinquish-var 2>&1) || fail scrub "" "the journal could not be closed: $output"
  output=$(on_host systemctl stop chronyd.service systemd-random-seed.service 2>&1) ||
    fail scrub "" "chronyd and systemd-random-seed could not be stopped: $output"
}

# Host paths with the identity of this instance: its logs, keys, leases and state. Every node
# creates its own.
identity=(/var/log /var/lib/kubelet /var/lib/chrony /var/lib/cni /var/lib/netdog /var/lib/systemd
  /local/host-containers/admin /local/bootstrap-containers)
# In use until the shutdown; containerd's directory contains an id of its own.
in_use=(/local/host-containers /var/lib/host-containerd "$retired" /var/tmp
  /var/lib/containerd/io.containerd.grpc.v1.introspection)

# The SSM agent needs its files of this command until it has reported the end, and the host
# containers need their files. So a systemd unit removes the rest when it is stopped: at shutdown,
# after the units in its Before=, and while the volume is mounted. The host has no shell, and its
# default limit for a stop is 10 s (core-kit, packages/release). Since core-kit 10.0.0, which is in
# every release that a builder may have, a service may delete what containerd created
# (packages/selinux-policy, cache_t).
set_last_scrub() {
  local output
  on_host systemctl --quiet is-active frontload-scrub.service && return
  output=$(on_host systemd-run --quiet --unit=frontload-scrub --property=Type=oneshot \
    --property=RemainAfterExit=yes --property=DefaultDependencies=no \
    --property=Conflicts=shutdown.target --property=TimeoutStopSec=60 \
    --property="RequiresMountsFor=/local /var" \
    --property="Before=shutdown.target host-containers@admin.service host-containers@control.service host-containerd.service containerd.service kubelet.service chronyd.service systemd-random-seed.service systemd-journal-flush.service systemd-networkd.service" \
    --property="ExecStop=-/usr/bin/find ${identity[*]} ${in_use[*]} -xdev -mindepth 1 -delete" \
    /usr/bin/true 2>&1) ||
    fail scrub "" "what the running builder needs could not be marked for removal: $output"
}

# Removes the traces of this instance and of its work; see also `set_last_scrub`.
scrub() { # path of the SSM agent's copy of this command
  local command_id=${1#*/orchestration/} instance=${1%%/document/*} agent=$host/local/host-containers/control/ssm
  local directory file
  command_id=${command_id%%/*} instance=${instance##*/}
  shopt -s globstar nullglob dotglob
  for directory in "${identity[@]}"; do
    rm -rf -- "$host$directory"/* || fail scrub "" "$directory could not be emptied"
  done
  # Vault contains the registration key; an agent of another instance would register with it. Nobody
  # should have written the two TOML files, but every node would read settings from them.
  rm -rf -- "$host"/local/{frontload-*,user-data-*.toml} "$agent"/Vault ||
    fail scrub "" "$agent/Vault could not be removed"
  for directory in "$agent"/i-*; do
    # Left by the builder of the snapshot that this volume was created from.
    [[ -z $instance || ${directory##*/} == "$instance" ]] || rm -rf -- "$directory" ||
      fail scrub "" "$directory could not be removed"
  done
  for file in "$agent"/*/document/**/*; do
    [[ -f $file && "$file/" != *"/$command_id/"* ]] || continue
    rm -f -- "$file" || fail scrub "" "$file could not be removed"
  done
}

# A node that finds the record of a host container starts the builder's container instead of its own
# (bottlerocket-core-kit, sources/host-ctr). host-ctr deletes the record after an orderly stop;
# under another name nobody finds it in any case. It is renamed and not deleted, since both
# containers run, also when this command runs a second time.
retire_host_containers() {
  [[ ! -e $host$retired/host-containerd || -e $host/var/lib/host-containerd ]] || return 0
  rm -rf -- "$host$retired" && mkdir -p -- "$host$retired" &&
    mv -- "$host/var/lib/host-containerd" "$host$retired/" ||
    fail scrub "" "/var/lib/host-containerd could not be renamed"
}

# Without this a snapshot contains every file name but no file content, and nothing in containerd
# notices.
flush() {
  local output
  output=$(on_host sync -f /local 2>&1) || fail flush "" "sync of /local failed: $output"
}

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
