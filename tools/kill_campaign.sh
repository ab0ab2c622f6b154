#!/bin/sh
# Kill a small training run wherever it can hurt, resume it, compare the result.
#
#     tools/kill_campaign.sh PROGRAM [calls] [moments] > table.md
#
# calls: at how many of the run's file-changing calls to kill it, spread evenly; "all" (default) is
# each of them. moments: how many random moments (default 200). Every killed run is killed once more
# soon after it was resumed, then resumed until it ends, and its model.safetensors must have the SHA-256 of the run that nobody disturbed. A resumed
# run that passes over a checkpoint has found an unreadable one, which counts as a failure too.
#
# Environment: CC (cc), TRAIN (options in place of the small run's), SEED (of the moments, 1).
set -eu
program=$(realpath "$1")
calls=${2:-all}
moments=${3:-200}
here=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

: "${TRAIN:=--n-layer 1 --n-embd 32 --head-size 16 --ctx-len 16 --batch 2 --steps 24 --warmup 4 --save-every 5 --eval-every 10 -t 1}"
${CC:-cc} -shared -fPIC -O1 -o "$work/killat.so" "$here/tests/faults/killat.c" -ldl
i=0
while [ $i -lt 60 ]; do
    echo "Line $i: it is a truth universally acknowledged, that a run must be in want of a resume."
    i=$((i + 1))
done >"$work/text.txt"

# train DIR [VARIABLE=value ...]: its exit status, messages in $work/messages
train() {
    dir=$1
    shift
    # shellcheck disable=SC2086
    env "$@" "$program" train --data "$work/text.txt" --out "$dir" --resume --seed 1 $TRAIN \
        >"$work/messages" 2>&1
}

sha() { sha256sum <"$1/model.safetensors" | cut -d ' ' -f 1; }

# note KIND OUTCOME: remember it; what is not as it should be is shown
note() {
    echo "$1 $2" >>"$work/outcomes"
    [ "$2" = same ] || {
        echo "$1: $2" >&2
        cat "$work/messages" >&2
    }
}

# finish DIR KIND: resume the killed run and note how that went under KIND
finish() {
    outcome=same
    train "$1" || outcome=failed
    if grep -q 'passing over' "$work/messages"; then
        outcome=unreadable
    elif [ $outcome = same ] && [ "$(sha "$1")" != "$want" ]; then
        outcome=different
    fi
    note "$2" $outcome
    rm -rf "$1"
}

start=$(date +%s%N)
train "$work/plain" || { cat "$work/messages" >&2; exit 1; }
run_us=$((($(date +%s%N) - start) / 1000))
want=$(sha "$work/plain")
train "$work/counted" LD_PRELOAD="$work/killat.so" KILLAT_REPORT="$work/count"
n_calls=$(cat "$work/count")
[ "$calls" = all ] && calls=$n_calls
: >"$work/outcomes"

i=1
while [ "$i" -le "$calls" ]; do
    at=$((i * n_calls / calls))
    if train "$work/run" LD_PRELOAD="$work/killat.so" KILLAT=$at KILLAT_REPORT="$work/call" \
        2>/dev/null; then
        echo "call $at of $n_calls was never made" >&2
        exit 1
    fi
    call=$(cat "$work/call")
    train "$work/run" LD_PRELOAD="$work/killat.so" KILLAT=$((at * 5 % 29 + 1)) 2>/dev/null || :
    ! grep -q 'passing over' "$work/messages" || note "$call" unreadable
    finish "$work/run" "$call"
    i=$((i + 1))
done

# kill_at_moment DIR: from nothing to a little past a whole run, by a small generator with a seed
state=${SEED:-1}
kill_at_moment() {
    state=$(((state * 1103515245 + 12345) % 2147483648))
    us=$((state / 8 % (run_us * 21 / 20 + 1)))
    # shellcheck disable=SC2086
    "$program" train --data "$work/text.txt" --out "$1" --resume --seed 1 $TRAIN \
        >>"$work/messages" 2>&1 &
    pid=$!
    sleep "$(printf '%d.%06d' $((us / 1000000)) $((us % 1000000)))"
    kill -KILL $pid 2>/dev/null || :
    wait $pid 2>/dev/null || :
}

i=1
while [ "$i" -le "$moments" ]; do
    : >"$work/messages"
    kill_at_moment "$work/run"
    kill_at_moment "$work/run"
    ! grep -q 'passing over' "$work/messages" || note moment unreadable
    finish "$work/run" moment
    i=$((i + 1))
done

echo "Undisturbed run: SHA-256 $want, $n_calls calls, $((run_us / 1000)) ms."
echo
echo "| killed at | times | same SHA-256 after resuming | unreadable checkpoint | other failure |"
echo "|---|---|---|---|---|"
cut -d ' ' -f 1 "$work/outcomes" | sort -u | while read -r kind; do
    tally() { grep -c "^$kind $1\$" "$work/outcomes" || :; }
    total=$(grep -c "^$kind " "$work/outcomes")
    echo "| $kind | $total | $(tally same) | $(tally unreadable) | $(($(tally failed) + $(tally different))) |"
done
! grep -qv ' same$' "$work/outcomes"
