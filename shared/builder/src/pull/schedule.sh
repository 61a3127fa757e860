# This part pulls all missing images, some at a time and each when it is due. It fills digests.
# It expects containerd_major, limit_seconds, missing, started, waits, manifests and work.

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
