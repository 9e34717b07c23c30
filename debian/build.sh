#!/bin/sh
# Builds the Debian package. One binary runs on all of Debian 11 to 13 and Ubuntu 20.04 to 24.04: it asks for no newer C
# library than 2.28, for which zig links it. The tools that are missing are installed: zig and cargo-zigbuild into a folder
# of their own, cargo-deb as cargo does.
set -eu

cargo=${CARGO:-cargo}
glibc=2.28
machine=$(rustc -vV | sed -n 's/^host: //p')
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
objcopy --remove-section .comment "$built/moodle-backup"
gzip -9nc debian/changelog >"$built/changelog.gz"
for section in 5 7 8; do
    rm -rf "$built/man$section"
    mkdir "$built/man$section"
    for page in man/*."$section"; do
        gzip -9nc "$page" >"$built/man$section/${page##*/}.gz"
    done
done
mkdir -p "${CARGO_TARGET_DIR:-target}/debian"
rm -f "${CARGO_TARGET_DIR:-target}"/debian/*.deb
$cargo deb --quiet --no-build --no-strip --target "$machine" --output "${CARGO_TARGET_DIR:-target}/debian/"
