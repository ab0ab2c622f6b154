#!/bin/sh
# `rwkv adapter`: what it says of adapters, through which formats they go, and what it refuses.
# shellcheck source=tests/script.sh
. "$RK_SOURCE_DIR/tests/script.sh"

data=$RK_SOURCE_DIR/tests/data/adapter

# same A B: two files of the same bytes
same() {
    cmp -s "$1" "$2" || complain "$1 and $2 differ"
}

# refused PATTERN STATUS ARGUMENTS...: one sentence, and no file "none"
refused() {
    pattern=$1 want=$2 got=0
    shift 2
    "$RK_PROGRAM" adapter "$@" >out 2>err || got=$?
    [ $got -eq "$want" ] && grep -q -e "$pattern" err && [ "$(wc -l <err)" -eq 1 ] && [ ! -e none ] ||
        complain "$*: status $got, expected $want and '$pattern': $(cat err)"
}

rwkv adapter info "$data/lora.safetensors" >info
grep -q 'method  *pissa' info && grep -q 'lora beside a start, rank 2' info || complain "info: $(cat info)"
rwkv adapter info "$data/disha.safetensors" --json | grep -q '"form":"bat-in","inputs":4,"outputs":null' ||
    complain "info --json"

# There and back: PiSSA with its start, and LoRA of alpha 8.
rwkv adapter convert "$data/lora.safetensors" -o folder
grep -q '"r": 4' folder/adapter_config.json || complain "the rank of a LoRA with its start"
rwkv adapter convert folder -o a.pth
[ -f init_pissa.pth ] || complain "no init_pissa.pth"
rwkv adapter convert a.pth -o b.safetensors
rwkv adapter convert b.safetensors -o c/ --to hf
rwkv adapter convert c -o d.pth --to rwkv-peft --force
same a.pth d.pth
mkdir lora
rwkv adapter convert "$data/lora.pth" -o lora/peft --alpha 8
rwkv adapter convert lora/peft -o lora/back.pth
same "$data/lora.pth" lora/back.pth

refused 'exists' 2 convert "$data/lora.pth" -o lora/back.pth
refused 'alpha' 2 convert "$data/lora.pth" -o none
refused 'No such file' 1 info none.pth
refused 'which architecture' 2 convert "$data/lora.pth" -o none.gguf --alpha 8

# Of a llama model llama.cpp has the rows of q and k in another order, which the model's heads say.
mkdir pairs
cd pairs
i=0
while [ $i -lt 40 ]; do
    echo "$i: to be, or not to be, that is the question"
    i=$((i + 1))
done >text.txt
rwkv train --arch llama --data text.txt --tokenizer byte --out llama --n-layer 1 --n-embd 32 --n-head 2 --n-kv-head 1 \
    --ctx-len 16 --batch 2 --steps 2 --seed 1 -q
rwkv tune -m llama/model.safetensors --data text.txt --tokenizer byte --method lora --rank 2 --targets q_proj,k_proj,v_proj \
    --steps 3 --lr 1e-2 --ctx-len 16 --batch 2 --out tuned -q
rwkv adapter convert tuned -o tuned.gguf -m llama/model.safetensors
rwkv adapter convert tuned.gguf -o again.pth -m llama/model.safetensors
rwkv adapter convert tuned -o first.pth -m llama/model.safetensors
same first.pth again.pth
for adapter in tuned tuned.gguf; do
    rwkv logits -m llama/model.safetensors --adapter $adapter --tokens 1,2,3,4,5 --all -o $adapter.npy -q
done
same tuned.npy tuned.gguf.npy
LC_ALL=C sed 's/llama/qwen2/' tuned.gguf >qwen2.gguf # whose rows lie there as they do here
rwkv adapter convert qwen2.gguf -o qwen2.pth
cmp -s first.pth qwen2.pth && complain "the rows of q and k lie in llama.cpp's file as they do here"
refused "order, which the size of its heads says; -m names its model" 2 convert tuned -o none.gguf
refused "lie in llama.cpp's order; -m names the model" 2 convert tuned.gguf -o none.pth

exit $failures
