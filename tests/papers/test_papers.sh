#!/bin/sh
# The small form of every paper: it is stopped, goes on, makes each cell once, and its plots are XML.
set -eu
if [ -n "${RK_SANITIZE:-}" ] || ! command -v python3 >/dev/null 2>&1; then
    echo "skipped: no python3, or a sanitizer that the binding would have to be started with"
    exit 77
fi
export PYTHONDONTWRITEBYTECODE=1
# shellcheck source=tests/script.sh
. "$RK_SOURCE_DIR/tests/script.sh"

papers() {
    "$RK_SOURCE_DIR/papers/run" --small --program "$RK_PROGRAM" --out "$work" >"$work/out" 2>"$work/err"
}

# A signal in the middle leaves whole cells and status 130, and nothing of it in the repository.
kept=$(git -C "$RK_SOURCE_DIR" status --porcelain papers 2>/dev/null || true)
"$RK_SOURCE_DIR/papers/eagle-finch/run" --small --program "$RK_PROGRAM" --out "$work" >"$work/out" 2>"$work/err" &
pid=$!
while kill -0 $pid 2>/dev/null && [ ! -s "$work/eagle-finch-small/cells.jsonl" ]; do sleep 0.1; done
kill -TERM $pid
status=0
wait $pid || status=$?
[ $status = 130 ] || complain "stopped: status $status, expected 130: $(cat "$work/err")"
before=$(wc -l <"$work/eagle-finch-small/cells.jsonl")
grep -q 'cells are missing' "$work/err" || complain "stopped: it does not say what is missing"

papers || complain "papers/run --small: status $?: $(cat "$work/err")"
cells=$(wc -l <"$work/eagle-finch-small/cells.jsonl")
[ "$cells" -gt "$before" ] || complain "$before cells before, $cells after"
grep -q ' - |' "$work/eagle-finch-small/results.md" && complain "a cell of the tables is empty"
papers || complain "papers/run --small again: status $?"
[ "$(wc -l <"$work/eagle-finch-small/cells.jsonl")" = "$cells" ] || complain "cells are made again"
[ "$(git -C "$RK_SOURCE_DIR" status --porcelain papers 2>/dev/null || true)" = "$kept" ] ||
    complain "a small run leaves something in papers/"

# A line that was torn by a crash is no result, and what follows it is read.
printf '{"experiment": "cost", "set' >>"$work/eagle-finch-small/cells.jsonl"
papers || complain "after a torn line: status $?: $(cat "$work/err")"

for plot in "$work"/*-small/*.svg; do
    python3 -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])' "$plot" ||
        complain "$plot is no XML"
done
[ $failures = 0 ]
