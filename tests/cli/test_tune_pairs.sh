#!/bin/sh
# rwkv tune beside low-rank pairs, plain and enhanced: learned, resumed to the bit, run as merged, refused.
# shellcheck source=tests/script.sh
. "$RK_SOURCE_DIR/tests/script.sh"
awk 'BEGIN { srand(1); for (i = 0; i < 1500; i++) printf "%s ", substr("abcdefgh", 1 + int(rand() * 5), 3); }' >a.txt
awk 'BEGIN { srand(2); for (i = 0; i < 1500; i++) printf "%s\n", substr("stuvwxyz", 1 + int(rand() * 5), 3); }' >b.txt
small="--ctx-len 32 --batch 4 --val-frac 0.05 --n-layer 2 --n-embd 32 --head-size 16 -q"
# shellcheck disable=SC2086
rwkv train --data a.txt --arch rwkv5 $small --steps 12 --lr 5e-3 --out base
rwkv compress svd -m base --rank 1/4 -o plain.pth -q
# shellcheck disable=SC2086
rwkv train --data a.txt --arch rwkv6 $small --steps 8 --lr 5e-3 --low-rank 8 --low-rank-form enhanced --out squares

tune() { # MODEL METHOD OUT WORDS...
    model=$1 method=$2 out=$3
    shift 3
    rwkv tune -m "$model" --data b.txt --method "$method" --rank 4 --out "$out" --ctx-len 32 --batch 4 --val-frac 0.05 --lr 5e-3 -q "$@"
}
loss() { rwkv eval --ppl b.txt --ctx 32 --json -q "$@" | sed 's/.*"loss": *\([0-9.]*\).*/\1/'; }
near() { awk "BEGIN { d = $1 - $2; exit !(d < 1e-4 && d > -1e-4) }"; }

for model in plain.pth squares; do
    before=$(loss -m $model)
    for method in miss lora dora; do
        tune $model $method $method-$model --steps 8
        after=$(loss -m $model --adapter $method-$model)
        awk "BEGIN { exit !($after < $before - 0.01) }" || complain "$model, $method: loss $before, then $after"
    done
done
grep -aq 'blocks.1.att.key.' lora-plain.pth/adapter_model.safetensors || complain 'lora: nothing beside a pair'
grep -aq 'blocks.1.att.key.' dora-plain.pth/adapter_model.safetensors && complain 'dora: beside a pair'
rwkv tune -m plain.pth --dry-run --method lora --rank 4 >out
grep -q 'blocks.\*.att.key.weight *2 of (32, 32)' out || complain "--dry-run: $(cat out)"

# Threads, micro-batches, a stop between.
for model in plain.pth squares; do
    set -- --save-every 3 --schedule constant --warmup 0
    tune $model miss whole --steps 6 -t 1 "$@"
    tune $model miss parts --steps 6 -t 2 --micro-batch 1 "$@"
    tune $model miss resumed --steps 3 "$@"
    tune $model miss resumed --steps 6 --resume "$@"
    for other in parts resumed; do
        cmp whole/adapter_model.safetensors $other/adapter_model.safetensors || complain "$model: $other has other bits"
    done
    rm -r whole parts resumed
done

# In a file: pairs of rank 8 + 4, and of whole matrices; beside a file in another format.
for method in miss lora; do
    rwkv merge -m plain.pth --adapter $method-plain.pth:0.5 -o merged-$method.safetensors -q
    near "$(loss -m merged-$method.safetensors)" "$(loss -m plain.pth --adapter $method-plain.pth:0.5)" ||
        complain "$method: another loss when merged"
    rwkv info merged-$method.safetensors | grep -q 'rank_key *12' || complain "$method: $(rwkv info merged-$method.safetensors)"
    rwkv adapter convert $method-plain.pth -o $method.safetensors
    near "$(loss -m plain.pth --adapter $method.safetensors)" "$(loss -m plain.pth --adapter $method-plain.pth)" ||
        complain "$method: another loss from a file"
done
rwkv compress dense -m plain.pth -o whole.safetensors -q
near "$(loss -m whole.safetensors --adapter lora-plain.pth --force-base)" "$(loss -m plain.pth --adapter lora-plain.pth)" ||
    complain 'the whole matrices with the adapter of pairs'

refused "asks for the matrix 'blocks.0.att.key.weight', which is a low-rank pair" \
    rwkv tune -m plain.pth --data b.txt --method dora --targets att.key --out none
refused 'is an enhanced pair' rwkv merge -m squares --adapter lora-squares -o none.safetensors
refused 'cannot be taken out' rwkv unmerge -m plain.pth --adapter lora-plain.pth -o none.safetensors
refused 'would be a pair of rank 36' rwkv merge -m plain.pth --adapter lora-plain.pth --adapter lora-plain.pth --adapter lora-plain.pth \
    --adapter lora-plain.pth --adapter lora-plain.pth --adapter lora-plain.pth --adapter lora-plain.pth -o none.safetensors
rwkv tune -m base --data b.txt --method dora --rank 4 --steps 1 --ctx-len 32 --batch 4 --val-frac 0.05 --out whole-dora -q
refused 'dora computes with the matrix' rwkv run -m plain.pth --adapter whole-dora --force-base -p x -n 1
if [ -e none ] || [ -e none.safetensors ]; then complain 'a refused command left something'; fi
exit $failures
