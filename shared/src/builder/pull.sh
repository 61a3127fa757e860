# Runs in Bottlerocket's admin container, as root. What follows here is the same
# for every build; the assignments above it come from checked types.
#
# stdout is one line of JSON, for a machine; stderr is for a person. Whatever
# goes wrong ends in `fail`, so that no snapshot is made of half a cache.
# "$1" is the path of the SSM agent's copy of this command: it holds the
# command's id.

set -uo pipefail

containerd_socket=/run/containerd/containerd.sock
host=/.bottlerocket/rootfs
instance_metadata=http://169.254.169.254/latest
declare -A ecr_passwords=()
pulled='[]'

fail() { # step, image or "", reason
  local reason=${3:0:600} password
  for password in "${ecr_passwords[@]}"; do reason=${reason//"$password"/***}; done
  jq -cn --arg step "$1" --arg image "$2" --arg reason "$reason" \
    '{outcome: "failed", step: $step, image: $image, reason: $reason}'
  exit 1
}

say() { echo "$SECONDS s: $*" >&2; }

seconds_left() { echo $((limit_seconds > SECONDS ? limit_seconds - SECONDS : 1)); }

on_host() { timeout --kill-after=5 "$(seconds_left)" sheltie "$@"; }

# ctr 2.x takes flags only before the image reference (bottlerocket#4707).
ctr() { on_host ctr --address "$containerd_socket" --namespace k8s.io "$@"; }

last_line() { tail -c 4000 | tr '\r' '\n' | sed '/^[[:space:]]*$/d' | tail -n 1; }

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

# Signs as the instance role. Key and token go through curl's standard input:
# an argument would show in the process list.
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

# What a registry or a volume would say again the next time.
is_final() { # the last line of ctr
  [[ $1 == *"no space left on device"* || $1 == *": not found" ||
    $1 == *"401 Unauthorized"* || $1 == *"403 Forbidden"* ]]
}

pull_image() { # image, name to pull, ECR region or -
  local output attempt status credentials=()
  [[ $3 != - ]] && credentials=(--user "AWS:${ecr_passwords[$3]}")
  for attempt in 1 2 3; do
    output=$(ctr images pull --platform "linux/$architecture" --snapshotter "$snapshotter" \
      --label io.cri-containerd.image=managed "${credentials[@]}" "$2" 2>&1 >/dev/null | last_line)
    status=$?
    ((status == 0)) && return
    ((status == 124 || status == 137)) && fail time "$1" "not pulled within $limit_seconds seconds"
    say "attempt $attempt: $output"
    is_final "$output" && break
    ((attempt < 3)) && sleep "$attempt"
  done
  fail pull "$1" "$output"
}

digest_of() { # image name: the digest that containerd knows it by
  awk -v name="$1" '$1 == name { print $3 }' <<<"$(ctr images ls 2>/dev/null)"
}

# Pods find an image by exactly the name they ask for: the tag and the digest
# each need a record, and CRI sees only labelled ones.
name_image() { # image, existing name, further name
  local output
  output=$(ctr images tag --force "$2" "$3" 2>&1 &&
    ctr images label "$3" io.cri-containerd.image=managed 2>&1) ||
    fail name "$1" "$3 could not be recorded: $(last_line <<<"$output")"
}

take_image() { # image, repository, tag or -, digest or -, ECR region or -
  local domain digest=$4 started=$SECONDS
  if [[ $5 != - ]]; then
    domain=${2#*".dkr.ecr.$5."}
    log_in_to_ecr "$1" "$5" "${domain%%/*}"
  fi
  if [[ $digest == - ]]; then
    pull_image "$1" "$2:$3" "$5"
    digest=$(digest_of "$2:$3")
    [[ $digest == sha256:* ]] || fail check "$1" "containerd does not know it after the pull"
    name_image "$1" "$2:$3" "$2@$digest"
  else
    pull_image "$1" "$2@$digest" "$5"
    [[ $3 == - ]] || name_image "$1" "$2@$digest" "$2:$3"
  fi
  pulled=$(jq -c --arg reference "$1" --arg digest "$digest" \
    '. + [{reference: $reference, digest: $digest}]' <<<"$pulled")
  say "pulled $1 in $((SECONDS - started)) s"
}

# `images check --quiet` would also list an image whose unpacking failed.
check_name() { # image, name, digest
  local listed checked
  listed=$(ctr images ls "name==\"$2\"" 2>/dev/null | awk -v name="$2" '$1 == name { print $3, $6 }')
  [[ ${listed%% *} == "$3" ]] ||
    fail check "$1" "$2 has digest ${listed%% *}, planned was $3"
  # Pulling an image without an index for another platform succeeds.
  [[ ",${listed#* }," == *",linux/$architecture"[,/]* ]] ||
    fail platform "$1" "it is for ${listed#* }, the builder is linux/$architecture"
  checked=$(ctr images check --snapshotter "$snapshotter" "name==\"$2\"" 2>/dev/null |
    awk -v name="$2" '$1 == name { print $4, $NF }')
  [[ $checked == "complete true" ]] ||
    fail check "$1" "$2 is not complete and unpacked (${checked:-unknown to containerd})"
}

check_images() {
  local reference repository tag digest _
  while read -r reference repository tag _; do
    digest=$(jq -r --arg reference "$reference" \
      '.[] | select(.reference == $reference).digest' <<<"$pulled")
    check_name "$reference" "$repository@$digest" "$digest"
    [[ $tag == - ]] || check_name "$reference" "$repository:$tag" "$digest"
  done <<<"$images"
}

# Keeps what was planned and what Bottlerocket itself imports (its pause image).
remove_other_images() {
  local name digest _
  while read -r name _ digest _; do
    [[ $name == REF || $name == localhost/* ]] && continue
    jq -e --arg digest "$digest" 'any(.digest == $digest)' <<<"$pulled" >/dev/null && continue
    say "removing $name, which is not planned"
    ctr images rm --sync "$name" >/dev/null 2>&1 || fail prune "$name" "it could not be removed"
  done < <(ctr images ls 2>/dev/null)
}

# What the SSM agent keeps of earlier commands, and logs. The files of the
# running command stay: the agent reads this script's output from them.
scrub() { # path of the SSM agent's copy of this command
  local command_id=${1#*/orchestration/} file
  command_id=${command_id%%/*}
  shopt -s globstar nullglob dotglob
  for file in "$host"/local/host-containers/control/ssm/*/document/**/* "$host"/local/var/log/**/*; do
    [[ -f $file && "$file/" != *"/$command_id/"* ]] || continue
    rm -f -- "$file" || fail scrub "" "$file could not be removed"
  done
}

# Without this a snapshot holds every file name and no file content, and nothing
# in containerd notices.
flush() {
  local output
  output=$(on_host sync -f /local 2>&1) || fail flush "" "sync of /local failed: $output"
}

exec 9>/run/frontload.lock
flock --wait "$limit_seconds" 9 || fail time "" "another run of this command did not end"
mask_kubelet
containerd=$(on_host containerd --version 2>/dev/null | awk '{ print $3 }')
count=0
while read -r reference repository tag digest region <&3; do
  count=$((count + 1))
  say "image $count: $reference"
  take_image "$reference" "$repository" "$tag" "$digest" "$region"
done 3<<<"$images"
remove_other_images
check_images
scrub "${1-}"
flush
used_bytes=$(on_host df --block-size=1 --output=used /local 2>/dev/null | tail -n 1)
jq -cn --arg containerd "${containerd#v}" --argjson images "$pulled" --argjson used "${used_bytes:-0}" \
  '{outcome: "pulled", containerd: $containerd, images: $images, flushed: true, usedBytes: $used}'
