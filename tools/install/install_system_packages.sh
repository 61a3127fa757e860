#!/bin/bash
# Installs the Debian packages of the real builder host (containerd and what surrounds it) and of the
# build (a C compiler for aws-lc, make). None of their services is started: the tests run their own,
# in network namespaces of their own.
#
#   install_system_packages.sh [<package> ...]     other packages instead of these
set -euo pipefail

packages=(
    apache2-utils busybox-static containerd curl docker-registry faketime gcc iproute2 jq libc6-dev
    make openssl python3-venv runc skopeo util-linux xfsprogs
)
without="Without them the tests use a scripted builder host."
if [ $# -gt 0 ]; then
    packages=("$@")
    without="Without them nothing can run in containers."
fi

missing=()
for package in "${packages[@]}"; do
    state=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing+=("$package")
done
if [ "${#missing[@]}" -eq 0 ]; then
    echo "system packages: all ${#packages[@]} are installed"
    exit 0
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "system packages: not root, so these stay missing: ${missing[*]}" >&2
    echo "Run it as root: bash tools/install/install_system_packages.sh $*" >&2
    echo "$without" >&2
    exit 1
fi

# Debian starts a package's services at once; this file is how it is told not to.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
fi

echo "system packages: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
timeout 300 apt-get update -qq
timeout 900 apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
echo "system packages: installed"
