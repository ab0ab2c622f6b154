#!/bin/sh
# Make the bundled model again: corpus, training, conversion to bf16. Continues where it was stopped.
#
#   tools/train_bundled.sh WORK_FOLDER [THREADS]
#
# models/README.md holds what came out. Weights share bits on one instruction-set path only
# (docs/numerics.md), so another machine's model may differ in its last bits.
set -eu
work=${1:?usage: tools/train_bundled.sh WORK_FOLDER [THREADS]}
threads=${2:-2}
root=$(cd "$(dirname "$0")/.." && pwd)
name=rwkv7-byte-1.5m
mkdir -p "$work"
[ -f "$work/corpus.txt" ] || sh "$root/tools/make_corpus.sh" "$work/corpus.txt"
"$root/build/rwkv" train --data "$work/corpus.txt" --tokenizer byte --out "$work/run" --arch rwkv7 \
    --n-layer 6 --n-embd 128 --head-size 64 --ctx-len 256 --batch 8 --steps 3600 --lr 1.5e-3 \
    --lr-final 1e-4 --warmup 50 --seed 1 -t "$threads" --val-frac 0.03 --save-every 200 \
    --eval-every 400 --resume
"$root/build/rwkv" convert "$work/run/model.safetensors" "$work/$name.safetensors" --type bf16 --force
sha256sum "$work/$name.safetensors"
