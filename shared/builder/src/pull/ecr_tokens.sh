# This part asks ECR for passwords, as the instance's role, and fills ecr_passwords.
# It expects instance_metadata and ecr_passwords.

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
