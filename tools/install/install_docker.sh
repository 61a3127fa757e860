#!/bin/bash
# Makes sure that `make sam-local` finds a Docker: the one that runs, or Debian's, installed as root
# and not started: the tests start one of their own.
set -euo pipefail
cd "$(dirname "$0")"

if timeout 20 docker version --format '{{.Server.Version}}' >/dev/null 2>&1; then
    echo "docker: the one that runs is used"
    exit 0
fi
exec bash install_system_packages.sh docker.io busybox-static ca-certificates curl
