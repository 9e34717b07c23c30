#!/bin/sh
# Installs the Debian packages that tests, demo and bench need and that are missing; the packages named as arguments too.
# Quiet where nothing is missing. The package itself has its dependencies elsewhere: these are for development.
set -eu

packages="
    acl attr build-essential btrfs-progs ca-certificates e2fsprogs fdisk fish git kmod mariadb-client mariadb-server
    mount openssl php-cli php-mbstring php-mysql php-pgsql php-xml postgresql postgresql-client procps rsync shellcheck strace
    util-linux xfsprogs zsh zstd
"

missing=
for package in $packages "$@"; do
    dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed ||
        missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
    echo "these packages are missing, and installing them needs root:$missing" >&2
    exit 1
fi
echo "installing:$missing"
# Servers are started by the tests themselves; the packages' own instances are not wanted.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
    trap 'exit 1' HUP INT TERM
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # a list of words
apt-get install -y -qq --no-install-recommends $missing >/dev/null
