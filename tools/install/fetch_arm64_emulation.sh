#!/bin/bash
# Unpacks what runs arm64 programs on another processor below a directory, without installing or
# registering anything: Debian's qemu-user-static, and arm64's C library.
#
#   fetch_arm64_emulation.sh <directory>     makes <directory>/arm64/{qemu-aarch64,root,version}
#
# Which version is up to this machine's Debian; apt checks its signatures.
set -euo pipefail

mkdir -p "$1"
directory=$(realpath "$1")
state=$directory/apt-of-arm64
packages=(qemu-user-static libc6-arm64-cross libgcc-s1-arm64-cross)

download() {
    (cd "$state" && timeout 600 apt-get -qq -o APT::Sandbox::User=root -o Acquire::Retries=3 \
        -o Acquire::http::Timeout=30 download "${packages[@]}")
}

command -v apt-get >/dev/null || { echo "arm64 emulation: needs Debian or Ubuntu" >&2; exit 1; }
trap 'rm -rf "$state"' EXIT
rm -rf "$state" "$directory/arm64"
mkdir -p "$state/unpacked" "$directory/arm64"
# Only root can read the lists anew, where none or old ones are there.
download || { [ "$(id -u)" -eq 0 ] && timeout 300 apt-get update -qq && download; }
for package in "$state"/*.deb; do dpkg-deb -x "$package" "$state/unpacked"; done
cp "$state/unpacked/usr/bin/qemu-aarch64-static" "$directory/arm64/qemu-aarch64"
cp -a "$state/unpacked/usr/aarch64-linux-gnu" "$directory/arm64/root"
"$directory/arm64/qemu-aarch64" --version | head -n 1 | tee "$directory/arm64/version"
