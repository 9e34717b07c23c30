#!/bin/sh
# The package as Debian's own tools try it: piuparts installs, removes and purges it in an empty system and looks for what
# it leaves; autopkgtest runs debian/tests in one. policy.sh PACKAGE
set -eu
package=$(readlink -f "$1")
cache=${XDG_CACHE_HOME:-$HOME/.cache}/moodle-backup-tests/roots
suite=bookworm
base=$cache/$suite-base-1.tar.gz
here=$(dirname "$(readlink -f "$0")")
scratch=$(mktemp -d)
trap 'umount -l "$scratch/root/proc" "$scratch/root/dev/pts" 2>/dev/null || true; rm -rf --one-file-system "$scratch"' EXIT
trap 'exit 1' HUP INT TERM

if [ ! -e "$base" ]; then
    echo "making a base system of Debian in $base"
    mkdir -p "$cache"
    mmdebstrap --quiet --variant=minbase --include=adduser,dpkg-dev $suite "$base.new.tar.gz"
    mv "$base.new.tar.gz" "$base"
fi

echo piuparts
piuparts --basetgz "$base" --distribution $suite --no-upgrade-test --log-file "$scratch/log" "$package" >/dev/null 2>&1 || {
    grep -E "ERROR|FAIL|WARN" "$scratch/log"
    exit 1
}

echo autopkgtest
mkdir -p "$scratch/source/debian" "$scratch/root"
cp -r "$here/../../debian/tests" "$here/../../debian/changelog" "$here/../../debian/copyright" "$scratch/source/debian/"
# What a source package has, and this one has not: its names.
cat >"$scratch/source/debian/control" <<CONTROL
Source: moodle-backup
Maintainer: $(dpkg-deb --field "$package" Maintainer)

Package: moodle-backup
Architecture: any
Description: $(dpkg-deb --field "$package" Description | head -1)
CONTROL
tar -xzf "$base" -C "$scratch/root"
mount -t proc proc "$scratch/root/proc"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$scratch/root/dev/pts"
ln -sf pts/ptmx "$scratch/root/dev/ptmx"
# autopkgtest wants it, and piuparts would find what it leaves: so only here.
chroot "$scratch/root" sh -c 'apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y apt-utils' \
    >"$scratch/log" 2>&1 || {
    tail -20 "$scratch/log"
    exit 1
}
autopkgtest --quiet "$package" "$scratch/source/" -- chroot "$scratch/root" >"$scratch/log" 2>&1 || {
    tail -40 "$scratch/log"
    exit 1
}
