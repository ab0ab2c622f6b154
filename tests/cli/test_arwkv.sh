#!/bin/sh
# Transformers with a recurrence in the place of attention: made, run, trained on, tuned, converted there and
# back with the same bytes, quantised; and configurations that contradict themselves.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
failed=0
complain()
{
    echo "FAILED: $1" >&2
    failed=1
}
rwkv()
{
    "$RK_PROGRAM" "$@" -t 1
}

i=0
while [ $i -lt 400 ]; do
    echo "line $i of a text whose words come again and again, $((i * i))"
    i=$((i + 1))
done >t.txt
small="--n-layer 2 --n-embd 32 --ctx-len 32 --batch 2 --lr 1e-3 -q"

# make NAME ARCH STEPS OPTIONS...
make()
{
    name=$1 arch=$2 steps=$3
    shift 3
    rwkv train --arch "$arch" --data t.txt --out "$name" $small --steps "$steps" "$@"
}

make a0 arwkv7 2 --head-size 16 --gate-mode 0
make a1 arwkv7 2 --head-size 16 --gate-mode 1 --group-norm 1
make a2 arwkv7 2 --head-size 16
make q6 rwkv6qwen2 2 --n-head 4 --n-kv-head 2
make q7 rwkv7qwen2 2 --n-head 4 --n-kv-head 2
make q8 rwkv7qwen2 2 --n-head 4 --n-kv-head 1 --balance-state 0 --group-norm 1 --full-gate 1

tokens="--tokens 84,104,101,32,116 --all --force -q"
for m in a0 a1 a2 q6 q7 q8; do
    # a run that stops and goes on ends with the bytes of one that does not
    cp -r $m $m-on
    case $m in
    a0) o="--arch arwkv7 --head-size 16 --gate-mode 0" ;;
    a1) o="--arch arwkv7 --head-size 16 --gate-mode 1 --group-norm 1" ;;
    a2) o="--arch arwkv7 --head-size 16" ;;
    q6) o="--arch rwkv6qwen2 --n-head 4 --n-kv-head 2" ;;
    q7) o="--arch rwkv7qwen2 --n-head 4 --n-kv-head 2" ;;
    q8) o="--arch rwkv7qwen2 --n-head 4 --n-kv-head 1 --balance-state 0 --group-norm 1 --full-gate 1" ;;
    esac
    if [ $m = a2 ] || [ $m = q7 ]; then
        rwkv train --data t.txt --out $m-4 $small --schedule constant $o --steps 4
        rwkv train --data t.txt --out $m-22 $small --schedule constant $o --steps 2
        rwkv train --data t.txt --out $m-22 $small --schedule constant $o --steps 4 --resume
        cmp -s $m-4/model.safetensors $m-22/model.safetensors || complain "$m: going on"
    fi
    f=$m/model.safetensors
    rwkv convert $f $m-hf --names hf
    rwkv convert $m-hf $m.gguf
    rwkv convert $m.gguf $m-back --names hf
    cmp -s $m-hf/model.safetensors $m-back/model.safetensors || complain "$m: there and back"
    cmp -s $m-hf/config.json $m-back/config.json || complain "$m: config.json there and back"
    rwkv logits -m $f $tokens -o x.npy
    rwkv logits -m $m-hf $tokens -o y.npy
    cmp -s x.npy y.npy || complain "$m: other logits as a folder"
    rwkv run -m $f -p "line 1" -n 8 --temp 0 -q >x.txt
    rwkv run -m $m.gguf -p "line 1" -n 8 --temp 0 -q >y.txt
    cmp -s x.txt y.txt || complain "$m: other text as GGUF"
    rwkv quantize $f $m-q8.gguf --type q8_0 -q
    rwkv eval -m $m-q8.gguf --ppl t.txt --ctx 32 -q >/dev/null || complain "$m: eval in Q8_0"
done
grep -aq "time_mix_lerp_fused" a1.gguf || complain "no names of llama.cpp for a plain gate"
grep -aq "general.architecture" q6.gguf && grep -aq "time_mix_lerp_x" q6.gguf ||
    complain "no names of llama.cpp for rwkv6qwen2"
# what llama.cpp does not know it must not take for what it knows
grep -aq "arwkv7+wkv_gate_mode" a2.gguf || complain "a gate of one plus is not marked in GGUF"
grep -aq "time_mix_" a2.gguf && complain "a gate of one plus under the names of llama.cpp"
grep -aq "time_mix_" q7.gguf && complain "rwkv7qwen2 under the names of llama.cpp"

# adapters and states
rwkv tune -m a1/model.safetensors --data t.txt --method lora --rank 2 --steps 2 --ctx-len 32 --batch 2 \
    --out lora -q
rwkv tune -m q7/model.safetensors --data t.txt --method state --steps 2 --ctx-len 32 --batch 2 --out state -q
rwkv run -m a1/model.safetensors --adapter lora -p a -n 2 -q >/dev/null || complain "an adapter"
rwkv run -m q7/model.safetensors --state state/state.pth -p a -n 2 -q >/dev/null || complain "a state"

# ---- what contradicts itself
# bad NAME SED WORDS: config.json changed, one sentence with these words
bad()
{
    rm -rf bad
    cp -r "$1-hf" bad
    chmod -R u+w bad
    sed "$2" "$1-hf/config.json" >bad/config.json
    cmp -s bad/config.json "$1-hf/config.json" && complain "$2 changes nothing"
    got=0
    rwkv logits -m bad $tokens -o no.npy 2>err || got=$?
    [ $got = 2 ] && [ "$(wc -l <err)" = 1 ] && grep -q "$3" err || complain "$2: $got $(cat err)"
}
bad a1 's/"wkv_has_gate": true/"wkv_has_gate": false/' "wkv_has_gate is false, but there is a tensor"
bad a0 's/"wkv_has_gate": false/"wkv_has_gate": true/' "wkv_has_gate is true, but there is no tensor"
bad a1 's/"wkv_has_group_norm": true/"wkv_has_group_norm": false/' "wkv_has_group_norm is false"
bad a1 's/"wkv_version": 7/"wkv_version": 6/' "wkv_version is another number"
bad a1 's/"wkv_use_vfirst": true/"wkv_use_vfirst": false/' "wkv_use_vfirst is false"
bad a1 's/"wkv_layers": "full"/"wkv_layers": "some"/' "wkv_layers is some"
bad a1 's/"wkv_layers": "full"/"wkv_layers": [0]/' "layer 1 is not in its list of layers"
bad a1 's/"wkv_layers": "full"/"wkv_layers": 5/' "byte "
bad a1 's/"head_size_divisor": 8/"head_size_divisor": 4/' "head_size_divisor"
bad a1 's/"head_size": 16/"head_size": 8/' "head_size is 8"
bad a1 's/"wkv_has_gate": true/"wkv_has_gate": 3/' "true or false"
bad a1 's/"model_type": "rwkv_hybrid"/"model_type": "qwen2"/' "model_type is 'qwen2'"
bad a1 's/"hidden_size": 32/"hidden_size": 64/' "hidden_size is 64"
bad q6 's/"model_type": "rwkv6qwen2"/"model_type": "rwkv7qwen2"/' "model_type is 'rwkv7qwen2'"
bad q6 's/"attention_bias": true/"attention_bias": false/' "attention_bias is false"
bad q7 's/"num_key_value_heads": 2/"num_key_value_heads": 4/' "num_key_value_heads is 4"
[ -e no.npy ] && complain "output of a model that was refused"
exit $failed
