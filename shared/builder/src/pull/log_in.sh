# This part fills ecr_passwords for every registry that the images need, while other work goes on.
# It expects references, repositories, ecr_regions, ecr_passwords and missing.

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
