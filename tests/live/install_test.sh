#!/bin/sh
# What is installed must be enough and no more: the libraries show only syn_*, and a program builds
# against them by pkg-config (shared and static) and by the CMake package, and runs.
#
#   install_test.sh BUILD SOURCE CMAKE CC
set -eu

build=$1
source=$2
cmake=$3
cc=$4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# symbols FILE NM-OPTION: every defined global symbol begins with syn_, and there are some.
symbols() {
    nm "$2" --defined-only "$1" >"$work/symbols" 2>"$work/log" || fail "nm $1: $(cat "$work/log")"
    awk 'NF == 3 && $2 != "A" { print $3 }' "$work/symbols" | sed 's/@.*//' >"$work/names"
    grep -q '^syn_engine_open$' "$work/names" || fail "$1 does not define syn_engine_open"
    if grep -v '^syn_' "$work/names"; then
        fail "$1 shows these symbols too"
    fi
    # Every function of the header is there.
    sed -n 's/.*[ *]\(syn_[a-z_]*\)(.*/\1/p' "$prefix/include/syn.h" | sort -u >"$work/wanted"
    while read -r name; do
        grep -qx "$name" "$work/names" || ! grep -q "SYN_API.*[ *]$name(" "$prefix/include/syn.h" ||
            fail "$1 lacks $name"
    done <"$work/wanted"
}

prefix=$work/prefix
"$cmake" --install "$build" --prefix "$prefix" >"$work/log" 2>&1 || fail "install: $(cat "$work/log")"
library=$(dirname "$(find "$prefix" -name libsyncline.so)")
symbols "$library/libsyncline.so" -D
symbols "$library/libsyncline.a" -g
case $(readelf -d "$library/libsyncline.so") in
*"soname: [libsyncline.so.0]"*) ;;
*) fail "libsyncline.so has no SONAME with a version" ;;
esac

PKG_CONFIG_PATH=$library/pkgconfig
LD_LIBRARY_PATH=$library
export PKG_CONFIG_PATH LD_LIBRARY_PATH
# Words on purpose.
# shellcheck disable=SC2046
"$cc" -Wall -Wextra -Werror -o "$work/shared" "$source/tests/live/consumer/consumer.c" \
    $(pkg-config --cflags --libs syncline) || fail "building with pkg-config"
"$work/shared" || fail "the program built with pkg-config"
# shellcheck disable=SC2046
"$cc" -Wall -Wextra -Werror -o "$work/static" "$source/tests/live/consumer/consumer.c" \
    $(pkg-config --cflags syncline) "$library/libsyncline.a" \
    $(pkg-config --static --libs-only-L --libs-only-l syncline | sed 's/-lsyncline//g') ||
    fail "building with pkg-config --static"
LD_LIBRARY_PATH='' "$work/static" || fail "the static program built with pkg-config"

"$cmake" -G Ninja -S "$source/tests/live/consumer" -B "$work/build" -DCMAKE_PREFIX_PATH="$prefix" \
    -DCMAKE_C_COMPILER="$cc" >"$work/log" 2>&1 || fail "find_package: $(cat "$work/log")"
"$cmake" --build "$work/build" >"$work/log" 2>&1 || fail "building with CMake: $(cat "$work/log")"
"$work/build/consumer" || fail "the program built with CMake"

"$prefix/bin/syncline" version | grep -q '^syncline [0-9]' || fail "the installed program"
