# script.sh: what test scripts share. It is read, not run:
#
#     . "$RK_SOURCE_DIR/tests/script.sh"
#
# The script then stands in an empty folder, which is removed at its end.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
failures=0

# complain TEXT...: say what is wrong and go on; the script's last line turns $failures into its status
complain() {
    echo "$*"
    failures=$((failures + 1))
}

# write_lines FILE: sixty lines of text that a small model learns something from
write_lines() {
    i=0
    while [ $i -lt 60 ]; do
        echo "line $i says that it is number $((i * i)) of them all, and no other line says so"
        i=$((i + 1))
    done >"$1"
}
