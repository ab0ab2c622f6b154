#!/bin/sh
# rwkv grow: the logits stay, of plain RWKV-7 files and of models that have grown, and what was added comes off
# again; what would not be exact is refused.
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
    [ ! -e no.safetensors ] || complain "'$*' has left a file"
}
write_lines text.txt
data="--data text.txt --tokenizer byte --ctx-len 32 --batch 4 --val-frac 0.2 -q -t 1"
near() { # MODEL WHAT
    logits "$1" got.npy
    python3 - <<'PY' || complain "$2: other logits"
import struct
def read(name):
    b = open(name, "rb").read()
    n = struct.unpack("<H", b[8:10])[0]
    return struct.unpack("<%df" % ((len(b) - 10 - n) // 4), b[10 + n:])
a, b = read("want.npy"), read("got.npy")
rms = (sum(x * x for x in a) / len(a)) ** 0.5
assert len(a) == len(b) and max(abs(x - y) for x, y in zip(a, b)) <= 1e-6 * rms
PY
}
# shellcheck disable=SC2086
rwkv train --arch rwkv7 $data --n-layer 2 --n-embd 32 --head-size 8 --lr 0.01 --steps 8 --out seven
logits seven want.npy
rwkv grow -m seven/model.safetensors --tokens +24 --heads +2 --meta-heads +2 --layers +2@1 -o big.safetensors -q
near big.safetensors 'everything at once'
rwkv info big.safetensors --json | grep -q '"n_layer":4.*"n_head":6.*"dim_ffn":152' || complain 'other sizes'
rwkv grow -m big.safetensors --tokens 8 --layers +1 --start copy -o bigger.gguf -q
near bigger.gguf 'grown again'
rwkv grow -m bigger.gguf --truncate 0 -o first.safetensors -q
rwkv info first.safetensors --json | grep -q '"arch":"rwkv7"' || complain 'no RWKV-7 model any more'
logits first.safetensors got.npy
cmp -s want.npy got.npy || complain 'taken off again: other logits'

# Tokens that generations were trained for stay where the model is written again.
trained() { # FILE NUMBERS
    found=$(rwkv info "$1" | sed -n 's/^metadata trained_tokens: //p')
    [ "$found" = "$2" ] || complain "$1: trained for '$found', expected '$2'"
}
# shellcheck disable=SC2086
rwkv train --init-from big.safetensors $data --steps 8 --lr 0 --out still
trained big.safetensors 0,0
trained still/model.safetensors 0,1024
trained first.safetensors ''
rwkv grow -m still/model.safetensors --tokens 8 --layers +1 -o bigger.gguf --force -q
trained bigger.gguf 0,1024,0
rwkv grow -m bigger.gguf --truncate 1 -o second.safetensors -q
trained second.safetensors 0,1024
rwkv convert -q bigger.gguf again.safetensors
trained again.safetensors 0,1024,0
rwkv convert -q again.safetensors folder --names hf
trained folder 0,1024,0
grep -q '"trained_tokens":\[0,1024,0\]' folder/config.json || complain "config.json: $(cat folder/config.json)"
damage big.safetensors bad.safetensors "meta['trained_tokens'] = '7'"
refused "trained_tokens is '7', expected 2 numbers" rwkv grow -m bad.safetensors --tokens +4 -o no.safetensors

# What is grown is used as any model is.
rwkv quantize big.safetensors q8.gguf --type q8_0 -q >out.txt 2>&1 ||
    complain "quantize: $(cat out.txt)"
rwkv run -m q8.gguf -p 'line 7' -n 8 --temp 0 --tokenizer byte -q >out.txt 2>&1 || complain "run: $(cat out.txt)"
# shellcheck disable=SC2086
rwkv tune -m big.safetensors $data --method lora --rank 2 --steps 2 --out tuned || complain 'tune failed'
# shellcheck disable=SC2086
rwkv train --init-from big.safetensors $data --steps 2 --out on || complain 'train failed'

# routing among generations: a plan takes the most blocks that they can have
# shellcheck disable=SC2086
rwkv train --arch meta7 $data --tokenizer byte --n-layer 2 --n-embd 32 --head-size 8 --dim-ffn 100 --route-k 2 --route-block 16 \
    --steps 2 --out routed || complain 'a routed model does not train'
rwkv grow -m routed/model.safetensors --tokens +8 -o routed2.safetensors -q
# shellcheck disable=SC2086
rwkv train --init-from routed2.safetensors $data --steps 2 --out routed-on || complain 'a routed model that has grown does not train'

for word in +4x -4 four ''; do
    refused 'expected +N' rwkv grow -m seven/model.safetensors --tokens="$word" -o no.safetensors
done
grow() { rwkv grow -m seven/model.safetensors -o no.safetensors "$@"; }
refused 'expected +N or +N@LAYER' grow --layers +1@
refused 'nothing is added' grow
refused 'keys of zero never learn' grow --tokens +4 --start zero
refused 'heads do not grow' grow --head-size 16
refused 'the width does not grow' grow --n-embd 64
refused 'no layer can become layer 0' grow --layers +1@0
refused 'new layers behind layer 3 of 2' grow --layers +1@3
refused 'meta_heads is 5, and there are 4' grow --meta-heads +5
refused 'dim_ffn would be' grow --tokens +1048576
refused 'the model has not grown' grow --truncate 0
refused 'nothing can be added with it' grow --truncate 0 --tokens +1
refused 'exists' rwkv grow -m seven/model.safetensors --tokens +4 -o big.safetensors
refused 'expected one before the last, 0 to 0' rwkv grow -m big.safetensors --truncate 1 -o no.safetensors
refused 'is in blocks, which do not grow' rwkv grow -m q8.gguf --tokens +4 -o no.safetensors
rwkv compress svd -m seven/model.safetensors --rank 4 -o pairs.safetensors -q
refused 'models with low-rank pairs do not grow' rwkv grow -m pairs.safetensors --tokens +4 -o no.safetensors
[ $failures -eq 0 ]
