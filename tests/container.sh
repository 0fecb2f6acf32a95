#!/usr/bin/env bash
# Build the image and run the demo's pipeline in it, on a machine without a Docker engine and without Docker's registry:
#
#     tests/container.sh
#
# The base image of the Dockerfile's FROM line is stood in for by Debian's own Python of the same version, which
# debootstrap puts together; buildah does the rest. Needs root, Debian with buildah and debootstrap, and some 3 GB in
# the temporary folder. Takes two to four minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
umask 022

work=$(mktemp -d --tmpdir h36m-container-XXXXXX)
user=12345:54321 # of nobody on this machine, and without a home
build() { buildah --root "$work/storage" --runroot "$work/run" --storage-driver vfs "$@"; }
finish() {
    build rm --all >/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
fail() {
    echo "container.sh: $*" >&2
    exit 1
}

from=$(sed -n 's/^FROM //p' Dockerfile)                      # python:3.13-slim-trixie
version=$(sed 's/^python:\([0-9.]*\)-.*/\1/' <<<"$from") # 3.13
suite=${from##*-}                                            # trixie

echo "a base for $from: Debian $suite"
base=$(build from scratch)
root=$(build mount "$base")
debootstrap --variant=minbase --include=python3-venv,ca-certificates "$suite" "$root" >"$work/log" ||
    { tail "$work/log" >&2 && fail "debootstrap failed"; }
# Docker's Python is in /usr/local, with a pip that may install there.
chroot "$root" "python$version" -m venv /usr/local || fail "Debian $suite has another Python than $version"
# As in Docker's, apt keeps no copies and no indices.
printf '%s "";\n' Dir::Cache::pkgcache Dir::Cache::srcpkgcache Dir::Cache::archives \
    >"$root/etc/apt/apt.conf.d/docker-clean"
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*
before=$(du -sm "$root" | cut -f1)
build commit --quiet --rm "$base" "docker.io/library/$from" >/dev/null

# What pip needs to reach its registry from here stays out of the image and of the sources.
python3 -m pip config list | sed -n -E "s/^(global|:env:)\.(index-url|proxy|trusted-host)='(.*)'$/\2 = \3/p" >"$work/keys"
certificates=$(python3 -m pip config get global.cert 2>/dev/null || echo /etc/ssl/certs/ca-certificates.crt)
printf '%s\n' "[global]" "cert = /run/certificates.crt" "$(cat "$work/keys")" >"$work/pip.conf"

echo "building"
mkdir "$work/sources"
git ls-files -z | xargs -0 cp --parents --target-directory "$work/sources"
chmod -R go= "$work/sources" # as under a strict umask: nobody but the builder may read them
build bud --quiet --isolation chroot --network host --pull=never --tag h36m-fetch \
    --volume "$work/pip.conf:/etc/pip.conf:ro" --volume "$certificates:/run/certificates.crt:ro" \
    "$work/sources" >"$work/log" 2>&1 || { tail -30 "$work/log" >&2 && fail "the image was not built"; }

image=$(build from --pull=never h36m-fetch)
root=$(build mount "$image")
echo "image: the base and $(($(du -sm "$root" | cut -f1) - before)) MB"
run() { build run --isolation chroot --network host "$@"; }
[ "$(run "$image" -- id -u)" = 1000 ] || fail "it does not run as user 1000 by default"
for tool in cc gcc c++ make conda ffmpeg; do
    ! run "$image" -- which "$tool" 2>/dev/null || fail "$tool is in the image"
done
find "$root" -type f | sort >"$work/files before"

echo "the demo, as user $user"
mkdir "$work/data"
chown "$user" "$work/data"
run --user "$user" --volume "$work/data:/data" "$image" -- python3 -m demo "/data/made up" | tee "$work/demo.log"
archives=$(find "$work/data/made up/release" -name '*.tgz' | wc -l)
[ "$(grep -c ': downloaded with axel, MD5 verified' "$work/demo.log")" = "$archives" ] ||
    fail "not all archives were downloaded"
[ -s "$work/data/made up/data/processed/S1/Walking-1/preview.jpg" ] || fail "there is no picture"
[ -z "$(find "$work/data" ! -user "${user%:*}" -print -quit)" ] || fail "not all files belong to user $user"

echo "the scripts of a checkout that is mounted over the image's, as docker-compose.yml does"
mv "$work/sources" "$work/data/checkout"
mv "$work/data/made up/data/extracted" "$work/data/checkout/"
chown -R "$user" "$work/data/checkout"
checkout() { run --user "$user" --volume "$work/data/checkout:/h36m-fetch" "$image" -- python3 "$@"; }
checkout process_all.py --subjects S1 --actions Walking-1 --every 60
[ "$(find "$work/data/checkout/processed" -name 'img_*.jpg' | wc -l)" = 8 ] || fail "expected 2 images of each of 4 views"
status=0
said=$(checkout download_all.py --subjects S5 </dev/null 2>&1) || status=$?
[ "$status" = 2 ] && grep -q config.ini <<<"$said" || fail "without config.ini: status $status and: $said"
[ ! -e "$work/data/checkout/config.ini" ] || fail "there is a config.ini now"

find "$root" -type f | sort | comm -13 "$work/files before" - | grep . >&2 && fail "the image was written to"
echo "container.sh: all is well"
