#!/bin/sh
# Includes point down the list of layers, kernels and io do not know each other, and the public
# header stands alone. test_layers.sh [ROOT]
set -eu
cd "${1:-${RK_SOURCE_DIR:-.}}"

find src -name '*.c' -o -name '*.h' | sort | xargs awk '
BEGIN {
    # kernels and io stand side by side: the same height, neither below the other.
    n = split("base kernels,io text data tensor nn model format infer compress tune train serve selftest cli", rows, " ")
    for (i = 1; i <= n; i++) {
        m = split(rows[i], names, ",")
        for (j = 1; j <= m; j++)
            height[names[j]] = i
    }
}
FNR == 1 {
    split(FILENAME, part, "/")
    own = part[2]
    if (!(own in height)) {
        print FILENAME ": " own " is no layer"
        bad = 1
    }
}
/^[ \t]*#[ \t]*include[ \t]*"/ {
    split($0, quoted, "\"")
    name = quoted[2]
    other = own
    if (name ~ /\//) {
        split(name, part, "/")
        # A name that starts with no layer is a folder of the own layer: "ref/x.h".
        if (part[1] in height)
            other = part[1]
    }
    if (name ~ /^\.\./ || (other != own && height[other] >= height[own])) {
        print FILENAME ":" FNR ": " own " must not include \"" name "\""
        bad = 1
    }
}
END { exit bad }'

if grep -n '#include "' include/*.h; then
    echo "include/ must not include internal headers"
    exit 1
fi
