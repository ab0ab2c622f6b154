#!/bin/sh
# Let the n-th allocation of the program fail, for every n.
#
#     tools/alloc_campaign.sh PROGRAM [step] > table.md
#
# Commands: a training run, its resuming, info and run on the model it made, and merges. n goes through all
# numbers up to 2000 (or each step-th, default 1), then grows by a tenth. Each call must end with a
# sentence and status 1, or do its work because it could do without the memory; it must not crash, nor
# keep more blocks than a call that ends well.
#
# Environment: CC (cc).
set -eu
program=$(realpath "$1")
step=${2:-1}
here=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0

${CC:-cc} -shared -fPIC -O1 -o "$work/failalloc.so" "$here/tests/faults/failalloc.c"
i=0
while [ $i -lt 20 ]; do
    echo "Line $i: it is a truth universally acknowledged, that memory is in want of an owner."
    i=$((i + 1))
done >"$work/text.txt"
cd "$work"
sizes="--n-layer 1 --n-embd 32 --head-size 16 --ctx-len 16 --batch 2 -t 1 -q"

# call N COMMAND...: run it with its N-th allocation failing; status in $got, blocks kept in $kept
call() {
    n=$1
    shift
    got=0
    LD_PRELOAD="$work/failalloc.so" FAILALLOC=$n FAILALLOC_REPORT="$work/report" \
        "$program" "$@" >messages 2>&1 || got=$?
    read -r n_calls kept <report
}

# campaign NAME FOLDER COMMAND...: each call begins with a copy of FOLDER as the folder "out"
campaign() {
    name=$1 folder=$2
    shift 2
    rm -rf out && cp -r "$folder" out
    call 0 "$@"
    [ $got -eq 0 ] || {
        cat messages >&2
        exit 1
    }
    total=$n_calls most=$kept n=1 told=0 done_anyway=0 bad=0
    while [ "$n" -le "$total" ]; do
        rm -rf out report && cp -r "$folder" out
        echo "0 0" >report
        call "$n" "$@"
        if [ $got -eq 0 ]; then
            done_anyway=$((done_anyway + 1))
        elif [ $got -eq 1 ] && [ "$kept" -le "$most" ] && grep -q '^rwkv: ' messages; then
            told=$((told + 1))
        else
            bad=$((bad + 1))
            echo "$name, allocation $n: status $got, $kept blocks kept of $most allowed:" >&2
            cat messages >&2
        fi
        [ "$n" -lt 2000 ] && n=$((n + step)) || n=$((n + n / 10))
    done
    failures=$((failures + bad))
    echo "| $name | $total | $told | $done_anyway | $bad |"
}

mkdir empty
# shellcheck disable=SC2086
"$program" train --data text.txt --out trained --steps 4 $sizes
cp -r trained stopped
rm stopped/model.safetensors
echo "| command | allocations | a sentence and status 1 | done without it | crash, leak or silence |"
echo "|---|---|---|---|---|"
# shellcheck disable=SC2086
campaign train empty train --data text.txt --out out/run --steps 4 --json $sizes
# shellcheck disable=SC2086
campaign "train --resume" stopped train --data text.txt --out out --steps 8 --resume $sizes
for command in info run tokenize; do
    "$program" help | grep -q "^  $command " || continue
    case $command in
    info) campaign info empty info -m trained/model.safetensors ;;
    tokenize)
        campaign tokenize empty tokenize --vocab "$here/tests/data/tokens/small.json" -f text.txt
        ;;
    run) campaign run empty run -m trained/model.safetensors -p It -n 4 --temp 0 -t 1 ;;
    esac
done
exit $((failures > 0))
