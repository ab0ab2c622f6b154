#!/bin/sh
# rwkv quantize of models with low-rank pairs: .gguf files of our own, whose pairs are in blocks, run as the model
# did, whatever the threads and the pieces of a prompt; converted back, made whole, tuned, merged.
# shellcheck source=tests/script.sh
. "$RK_SOURCE_DIR/tests/script.sh"
write_lines text.txt
data="--data text.txt --tokenizer byte --ctx-len 32 --batch 4 --val-frac 0.2 -q -t 1"
loss() { rwkv eval --ppl text.txt --ctx 32 --json -q "$@" | sed 's/.*"loss": *\([0-9.]*\).*/\1/'; }
near() { awk "BEGIN { d = $1 - $2; exit !(d < $3 && d > -$3) }"; }
types() { rwkv info "$1" | grep ' tensors, ' | awk '{ print $1 "=" $2 }' | tr '\n' ' '; }

for arch in rwkv4 rwkv6 rwkv7; do
    # shellcheck disable=SC2086
    rwkv train --arch $arch $data --n-layer 2 --n-embd 64 --head-size 16 --steps 6 --lr 2e-3 --out $arch
    rwkv compress svd -m $arch --rank 1/2 -o $arch.pth -q
    # shellcheck disable=SC2086
    rwkv train --arch $arch $data --n-layer 2 --n-embd 64 --head-size 16 --low-rank 32 --low-rank-form enhanced --steps 6 \
        --lr 2e-3 --out $arch-enhanced
    for model in $arch.pth $arch-enhanced; do
        want=$(loss -m $model)
        types="q8_0:0.01 q4_0:0.05"
        [ $model != rwkv7.pth ] || types="$types rk8:0.01"
        for type in $types; do
            rwkv quantize $model $model-${type%:*}.gguf --type ${type%:*} 2>err || complain "$model: $(cat err)"
            grep -q 'llama.cpp has no such models' err || complain "$model: nothing is said of llama.cpp"
            got=$(loss -m $model-${type%:*}.gguf)
            near "$got" "$want" ${type#*:} || complain "$model: loss $want, as $type $got"
        done
        rwkv info $model-q8_0.gguf | grep -q "architecture: $arch+low_rank" || complain "$model: no mark of pairs"
    done
    # Embedding, head, and for each layer the whole matrices and two of every pair.
    case $arch in rwkv4) n=$((2 + 2 * (3 + 2 * 4))) ;; rwkv6) n=$((2 + 2 * (3 + 2 * 5))) ;; *) n=$((2 + 2 * (3 + 2 * 3))) ;; esac
    types $arch.pth-q8_0.gguf | grep -q "q8_0=$n " || complain "$arch: $(types $arch.pth-q8_0.gguf), expected $n in q8_0"
done
q=rwkv6.pth-q8_0.gguf
rwkv logits -m $q --tokens $tokens --all -o want.npy -q -t 1
rwkv logits -m $q --tokens $tokens --all -o three.npy -q -t 3
cmp want.npy three.npy || complain 'three threads: other bits'
rwkv convert -q $q again.gguf
rwkv logits -m again.gguf --tokens $tokens --all -o got.npy -q
cmp want.npy got.npy || complain 'the same blocks in another file: other bits'
rwkv compress dense -m $q -o whole.gguf 2>err
grep -q 'llama.cpp' err && complain 'a whole model is one of ours'
near "$(loss -m whole.gguf)" "$(loss -m $q)" 0.005 || complain 'made whole: another loss'
rwkv compress svd -m rwkv7 --rank 1/2 -o svd.gguf -q
near "$(loss -m svd.gguf)" "$(loss -m rwkv7.pth)" 0.0001 || complain 'pairs in a .gguf file: another loss'

rwkv tune -m $q --data text.txt --method lora --rank 4 --lr 5e-3 --steps 6 --ctx-len 32 --batch 4 --val-frac 0.2 --out lora -q
awk "BEGIN { exit !($(loss -m $q --adapter lora) < $(loss -m $q)) }" || complain 'tuned in blocks: nothing learned'
rwkv merge -m $q --adapter lora -o merged.gguf -q
near "$(loss -m merged.gguf)" "$(loss -m $q --adapter lora)" 0.01 || complain 'merged into pairs in blocks: another loss'
types merged.gguf | grep -q f16 || complain "rows of 36: $(types merged.gguf)"
exit $failures
