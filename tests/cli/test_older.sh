#!/bin/sh
# A run, a state and a talk that version 0.1.0 left behind go on as they did in it, to the bit.
# tests/data/0.1.0/make.sh made them.
set -eu
old=$RK_SOURCE_DIR/tests/data/0.1.0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r "$old/." "$work"
cd "$work"
model=run/checkpoint-4/model.safetensors

"$RK_PROGRAM" run -m $model --state state -p " not to be" -n 0 --path ref -q --state-out state.on >prompt
printf '/load talk\nAnd she?\n/save talk.on\n' |
    "$RK_PROGRAM" chat -m $model -n 6 --seed 5 --path ref -q >answer
"$RK_PROGRAM" train --data text.txt --out run --resume --steps 8 --n-layer 2 --n-embd 8 \
    --head-size 4 --dim-ffn 20 --lora-rank-w 4 --lora-rank-a 3 --lora-rank-v 2 --lora-rank-g 5 \
    --ctx-len 24 --batch 2 --lr 3e-3 --dropout 0.1 --seed 7 --path ref -q
sha256sum -c --quiet after
