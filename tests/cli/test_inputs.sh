#!/bin/sh
# Files as other programs leave them: byte order marks, UTF-16, git-lfs pointers and web pages under a
# model's name; numbers that are none, or too large for the type that is asked for; endings that
# name no container.
# shellcheck source=tests/script.sh
. "$RK_SOURCE_DIR/tests/script.sh"

i=0
while [ $i -lt 40 ]; do
    echo "$i: to be, or not to be, that is the question"
    i=$((i + 1))
done >text.txt
sizes="--n-layer 1 --n-embd 32 --head-size 16 --ctx-len 16 --batch 2 --warmup 0 --steps 1 -t 1"
# shellcheck disable=SC2086
"$RK_PROGRAM" train --data text.txt --out made $sizes -q
mv made/model.safetensors m.safetensors
mark='\357\273\277'

# ---- byte order marks: passed over and said, never by tokenize; the text is that without one
(printf "$mark" && cat text.txt) >bom.txt
passed='the byte order mark in front is passed over'
expect 0 '' run -m m.safetensors -t 1 -q -f text.txt -n 4 --temp 0
cp out plain
expect 0 "bom.txt: $passed" run -m m.safetensors -t 1 -f bom.txt -n 4 --temp 0
cmp -s plain out || complain 'a byte order mark changed a prompt'
expect 0 '^239,187,191,48,' tokenize --vocab byte -f bom.txt
expect 0 '' eval -m m.safetensors --ppl text.txt -t 1
cp out plain
expect 0 "bom.txt: $passed" eval -m m.safetensors --ppl bom.txt -t 1
cmp -s plain out || complain 'a byte order mark changed a loss'
"$RK_PROGRAM" eval -m m.safetensors --ppl - -t 1 <bom.txt >out 2>err
cmp -s plain out && grep -q "stdin: $passed" err || complain "eval of stdin: $(cat err)"
"$RK_PROGRAM" eval -m m.safetensors --ppl - -t 1 -q <bom.txt >out 2>err
[ ! -s err ] || complain "-q: $(cat err)"
printf "$mark"'{"text":"to be, or not"}\n' >bom.jsonl
expect 0 'n_questions *1' eval -m m.safetensors --lambada bom.jsonl -t 1
printf "$mark"'{"question":"to","choices":[" be"," x"],"answer":0}\n' >choices.jsonl
expect 0 'n_questions *1' eval -m m.safetensors --choices choices.jsonl -t 1
# shellcheck disable=SC2086
{
    expect 0 "bom.txt: $passed" train --data bom.txt --out bom $sizes
    cmp -s bom/model.safetensors m.safetensors || complain 'a byte order mark was learnt'
    for j in 1 2 3 4 5 6 7 8; do cat bom.jsonl; done | tr -d '\357\273\277' >all.jsonl
    (printf "$mark" && cat all.jsonl) >marked.jsonl
    expect 0 '' train --data all.jsonl --out a.run $sizes --val-frac 0
    expect 0 "marked.jsonl: $passed" train --data marked.jsonl --out b.run $sizes --val-frac 0
    cmp -s a.run/model.safetensors b.run/model.safetensors || complain 'a mark in .jsonl was learnt'
}
(printf "$mark" && cat "$RK_SOURCE_DIR/tests/data/vocab/bytes-only.txt") >vocab.txt
expect 0 "vocab.txt: $passed" tokenize --vocab vocab.txt --encode abc
expect 0 '' convert m.safetensors folder --names hf
(printf "$mark" && cat folder/config.json) >config.json
mv config.json folder/config.json
expect 0 'rwkv7' info folder
for words in 'info folder' 'logits -m folder/model.safetensors --tokens 1 -o x.npy' \
    'run -m folder -p x -n 1' 'eval -m folder --ppl text.txt'; do
    # shellcheck disable=SC2086
    expect 0 "folder/config.json: $passed" $words
done
expect 0 '' logits -q -m folder --tokens 1 -o x.npy --force
[ ! -s err ] || complain "-q: $(cat err)"

# ---- UTF-16 and UTF-32 are refused by name
printf '\377\376t\0o\0' >16.txt
printf '\377\376t\0o\0' >16.jsonl
for words in "run -m m.safetensors -f 16.txt" "eval -m m.safetensors --ppl 16.txt" \
    "train --data 16.txt --out x" "train --data 16.jsonl --out x" \
    "tokenize --vocab 16.txt --encode x" "quantize m.safetensors x.gguf --type q8_0 --calibrate 16.txt"; do
    # shellcheck disable=SC2086
    expect 2 '16.*: a text in UTF-16LE, expected UTF-8' $words
done
expect 0 '^255,254,116,0,111,0$' tokenize --vocab byte -f 16.txt
[ ! -e x ] && [ ! -e x.gguf ] || complain 'something was left behind'

