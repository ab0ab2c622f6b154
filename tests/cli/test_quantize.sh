#!/bin/sh
# rwkv quantize: every type and recipe, the same bits for any number of threads, what it says, and
# what it refuses without leaving a file behind.
# shellcheck source=tests/script.sh
. "$RK_SOURCE_DIR/tests/script.sh"

refused() { # what, what the sentence names; then the command
    what=$1 named=$2
    shift 2
    status=0
    "$RK_PROGRAM" quantize "$@" 2>err || status=$?
    [ $status = 2 ] || complain "$what: status $status, expected 2"
    grep -q -- "$named" err || complain "$what: expected '$named' in: $(cat err)"
}

bytes_of() { wc -c <"$1"; }

i=0
while [ $i -lt 40 ]; do
    echo "$i: to be, or not to be, that is the question"
    i=$((i + 1))
done >text.txt
for width in 96 256; do
    "$RK_PROGRAM" train --data text.txt --tokenizer byte --out run --arch rwkv7 --n-layer 1 --n-embd $width \
        --head-size 32 --ctx-len 16 --batch 1 --steps 2 --seed 1 -q >/dev/null 2>&1
    "$RK_PROGRAM" convert run/model.safetensors $width.safetensors --type bf16
    rm -rf run
done

for type in q8_0 q6_k q5_k q4_k q5_1 q5_0 q4_1 q4_0 bf16 f16 rk8 rk5 rk4; do
    "$RK_PROGRAM" quantize 256.safetensors $type.gguf --type $type 2>err || complain "$type: $(cat err)"
    [ "$(wc -l <err)" = 1 ] && grep -q "^256.safetensors, .* bits a parameter -> $type.gguf, .* bits a parameter$" err ||
        complain "$type said: $(cat err)"
    "$RK_PROGRAM" run -m $type.gguf -p to -n 2 -q >/dev/null || complain "$type does not run"
done
for pair in rk8:q8_0 rk5:q5_k rk4:q4_k; do
    [ "$(bytes_of ${pair%:*}.gguf)" -le "$(bytes_of ${pair#*:}.gguf)" ] || complain "$pair: the recipe is larger"
done
for type in q4_k rk4; do
    for t in 1 3; do
        "$RK_PROGRAM" quantize 256.safetensors $t.gguf --type $type --calibrate text.txt -t $t
    done
    cmp -s 1.gguf 3.gguf || complain "$type: three threads gave other bits than one"
    cmp -s 1.gguf $type.gguf && complain "$type: calibrating changed nothing"
    rm -f 1.gguf 3.gguf
done

# Rows of 96 hold no blocks of 256.
"$RK_PROGRAM" quantize 96.safetensors narrow.gguf --type q4_k 2>err
grep -q 'no multiple of 256: q5_0 in place of q4_k' err || complain "no word of q5_0: $(cat err)"
# Embedding, head, and six matrices of each layer.
layers=$("$RK_PROGRAM" info -m 96.safetensors --json | sed -n 's/.*"n_layer":\([0-9]*\),.*/\1/p')
grep -q "^rwkv: $((2 + 6 * layers)) matrices have rows" err || complain "another number of matrices: $(cat err)"
"$RK_PROGRAM" info -m narrow.gguf | grep -q q5_0 || complain "narrow.gguf holds no q5_0"

refused 'an existing file' 'q8_0.gguf' 256.safetensors q8_0.gguf --type q8_0
"$RK_PROGRAM" quantize 256.safetensors q8_0.gguf --type q8_0 --force || complain 'not even with --force'
refused 'an unknown type' 'q3_k' 256.safetensors no.gguf --type q3_k
refused 'another container' 'q8_0' 256.safetensors no.safetensors --type q8_0
refused 'no model' 'text.txt' text.txt no.gguf --type q8_0
printf x >one.txt
refused 'a text of one token' 'calibration text' 256.safetensors no.gguf --type rk4 --calibrate-tokens 2 \
    --calibrate one.txt
# 2^20 is more than a scale of 16 bits can stand for.
for value in 'inf:\000\000\200\177' 'nan:\000\000\300\177' 'large:\000\000\200\111'; do
    "$RK_PROGRAM" convert 96.safetensors ${value%%:*}.safetensors --type f32 --force
    header=$(od -An -tu8 -N8 ${value%%:*}.safetensors | tr -d ' ')
    at=$(tail -c +9 ${value%%:*}.safetensors | head -c "$header" | grep -o '"emb.weight":{[^}]*' |
        grep -o 'data_offsets":\[[0-9]*' | grep -o '[0-9]*$')
    printf "${value#*:}" | dd of=${value%%:*}.safetensors bs=1 seek=$((8 + header + at)) conv=notrunc 2>/dev/null
    refused "${value%%:*} in the embedding" 'emb\|embd' ${value%%:*}.safetensors no.gguf --type q4_0
done
[ ! -e no.gguf ] && [ ! -e no.safetensors ] || complain 'a refused command left a file'

[ $failures = 0 ]
