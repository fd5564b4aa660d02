#!/bin/sh
# Does what README.md says on a bare Debian, which has Python, make and git and nothing else. Needs root and debootstrap:
#   tests/bare_machine.sh bookworm demo check test
set -eu
release=$1
shift
checkout=$(cd "$(dirname "$0")/.." && pwd)
root=$(mktemp -d "${TMPDIR:-/tmp}/bare-$release.XXXXXX")
leave() {
    umount --recursive "$root/dev" "$root/proc" 2>/dev/null || true
    mountpoint --quiet "$root/dev" || rm -rf "$root"
}
trap leave EXIT
trap 'exit 130' INT TERM

debootstrap --variant=minbase --include=python3,python3-venv,make,git,ca-certificates "$release" "$root" >"$root.log" || {
    tail "$root.log"
    exit 1
}
rm "$root.log"
mount -t proc proc "$root/proc"
mount --rbind --make-rslave /dev "$root/dev"
# The machine's way to the package registries: names, certificates, and the variables that say where and how.
for file in /etc/resolv.conf /etc/hosts /etc/pip.conf /etc/ssl/certs/ca-certificates.crt; do
    test ! -e "$file" || cp --dereference "$file" "$root$file"
done
variables=$(env | grep -E '^(PIP_|UV_|SSL_CERT_|[A-Z]+_CA_BUNDLE|(https?|no|HTTPS?|NO)_(proxy|PROXY))[A-Za-z_]*=' || true)
git -c safe.directory='*' clone --quiet "$checkout" "$root/bridge"
for target; do
    echo "make $target on $release"
    # shellcheck disable=SC2086 # one variable a word
    chroot "$root" env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin $variables make -C /bridge "$target"
done
