#!/bin/sh
# Make the bundled model again: corpus, training, conversion to bf16. Continues where it was stopped.
#
#   tools/train_bundled.sh WORK_FOLDER [THREADS]
#
# models/README.md holds what came out. Weights share bits on one instruction-set path only
# (docs/numerics.md), so another machine's model may differ in its last bits.
set -eu
work=${1:?usage: tools/train_bundled.sh WORK_FOLDER [THREADS]}
threads=${2:-1}
root=$(cd "$(dirname "$0")/.." && pwd)
name=rwkv7-byte-5.4m
mkdir -p "$work"
[ -f "$work/corpus.txt" ] || sh "$root/tools/make_corpus.sh" "$work/corpus.txt"
# The first call's cosine ends at 5000 steps; the second one continues it as one of 8000.
for steps in 5000 8000; do
    "$root/build/rwkv" train --data "$work/corpus.txt" --tokenizer byte --out "$work/run" --arch rwkv7 \
        --n-layer 6 --n-embd 256 --head-size 64 --ctx-len 256 --batch 16 --steps $steps --lr 1.2e-3 \
        --lr-final 5e-5 --warmup 50 --seed 1 -t "$threads" --val-frac 0.03 --save-every 200 \
        --eval-every 500 --l2wrap 0 --resume
done
"$root/build/rwkv" convert "$work/run/model.safetensors" "$work/$name.safetensors" --type bf16 --force
sha256sum "$work/$name.safetensors"
