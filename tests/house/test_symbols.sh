#!/bin/sh
# The shared library exports what rk.h declares, exactly, and carries its SONAME.
set -eu
if [ -n "${RK_SANITIZE:-}" ]; then
    echo "skipped: sanitizers add symbols of their own"
    exit 77
fi
library=$RK_BINARY_DIR/librk.so
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

nm -D --defined-only "$library" | awk '{print $3}' | sort >"$work/exported"
grep -o '^RK_API [^(]*(' "$RK_SOURCE_DIR/include/rk.h" | grep -o 'rk_[a-z0-9_]*(' | tr -d '(' |
    sort >"$work/declared"
[ -s "$work/declared" ]
diff "$work/declared" "$work/exported" || {
    echo "above: < declared in rk.h only, > exported by librk.so only"
    exit 1
}
objdump -p "$library" | grep -q 'SONAME *librk\.so\.0\.2$' || {
    echo "librk.so: SONAME is not librk.so.0.2"
    exit 1
}
