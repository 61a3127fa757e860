#!/bin/bash
# Unpacks Debian's containerd of three series below a directory, without installing anything:
#
#   fetch_containerd.sh <directory>     makes <directory>/containerd-{1.6,1.7,2.1}/{bin,lib,version}
#
# With each comes the decompressor that Bottlerocket's containerd of that series would run on
# x86_64: igzip for 2.1, and unpigz for the others (Bottlerocket patches igzip into 1.7 as well,
# Debian does not). runc stays the machine's. apt checks Debian's signatures.
set -euo pipefail

mkdir -p "$1"
directory=$(realpath "$1")
state=$directory/apt-of-containerd
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
mirror=http://deb.debian.org/debian

apt_options=(
    -o "Dir::Etc::sourcelist=$state/sources.list" -o Dir::Etc::sourceparts=-
    -o "Dir::State::lists=$state/lists" -o "Dir::State::status=$state/status"
    -o "Dir::Cache=$state/cache" -o APT::Sandbox::User=root -o Acquire::Languages=none
    -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false -o Acquire::Retries=3
    -o Acquire::http::Timeout=30
)

read_package_lists() {
    mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
    : >"$state/status"
    for suite in bookworm trixie sid; do
        echo "deb [signed-by=$keyring] $mirror $suite main"
    done >"$state/sources.list"
    timeout 300 apt-get -qq "${apt_options[@]}" update
}

# The version itself or, when Debian has moved on, the newest that starts with the series.
available() { # package, version, series
    local versions newest
    versions=$(apt-cache "${apt_options[@]}" madison "$1" | awk '{ print $3 }')
    if grep -qxF "$2" <<<"$versions"; then
        echo "$2"
        return
    fi
    newest=$(awk -v series="$3" 'index($0, series) == 1' <<<"$versions" | sort -rV | head -n 1)
    if [ -z "$newest" ]; then
        echo "$1: Debian has no version $3 any more" >&2
        return 1
    fi
    echo "$1: Debian no longer has $2; taking $newest" >&2
    echo "$newest"
}

unpack() { # package, version, series, directory
    local version
    version=$(available "$1" "$2" "$3")
    (cd "$state" && timeout 600 apt-get -qq "${apt_options[@]}" download "$1=$version")
    rm -rf "$4"
    dpkg-deb -x "$state/$1"_*.deb "$4"
    rm "$state/$1"_*.deb
    echo "$version" >"$4/version"
}

take_containerd() { # series, version
    local into=$directory/containerd-$1 from=$state/containerd
    unpack containerd "$2" "$1." "$from"
    rm -rf "$into"
    mkdir -p "$into/bin" "$into/lib"
    cp "$from"/usr/bin/{containerd,containerd-shim-runc-v2,ctr} "$into/bin/"
    cp "$from/version" "$into/version"
}

take_unpigz() { # series
    unpack pigz 2.8-1 2. "$state/pigz"
    cp "$state"/pigz/usr/bin/unpigz "$directory/containerd-$1/bin/"
}

# Its library is beside it, wherever the directory is seen from.
take_igzip() { # series
    local into=$directory/containerd-$1
    unpack isal 2.31.1-1.1 2. "$state/isal"
    unpack libisal2 2.31.1-1.1 2. "$state/libisal2"
    cp "$state"/libisal2/usr/lib/*/libisal.so.2* "$into/lib/"
    cp "$state/isal/usr/bin/igzip" "$into/lib/igzip"
    cat >"$into/bin/igzip" <<'WRAPPER'
#!/bin/sh
lib=${0%/bin/*}/lib
LD_LIBRARY_PATH=$lib exec "$lib/igzip" "$@"
WRAPPER
    chmod +x "$into/bin/igzip"
}

trap 'rm -rf "$state"' EXIT
read_package_lists
take_containerd 1.6 '1.6.20~ds1-1+deb12u3'
take_containerd 1.7 '1.7.24~ds1-6+deb13u1'
take_containerd 2.1 '2.1.9+ds1-5'
take_unpigz 1.6
take_unpigz 1.7
take_igzip 2.1
for series in 1.6 1.7 2.1; do
    bin=$directory/containerd-$series/bin
    "$bin/containerd" --version >/dev/null
    echo "containerd-$series: $(cat "$directory/containerd-$series/version")"
done
echo | gzip | "$directory/containerd-2.1/bin/igzip" -dc >/dev/null
echo | gzip | "$directory/containerd-1.7/bin/unpigz" -c >/dev/null
