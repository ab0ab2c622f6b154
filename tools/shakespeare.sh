#!/bin/sh
# Tiny Shakespeare, three ways: the runs of docs/measurements.md. Continues where it was stopped.
#
#   tools/shakespeare.sh TEXT WORK_FOLDER [core|muon|budget] [THREADS]
#
# core    4 layers of 128, windows of 64, 2000 steps at 2e-3, the default recipe without L2Wrap: three
#         seeds
# muon    the same with --optimizer muon
# budget  at most 1e14 operations (six for each weight and token, and Muon's own products): goes on from
#         the averaged weights of muon's second seed with windows of 512
set -eu
text=${1:?usage: tools/shakespeare.sh TEXT WORK_FOLDER [core|muon|budget] [THREADS]}
work=${2:?usage: tools/shakespeare.sh TEXT WORK_FOLDER [core|muon|budget] [THREADS]}
which=${3:-core}
threads=${4:-1}
root=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$work"

# run NAME OPTION...: a run, and its result as a line
run() {
    name=$1
    shift
    "$root/build/rwkv" train --data "$text" --tokenizer byte --out "$work/$name" --arch rwkv7 --n-layer 4 \
        -t "$threads" -q --json --resume "$@" >"$work/$name.json"
    echo "$name: $(cat "$work/$name.json")"
}

small="--n-embd 128 --head-size 32 --ctx-len 64 --batch 12 --steps 2000 --lr 2e-3"
# shellcheck disable=SC2086
muon() {
    run muon-$1 $small --seed "$1" --optimizer muon --ema 0.99
}
# shellcheck disable=SC2086
case $which in
core) for seed in 1 2 3; do run core-$seed $small --l2wrap 0 --seed $seed; done ;;
muon) for seed in 1 2 3; do muon $seed; done ;;
budget)
    muon 2
    run budget --init-from "$work/muon-2/model-ema.safetensors" --ctx-len 512 --batch 2 --steps 1600 --lr 2e-3 \
        --lr-final 0 --schedule linear --warmup 20 --dropout 0.02 --optimizer muon --ema 0.99 --seed 2 \
        --save-every 200 --eval-every 400
    ;;
*)
    echo "shakespeare.sh: '$which', expected core, muon or budget" >&2
    exit 2
    ;;
esac
