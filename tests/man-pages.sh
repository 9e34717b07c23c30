#!/bin/sh
# Holds man pages against what man and mandoc have to say of them. Prints nothing where they are clean.
set -eu

for page in "$@"; do
    said=$(LC_ALL=C.UTF-8 MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 >/dev/null)
    if [ -n "$said" ]; then
        printf '%s: %s\n' "$page" "$said" >&2
        exit 1
    fi
done
mandoc -T lint -W warning "$@"
