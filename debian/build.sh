#!/bin/sh
# Builds the Debian package. One binary runs on all of Debian 11 to 13 and Ubuntu 20.04 to 24.04: it asks for no newer C
# library than 2.28, for which zig links it. The tools that are missing are installed: zig and cargo-zigbuild into a folder
# of their own, cargo-deb as cargo does.
#
# ARCH=arm64 or ARCH=amd64 builds for that architecture, on whatever machine. Rust's own library for it must be installed.
set -eu

cargo=${CARGO:-cargo}
glibc=2.28
host=$(rustc -vV | sed -n 's/^host: //p')
packages=${CARGO_TARGET_DIR:-target}/debian
case ${ARCH:-} in
'') machine=$host ;;
amd64) machine=x86_64-unknown-linux-gnu ;;
arm64) machine=aarch64-unknown-linux-gnu ;;
*)
    echo "ARCH is amd64 or arm64, not $ARCH" >&2
    exit 2
    ;;
esac
objcopy=objcopy
if [ "$machine" != "$host" ]; then
    # What is checked and tried lies in the folder above: the package of this machine.
    packages=$packages/$ARCH
    objcopy=${machine%%-*}-linux-gnu-objcopy
    if [ ! -d "$(rustc --print target-libdir --target "$machine")" ]; then
        echo "this Rust cannot build for $ARCH: its library for $machine is not installed" >&2
        echo "next: \"rustup target add $machine\" gets it; or build on a machine of that kind, where \"make deb\" does it" >&2
        exit 1
    fi
    if ! command -v "$objcopy" >/dev/null; then
        echo "this machine has no $objcopy" >&2
        echo "next: install the package binutils-$(printf %s "${machine%%-*}" | tr _ -)-linux-gnu" >&2
        exit 1
    fi
fi
tools=${XDG_CACHE_HOME:-$HOME/.cache}/moodle-backup-tests/tools

if [ ! -x "$tools/bin/cargo-zigbuild" ]; then
    echo "installing: ziglang and cargo-zigbuild, into $tools"
    python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet ziglang cargo-zigbuild
fi
if ! command -v cargo-deb >/dev/null; then
    echo "installing: cargo-deb"
    $cargo install --quiet --locked cargo-deb
fi
PATH=$tools/bin:$PATH
export PATH

$cargo zigbuild --release --target "$machine.$glibc"
built=${CARGO_TARGET_DIR:-target}/$machine/release
"$objcopy" --remove-section .comment "$built/moodle-backup"
gzip -9nc debian/changelog >"$built/changelog.gz"
for section in 5 7 8; do
    rm -rf "$built/man$section"
    mkdir "$built/man$section"
    for page in man/*."$section"; do
        gzip -9nc "$page" >"$built/man$section/${page##*/}.gz"
    done
done
mkdir -p "$packages"
rm -f "$packages"/*.deb
$cargo deb --quiet --no-build --no-strip --target "$machine" --output "$packages/"
