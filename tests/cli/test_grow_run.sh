#!/bin/sh
# rwkv grow --run: a training run goes on with a larger model, killed and resumed to the bit; with --freeze-old what
# the model was before is there again afterwards; and what cannot grow.
# shellcheck source=tests/script.sh
. "$RK_SOURCE_DIR/tests/script.sh"
refused() { # TEXT, then a command
    text=$1
    shift
    if "$@" >out.txt 2>&1; then
        complain "'$*' was not refused"
    elif ! grep -q -e "$text" out.txt; then
        complain "'$*': no '$text' in: $(cat out.txt)"
    fi
    [ ! -e no ] || complain "'$*' has left a folder"
}
write_lines text.txt
data="--data text.txt --ctx-len 32 --batch 4 --val-frac 0.2 --lr 0.01 -q -t 1"
model="--n-layer 2 --n-embd 32 --head-size 8"
# shellcheck disable=SC2086
rwkv train --arch rwkv7 $data $model --ema 0.9 --steps 4 --out seven
logits seven want.npy
more="--tokens +24 --heads +2 --meta-heads +2 --layers +1@1"
# shellcheck disable=SC2086
rwkv grow --run seven $more -o big -q
same big/start.safetensors 'a run that has grown'
cp -r big part
# shellcheck disable=SC2086
rwkv train --resume --out big $data --tokenizer byte --ema 0.9 --steps 8
# The same, killed behind step 6: the folder has moved, and what it began with is still where it was.
# shellcheck disable=SC2086
rwkv train --resume --out part $data --ema 0.9 --steps 8 --save-every 2
rm -r part/checkpoint-8 part/model.safetensors part/model-ema.safetensors
# shellcheck disable=SC2086
rwkv train --resume --out part $data --ema 0.9 --steps 8
for file in model model-ema; do
    cmp big/$file.safetensors part/$file.safetensors || complain "resumed: another $file"
done
logits big got.npy
cmp -s want.npy got.npy && complain 'training changed nothing'

# A checkpoint that is damaged is passed over.
cp -r seven hurt
cp -r seven/checkpoint-4 hurt/checkpoint-5
echo x >hurt/checkpoint-5/state.json
# shellcheck disable=SC2086
rwkv grow --run hurt $more -o healed >out.txt 2>&1 || complain "grow --run of a damaged run: $(cat out.txt)"
grep -q 'passing over .*checkpoint-5' out.txt || complain "nothing is said of the damaged checkpoint: $(cat out.txt)"

# Grown again: three generations.
rwkv grow --run big --tokens +8 -o bigger -q
logits big want.npy
same bigger/start.safetensors 'grown again'
# shellcheck disable=SC2086
rwkv train --resume --out bigger $data --ema 0.9 --steps 9
# moved, and its old name in use again: a run finds its own start
cp -r bigger moved && mv bigger/start.safetensors kept.safetensors && cp seven/model.safetensors bigger/start.safetensors
# shellcheck disable=SC2086
rwkv train --resume --out moved $data --ema 0.9 --steps 10
mv kept.safetensors bigger/start.safetensors
rwkv info bigger/model.safetensors --json | grep -q '"generations":3' || complain 'other generations'

# Tokens that each generation was trained for: 4 rows of 32 a step.
trained() { # FILE NUMBERS
    found=$(rwkv info "$1" | sed -n 's/^metadata trained_tokens: //p')
    [ "$found" = "$2" ] || complain "$1: trained for '$found', expected '$2'"
}
trained seven/model.safetensors ''
trained big/start.safetensors 512,0
trained big/model.safetensors 512,512
trained part/model-ema.safetensors 512,512
trained bigger/start.safetensors 512,512,0
trained bigger/model.safetensors 512,512,128