# ---- what lies under a model's name and is none
printf 'version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 3055062111\n' >lfs.safetensors
printf '\n<!DOCTYPE html>\n<html></html>\n' >page.pth
printf '<HTML><body>' >page.gguf
printf '\037\213\010\0' >packed.safetensors
expect 2 'lfs.safetensors: a git-lfs pointer' info lfs.safetensors
expect 2 'lfs.safetensors: a git-lfs pointer' run lfs.safetensors -p x
expect 2 'lfs.safetensors: a git-lfs pointer' run m.safetensors -p x --state-in lfs.safetensors
expect 2 'lfs.safetensors: a git-lfs pointer' tokenize --vocab lfs.safetensors --encode x
expect 2 'page.pth: a web page' info page.pth
expect 2 'page.gguf: a web page' convert page.gguf x.pth
expect 2 'packed.safetensors: a gzip archive' info packed.safetensors

# ---- endings: what is not known is refused, --format says otherwise
for out in m2.bin m2.foo m2 m2.safetensor; do
    expect 2 "$out: no model is written under such a name" convert m.safetensors $out
    expect 2 "$out: no model is written under such a name" quantize m.safetensors $out --type f16
    [ ! -e $out ] || complain "$out is there"
done
expect 0 '' convert m.safetensors m2.PTH
head -c 2 m2.PTH | grep -q PK || complain 'no .pth file'
expect 0 '' convert m.safetensors m2.foo --format pth
cmp -s m2.PTH m2.foo || head -c 2 m2.foo | grep -q PK || complain '--format pth'
expect 0 '' convert m.safetensors m3.foo --format GGUF
head -c 4 m3.foo | grep -q GGUF || complain '--format gguf'
expect 0 '' convert m2.foo m3.gguf --format safetensors
cmp -s m.safetensors m3.gguf || head -c 9 m3.gguf | grep -q '{' || complain '--format safetensors'
expect 2 '--names hf makes a folder' convert m.safetensors f2 --names hf --format pth
expect 0 '' quantize m.safetensors q.gguf --type Q8_0
expect 0 '' quantize m.safetensors q2.gguf --type rK4
expect 0 'matrices are quantised already (q8_0)' quantize q.gguf q3.gguf --type q4_0
expect 0 'bits a parameter -> q4.gguf, .* bits a parameter$' quantize m.safetensors q4.gguf --type q4_0
[ "$(wc -l <err)" -le 2 ] || complain "quantize says $(cat err)"

# ---- numbers: the file and the tensor are named, no infinity is written that was not there
header=$(od -An -tu8 -N8 m.safetensors | tr -d ' ')
at=$(head -c $((8 + header)) m.safetensors | tail -c +9 |
    sed 's/.*"blocks.0.att.key.weight":{[^}]*"data_offsets":\[\([0-9]*\),.*/\1/')
# put BYTES FILE: m.safetensors with other bytes of the first weight of a matrix
put() {
    cp m.safetensors "$2"
    # shellcheck disable=SC2059
    printf "$1" | dd of="$2" bs=1 seek=$((8 + header + at)) conv=notrunc 2>/dev/null
}
put '\000\120\303\107' large.safetensors # 100000
put '\377\377\177\177' huge.safetensors  # the largest float
put '\000\000\300\177' nan.safetensors
put '\000\000\200\177' inf.safetensors
expect 2 "large.safetensors: tensor 'blocks.0.att.key.weight' holds a number that is too large for f16" \
    convert large.safetensors x.safetensors --type f16
[ ! -e x.safetensors ] || complain 'a model with a new infinity was written'
expect 0 '' convert large.safetensors x.safetensors --type bf16
expect 2 "huge.safetensors: tensor 'blocks.0.att.key.weight' .* too large for bf16" \
    convert huge.safetensors y.safetensors --type bf16
expect 2 "large.safetensors: tensor 'blocks.0.att.key.weight' .* above 65504" \
    quantize large.safetensors y.gguf --type q8_0
expect 2 "large.safetensors: tensor .* too large for f16" quantize large.safetensors y.gguf --type f16
expect 0 '' convert inf.safetensors i.safetensors --type f16
expect 0 '' convert nan.safetensors n.safetensors --type f16
for bad in nan inf i n; do
    for json in '' --json; do
        # shellcheck disable=SC2086
        expect 2 "$bad.safetensors: tensor 'blocks.0.att.key.weight' holds a number that is not finite" \
            eval -m $bad.safetensors --ppl text.txt -t 1 $json
    done
done
expect 2 "nan.safetensors: tensor" eval -m m.safetensors --ppl text.txt --kl-base nan.safetensors -t 1
# a loss whose perplexity no double holds
head_at=$(head -c $((8 + header)) m.safetensors | tail -c +9 |
    sed 's/.*"ln_out.bias":{[^}]*"data_offsets":\[\([0-9]*\),.*/\1/')
at=$head_at
put '\000\000\200\173' steep.safetensors # 2^120 in one channel of the head's inputs
expect 0 '^ppl *larger than a number can be' eval -m steep.safetensors --ppl text.txt -t 1
expect 0 '"ppl":null' eval -m steep.safetensors --ppl text.txt -t 1 --json

[ $failures -eq 0 ]
