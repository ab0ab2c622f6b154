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
if "$RK_PROGRAM" run -m $model --state state -p '' -n 4 --path ref -q >empty 2>err ||
    ! grep -q '^rwkv: state: .* there must be a prompt$' err || [ -s empty ]; then
    echo "an empty prompt after a state that does not hold what comes next: $(cat err)"
    exit 1
fi
printf '/load talk\nAnd she?\n/save talk.on\n' |
    "$RK_PROGRAM" chat -m $model -n 6 --seed 5 --path ref -q >answer
"$RK_PROGRAM" train --data text.txt --out run --resume --steps 8 --n-layer 2 --n-embd 8 \
    --head-size 4 --dim-ffn 20 --lora-rank-w 4 --lora-rank-a 3 --lora-rank-v 2 --lora-rank-g 5 \
    --ctx-len 24 --batch 2 --lr 3e-3 --dropout 0.1 --seed 7 --path ref -q
# The states themselves, which are two layers of 48 numbers; behind that of the run are logits
# and counts of 256 tokens.
tail -c $((384 + 2 * 1024)) state.on | head -c 384 >state.bits
tail -c 384 talk.on >talk.bits
sha256sum -c --quiet after
