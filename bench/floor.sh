# The least that has to be done for a set of images: download, hash, decompress and unpack every
# distinct layer, some at a time, and flush. Runs on a builder's host; what containerd does beside
# that (metadata, diff ids of unpacked layers, manifests) is left out.
#
# It expects decompress, registry, password, parallel and layers. The first is a program that writes to
# standard output, `parallel` says how many layers at a time, and `layers` is "repository digest" a
# line, largest first.
set -euo pipefail
into=/local/floor
mkdir -p $into

take_layer() { # repository, digest
    local blob=$into/${2#sha256:} actual
    mkdir "$blob.files"
    mkfifo "$blob.pipe"
    sha256sum <"$blob.pipe" >"$blob.sum" &
    curl --silent --show-error --fail --max-time 600 --user "AWS:$password" \
        "https://$registry/v2/$1/blobs/$2" |
        tee "$blob" "$blob.pipe" |
        $decompress | tar --extract --directory "$blob.files"
    wait $!
    actual=$(cut -d ' ' -f 1 "$blob.sum")
    if [ "sha256:$actual" != "$2" ]; then
        echo "layer $2 has other bytes: $actual" >&2
        exit 1
    fi
}

export -f take_layer
export into decompress registry password
# The shell that xargs starts expands them.
# shellcheck disable=SC2016
xargs -P "$parallel" -L 1 bash -euo pipefail -c 'take_layer "$0" "$1"' <<<"$layers"
sync -f /local
# The names are digests.
# shellcheck disable=SC2010
ls $into | grep -c '\.files$'