# The rate rises again where the model grew, killed and resumed or not.
rwkv grow --run seven --tokens +24 --rewarm 2 --lr 0.02 -o warm -q
warm="--data text.txt --ctx-len 32 --batch 4 --val-frac 0.2 --lr 0.02 --rewarm 2 --ema 0.9 --schedule linear -q -t 1"
# shellcheck disable=SC2086
refused 'schedule' rwkv train --resume --out warm $warm --steps 8
warm="--data text.txt --ctx-len 32 --batch 4 --val-frac 0.2 --lr 0.02 --rewarm 2 --ema 0.9 -q -t 1"
cp -r warm cold
# shellcheck disable=SC2086
rwkv train --resume --out warm $warm --steps 8
# shellcheck disable=SC2086
rwkv train --resume --out cold $warm --steps 8 --save-every 3
rm -r cold/checkpoint-8 cold/model.safetensors
# shellcheck disable=SC2086
rwkv train --resume --out cold $warm --steps 8
cmp warm/model.safetensors cold/model.safetensors || complain 'resumed while it warms up: another model'
rates=$(grep -o '"step": *[5-8],.*"lr": *[0-9.e-]*' warm/log.jsonl | sed 's/.*"lr": *//' | tr '\n' ' ')
[ "$rates" = '0.0002 0.0101 0.02 0.011 ' ] || complain "rates are $rates"
# shellcheck disable=SC2086
refused 'rewarm is of a run whose model has grown' rwkv train $data $model --rewarm 2 --steps 1 --out no
refused 'are of --run' rwkv grow -m seven/model.safetensors --tokens +4 --rewarm 3 -o no

# New parts alone, in a run and of a file.
logits seven want.npy
rwkv grow --run seven --tokens +24 --heads +2 --layers +1 --freeze-old -o frozen -q
# shellcheck disable=SC2086
rwkv train --resume --out frozen $data --ema 0.9 --freeze-old --steps 8
rwkv grow -m seven/model.safetensors --tokens +24 --meta-heads +1 -o more.safetensors -q
# shellcheck disable=SC2086
rwkv train --init-from more.safetensors $data --freeze-old --optimizer sgd --steps 4 --out frozen-file
trained more.safetensors 0,0
trained frozen-file/model.safetensors 0,512
for run in frozen frozen-file; do
    logits $run got.npy
    cmp -s want.npy got.npy && complain "$run: training changed nothing"
    rwkv grow -m $run/model.safetensors --truncate 0 -o $run.safetensors -q
    same $run.safetensors "$run, taken back"
done

# A run that began as RWKV-7, and one with every option.
# shellcheck disable=SC2086
rwkv train --init-from seven --arch meta7 $data --steps 2 --out adopted
# shellcheck disable=SC2086
rwkv train --arch meta7 $data $model --n-head 3 --meta-extra 1 --meta-heads 3 --meta-time before --route-k 1 \
    --route-block 32 --optimizer muon --steps 2 --out options
for run in adopted options; do
    rwkv grow --run $run --tokens +32 --heads +1 -o $run-big -q
    logits $run want.npy
    same $run-big/start.safetensors "$run"
done
# shellcheck disable=SC2086
rwkv train --resume --out adopted-big $data --steps 3
# shellcheck disable=SC2086
rwkv train --resume --out options-big $data --optimizer muon --steps 3

grow() { rwkv grow "$@" -o no; }
refused 'No such file' grow --run nowhere --tokens 4
mkdir empty
refused 'no checkpoint of a run is there' grow --run empty --tokens 4
refused 'nothing is added' grow --run seven
refused 'FILE or --run DIR is missing' grow --tokens 4
refused 'a model or a run' grow --run seven -m seven --tokens 4
refused 'is of models, not of runs' grow --run seven --truncate 0
refused 'is of --run' grow -m seven --tokens 4 --freeze-old
refused 'keys of zero never learn' grow --run seven --tokens 4 --start zero
refused 'holds a run already' rwkv grow --run seven --tokens 4 -o big
# shellcheck disable=SC2086
rwkv train --init-from seven --train-only ffn $data --steps 1 --out some
refused 'a run grows that trains the whole model' grow --run some --tokens 4
# shellcheck disable=SC2086
refused 'it has not grown' rwkv train --init-from seven $data --freeze-old --steps 1 --out no
# shellcheck disable=SC2086
refused 'adamw and sgd can' rwkv train --init-from more.safetensors $data --freeze-old --optimizer muon --steps 1 --out no
# shellcheck disable=SC2086
refused 'freeze is none, but\|freeze is old, but\|--freeze is' rwkv train --resume --out big $data --ema 0.9 --freeze-old --steps 10
[ $failures -eq 0 ]
