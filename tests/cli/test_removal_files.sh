#!/bin/sh
# RWKV-7 with removal_scale 2: it trains, goes through every container that can say so with the same
# scores, and no file of it can be taken for a plain model.
# shellcheck source=tests/script.sh
. "$RK_SOURCE_DIR/tests/script.sh"

seq -f '%g: to be, or not to be, that is the question' 24 >text.txt
train() {
    "$RK_PROGRAM" train --data text.txt --n-layer 2 --n-embd 64 --head-size 16 --ctx-len 24 \
        --batch 2 --lr 1e-2 --warmup 1 --steps 4 -q "$@"
}
train --out run --removal-scale 2
train --out one --removal-scale 1
train --out plain
cmp -s one/model.safetensors plain/model.safetensors || complain "--removal-scale 1 is not the default"
cmp -s run/model.safetensors plain/model.safetensors && complain "--removal-scale 2 changes nothing"
train --out run --removal-scale 2 --resume --steps 5
train --out run --resume --steps 6 2>err && complain "a run went on with another removal scale"
grep -q -e '--removal-scale is 1, but .* was made with 2' err || complain "$(cat err)"

model=run/model.safetensors
"$RK_PROGRAM" info -m $model --json | grep -q '"removal_scale":2' || complain "info does not tell it"
"$RK_PROGRAM" convert $model a.gguf
"$RK_PROGRAM" convert a.gguf b.safetensors
"$RK_PROGRAM" convert b.safetensors folder --names hf
"$RK_PROGRAM" convert folder c.safetensors
grep -q '"removal_scale": 2' folder/config.json || complain "config.json does not tell it"
grep -q '"model_type": "rwkv7+removal_scale"' folder/config.json || complain "config.json: model_type"
grep -q 'rwkv7+removal_scale' a.gguf || complain "the .gguf file is of a plain architecture"
for file in $model a.gguf b.safetensors folder c.safetensors; do
    "$RK_PROGRAM" logits -m $file --tokens 116,111,32,98,101 -o scores.npy --all -q
    [ -e want ] || cp scores.npy want
    # Low-rank matrices of the folder lie the other way round, so their sums round otherwise.
    [ $file = folder ] || cmp -s want scores.npy || complain "$file has other scores"
    "$RK_PROGRAM" info -m $file --json | grep -o '"fingerprint":"[^"]*"' >fingerprint
    [ -e known ] || cp fingerprint known
    cmp -s known fingerprint || complain "$file has another fingerprint"
    rm scores.npy
done
"$RK_PROGRAM" convert $model d.pth 2>err && complain "a .pth file holds it"
grep -q 'cannot hold the model.s removal_scale of 2' err || complain "$(cat err)"

# Metadata that got lost are missed, and so is a size outside its range.
for value in 0 3; do
    sed "s/\"removal_scale\":\"2\"/\"removal_scale\":\"$value\"/" $model >bad.safetensors
    "$RK_PROGRAM" info -m bad.safetensors | grep -q 'expected a number between 0 and 2' ||
        complain "removal_scale $value"
done
sed 's/"removal_scale":"2"/"removal_spale":"2"/' $model >lost.safetensors
"$RK_PROGRAM" info -m lost.safetensors | grep -q "tensor 'removal_scale' says" ||
    complain "lost metadata are not missed"
"$RK_PROGRAM" train --data text.txt --out no --arch rwkv6 --removal-scale 2 2>err &&
    complain "rwkv6 has a removal scale"
grep -q -e '--removal-scale: an rwkv6 model has no such size' err || complain "$(cat err)"
[ $failures -eq 0 ]
