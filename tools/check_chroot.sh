#!/bin/sh
# A fresh clone in an empty Debian 12: what the README's first screen does on a new machine.
#
#   check_chroot.sh [MAKE-TARGET...]     default: run test
#
# Needs root and debootstrap. Mirror, proxy and keys are those of this machine's own apt. Only what
# is committed is cloned. The folder is removed at the end; KEEP=1 leaves it.
set -eu
source=$(cd "$(dirname "$0")/.." && pwd)
[ $# -gt 0 ] || set -- run test
root=$(mktemp -d "${TMPDIR:-/tmp}/rwkv-chroot.XXXXXX")

cleanup() {
    umount "$root/proc" 2>/dev/null || true
    if [ -n "${KEEP:-}" ]; then
        echo "kept: $root"
    else
        rm -rf --one-file-system "$root"
    fi
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# shellcheck disable=SC2016 # a format of apt-get, not of the shell
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Codename: bookworm' 'Created-By: Packages' |
    head -n 1)
proxy=$(apt-config dump --format '%v' Acquire::http::Proxy)
[ -z "$proxy" ] || export http_proxy="$proxy"

debootstrap --variant=minbase bookworm "$root" "$mirror" >"$root.log" 2>&1 || {
    tail -n 20 "$root.log"
    exit 1
}
rm -f "$root.log" "$root/etc/apt/sources.list"
chmod 755 "$root"
for part in sources.list sources.list.d apt.conf.d auth.conf.d keyrings preferences.d; do
    [ ! -e "/etc/apt/$part" ] || cp -rL "/etc/apt/$part" "$root/etc/apt/"
done
cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
mount -t proc proc "$root/proc"
git clone --quiet --no-local "$source" "$root/root/rwkv.c"

in_chroot() {
    chroot "$root" env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \
        DEBIAN_FRONTEND=noninteractive sh -ec "cd /root/rwkv.c && $1"
}
in_chroot 'apt-get update -q && apt-get install -y -q git make'
for target in "$@"; do
    echo "=== make $target"
    start=$(date +%s)
    in_chroot "make $target"
    echo "=== make $target: done in $(($(date +%s) - start)) s"
done
