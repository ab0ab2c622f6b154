#!/bin/sh
# Install the Debian packages that a purpose needs, and only those that are missing.
#
#   setup.sh [--check] PURPOSE...     build test arm clang format lint bench coverage
#
# --check installs nothing: it names what is missing, the command that gets it, and exits 1.
# Presence is asked of the tools and libraries themselves, so that systems other than Debian, or
# libraries from elsewhere, do as well.
set -eu

# Rows: purpose, package, how its presence is seen.
packages='
build build-essential        command cc
build cmake                  command cmake
build ninja-build            command ninja
build pkg-config             command pkg-config
build libjansson-dev         library jansson
build libxxhash-dev          library libxxhash
build libedit-dev            library libedit
build libutf8proc-dev        library libutf8proc
build libpcre2-dev           library libpcre2-8
build liblapacke-dev         library lapacke
test  libcmocka-dev          library cmocka
test  libsimde-dev           file /usr/include/simde/x86/avx512.h
test  python3                command python3
test  python3-venv           python ensurepip
arm   gcc-aarch64-linux-gnu  command aarch64-linux-gnu-gcc
arm   libc6-dev-arm64-cross  file /usr/aarch64-linux-gnu/lib/libc.a
arm   qemu-user              command qemu-aarch64
clang clang                  command clang
clang libclang-rt-dev        runtime fuzzer
format clang-format          command clang-format
lint  clang-tidy             command clang-tidy
lint  cppcheck               command cppcheck
bench libopenblas-dev        library openblas
coverage gcovr               command gcovr
'

present() {
    case $1 in
    command) command -v "$2" >/dev/null 2>&1 ;;
    library) pkg-config --exists "$2" 2>/dev/null ;;
    file) [ -e "$2" ] ;;
    python) python3 -c "import $2" 2>/dev/null ;;
    runtime) ls "$(clang -print-resource-dir 2>/dev/null)"/lib/*/*"$2"* >/dev/null 2>&1 ;;
    esac
}

missing() {
    echo "$packages" | while read -r purpose package how what; do
        case " $wanted " in
        *" $purpose "*) [ -z "$purpose" ] || present "$how" "$what" || printf '%s ' "$package" ;;
        esac
    done
}

check=no
if [ "${1:-}" = --check ]; then
    check=yes
    shift
fi
wanted="$*"
list=$(missing)
[ -n "$list" ] || exit 0

sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
if [ $check = yes ]; then
    echo "missing: $list" >&2
    echo "get it:  ${sudo:+sudo }apt-get install ${list% }" >&2
    exit 1
fi
for tool in apt-get $sudo; do
    if ! command -v "$tool" >/dev/null 2>&1; then
        echo "setup.sh: no $tool here; install what these Debian packages hold: $list" >&2
        exit 1
    fi
done
echo "installing: $list" >&2
# The package lists may be older than the mirror; where they cannot be renewed they may still do.
$sudo apt-get update -q || echo "setup.sh: the package lists could not be renewed" >&2
# shellcheck disable=SC2086 # a list of words
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $list
