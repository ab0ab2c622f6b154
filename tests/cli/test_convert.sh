#!/bin/sh
# rwkv convert between containers, for a model of every architecture that rwkv train has made in a
# moment: what comes back has the bytes that went in, and computes the same.
# shellcheck source=tests/script.sh
. "$RK_SOURCE_DIR/tests/script.sh"

same() {
    cmp -s "$2" "$3" || complain "$1: expected the same bytes in $2 and $3"
}

i=0
while [ $i -lt 20 ]; do
    echo "$i: to be, or not to be, that is the question"
    i=$((i + 1))
done >text.txt

for arch in rwkv4 rwkv5.0 rwkv5.1 rwkv5 rwkv6 rwkv7; do
    "$RK_PROGRAM" train --data text.txt --tokenizer byte --out run --arch $arch --n-layer 2 --n-embd 32 \
        --head-size 16 --ctx-len 16 --batch 2 --steps 3 --seed 1 -q >/dev/null 2>&1
    mv run/model.safetensors a.safetensors
    rm -rf run
    "$RK_PROGRAM" convert a.safetensors b.pth
    "$RK_PROGRAM" convert b.pth c.safetensors
    "$RK_PROGRAM" convert c.safetensors d.pth
    same "$arch, twice to .pth" b.pth d.pth
    [ "$("$RK_PROGRAM" info -m b.pth | sed -n 's/.*: \(rwkv[0-9.]*\),.*/\1/p')" = $arch ] ||
        complain "$arch: b.pth is another architecture"
    for f in a.safetensors b.pth c.safetensors; do
        "$RK_PROGRAM" logits -m $f --tokens 116,111,32,98,101 -o $f.npy --all
    done
    same "$arch, logits" a.safetensors.npy b.pth.npy
    same "$arch, logits" a.safetensors.npy c.safetensors.npy
    "$RK_PROGRAM" convert a.safetensors half.pth --type bf16
    "$RK_PROGRAM" convert a.safetensors half.safetensors --type bf16
    for f in half.pth half.safetensors; do
        "$RK_PROGRAM" logits -m $f --tokens 116,111,32,98,101 -o $f.npy --all
    done
    same "$arch, logits in bf16" half.pth.npy half.safetensors.npy
    cmp -s a.safetensors.npy half.pth.npy && complain "$arch: bf16 changed nothing"
    "$RK_PROGRAM" convert b.pth e.gguf
    "$RK_PROGRAM" convert e.gguf f.pth
    same "$arch, by way of .gguf" b.pth f.pth
    "$RK_PROGRAM" convert half.pth half.gguf
    "$RK_PROGRAM" convert half.gguf g.pth
    same "$arch in bf16, by way of .gguf" half.pth g.pth
    "$RK_PROGRAM" convert half.gguf h.gguf
    same "$arch, .gguf to .gguf" half.gguf h.gguf
    [ "$("$RK_PROGRAM" run -m half.gguf -p 'to be' -n 8 --temp 0 -q)" = \
        "$("$RK_PROGRAM" run -m half.pth -p 'to be' -n 8 --temp 0 -q)" ] ||
        complain "$arch: half.gguf writes another text"
    "$RK_PROGRAM" convert half.pth folder --names hf
    "$RK_PROGRAM" convert folder i.pth
    "$RK_PROGRAM" logits -m i.pth --tokens 116,111,32,98,101 -o i.npy --all
    same "$arch in bf16, by way of a folder" half.pth.npy i.npy
    # Not the same file: fla's names have no place for what rwkv7's layer 0 does not use.
    if "$RK_PROGRAM" convert half.pth fla --names fla 2>err; then
        [ $arch = rwkv7 ] || complain "$arch: fla has no such class"
        "$RK_PROGRAM" convert fla j.pth
        "$RK_PROGRAM" logits -m j.pth --tokens 116,111,32,98,101 -o j.npy --all
        same "$arch in bf16, by way of fla" half.pth.npy j.npy
        same "$arch in bf16, by way of a folder" half.pth i.pth
        "$RK_PROGRAM" convert fla again --names hf # which has layer 0's v0, v1, v2
        for part in v0 v1 v2; do
            grep -aq "rwkv7.blocks.0.att.$part" again/model.safetensors || complain "$arch: no $part"
        done
        "$RK_PROGRAM" logits -m again --tokens 116,111,32,98,101 -o k.npy --all
        same "$arch in bf16, from fla to transformers" half.pth.npy k.npy
        grep -q '"architectures": *."Rwkv7ForCausalLM"' folder/config.json || complain "$arch: class"
        grep -q '"architectures": *."RWKV7ForCausalLM"' fla/config.json || complain "$arch: fla's class"
        grep -q '"hidden_ratio": *4[,.]' fla/config.json || complain "$arch: fla's ratio of widths"
    else
        [ $arch != rwkv7 ] && grep -q "there are no fla folders of $arch models" err ||
            complain "$arch: $(cat err)"
    fi
    "$RK_PROGRAM" eval -m folder --ppl text.txt --kl-base half.pth --json |
        grep -qE '"kl":(0|0\.0+|-?[0-9.]+e-)[,}]' || complain "$arch: the folder is another model"
    grep -q '"hidden_size": 32' folder/config.json || complain "$arch: config.json"
    for type in q8_0 q4_1 rk8; do
        "$RK_PROGRAM" quantize a.safetensors $type.gguf --type $type --calibrate text.txt
        "$RK_PROGRAM" info -m $type.gguf | grep -q 'q[48]_[01] ' || complain "$arch: no blocks"
        "$RK_PROGRAM" eval -m $type.gguf --ppl text.txt --kl-base a.safetensors --json |
            grep -qE '"kl":(0\.00|[0-9.]+e-)' || complain "$arch, $type: far from the model"
    done
    if "$RK_PROGRAM" quantize a.safetensors no.safetensors --type q8_0 2>err; then
        complain "$arch: blocks in safetensors"
    fi
    [ ! -e no.safetensors ] || complain "$arch: half a file"
    rm -rf folder
    if "$RK_PROGRAM" convert a.safetensors b.pth 2>err; then
        complain "$arch: b.pth was overwritten"
    fi
    grep -q 'b.pth' err || complain "$arch: no sentence about b.pth"
    rm -f ./*.pth ./*.safetensors ./*.npy ./*.gguf
done

[ $failures = 0 ]
