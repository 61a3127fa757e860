# This part ends the script with a report of a failure, and writes the log.
# It expects ecr_passwords.

fail() { # step, image or "", reason
  local reason=${3:0:600} password
  for password in "${ecr_passwords[@]}"; do reason=${reason//"$password"/***}; done
  jq -cn --arg step "$1" --arg image "$2" --arg reason "$reason" \
    '{outcome: "failed", step: $step, image: $image, reason: $reason}'
  exit 1
}

say() { echo "$SECONDS s: $*" >&2; }
