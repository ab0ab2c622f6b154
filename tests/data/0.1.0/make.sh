#!/bin/sh
# What version 0.1.0 left behind, made with its program: sh make.sh /path/to/rwkv-0.1.0
# test_older.sh goes on with it and must get what 0.1.0 got, whose checksums are in `after`.
# Everything is computed on path ref, whose bits do not depend on the CPU.
set -eu
rwkv=$1
cd "$(dirname "$0")"
rm -rf run state talk
seq -f '%g: to be, or not to be, that is the question' 24 >text.txt
"$rwkv" train --data text.txt --out run --steps 4 --n-layer 2 --n-embd 8 --head-size 4 \
    --dim-ffn 20 --lora-rank-w 4 --lora-rank-a 3 --lora-rank-v 2 --lora-rank-g 5 --ctx-len 24 \
    --batch 2 --lr 3e-3 --dropout 0.1 --seed 7 --path ref -q
rm run/curve.svg run/model.safetensors
model=run/checkpoint-4/model.safetensors
"$rwkv" run -m $model -p "to be, or" -n 0 --path ref -q --state-out state
printf 'Where is he?\n/save talk\n' | "$rwkv" chat -m $model -n 6 --seed 3 --path ref -q
