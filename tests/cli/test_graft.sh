#!/bin/sh
# rwkv graft: the host's logits to the bit, also of a host in blocks; what is trained beside it can be
# dropped again; more heads change nothing; heads from an RWKV-7 model; and what is refused.
# shellcheck source=tests/script.sh
. "$RK_SOURCE_DIR/tests/script.sh"
write_lines text.txt
small="--data text.txt --tokenizer byte --ctx-len 32 --batch 4 --n-layer 2 --n-embd 32 --val-frac 0.2 -q -t 1"
# shellcheck disable=SC2086
rwkv train --arch qwen2 $small --n-head 4 --n-kv-head 2 --steps 12 --out host
# shellcheck disable=SC2086
rwkv train --arch rwkv7 $small --head-size 8 --steps 2 --out seven
logits host want.npy
heads="--state-heads 2 --state-head-size 8 --middle-heads 2 -q"
for mode in gate concat add add_query; do
    # shellcheck disable=SC2086
    rwkv graft -m host $heads --mode $mode -o hybrid-$mode
    same hybrid-$mode "$mode"
done
# shellcheck disable=SC2086
rwkv graft -m host $heads --head-output in_place --two-hop 1 -o place.safetensors
same place.safetensors 'in place'
# shellcheck disable=SC2086
rwkv graft -m host $heads --head-output shared --value-from attention -o shared.safetensors
same shared.safetensors 'one output'
# shellcheck disable=SC2086
rwkv graft -m host $heads --import-state seven -o imported
same imported 'heads of an RWKV-7 model'
rwkv info imported --json | grep -q '"output_gate": *1' || complain 'imported heads: no gate'

# Heads in one layer only; then in both, whether the first has some or not.
# shellcheck disable=SC2086
rwkv graft -m host $heads --layers 1 --value-residual 1 -o some
same some 'heads in one layer'
rwkv info some | grep -q 'attention only *in layers 0$' || complain 'heads in layer 0, too'
grep -q '"layers":\[1\]' some/config.json || complain "config.json: $(cat some/config.json)"
rwkv convert some some.gguf
same some.gguf 'heads in one layer as GGUF'
rwkv graft -m some --state-heads 3 --layers all -q -o more
same more 'heads in the other layer, too'
rwkv info more | grep -q 'attention only' && complain 'a layer without heads is left'
# shellcheck disable=SC2086
rwkv train --init-from some --train-only '*.wuneng.*' --data text.txt --ctx-len 32 --batch 4 --steps 4 --val-frac 0.2 -q -t 1 --out some-1
# shellcheck disable=SC2086
rwkv train --init-from some --train-only '*.wuneng.*' --data text.txt --ctx-len 32 --batch 4 --steps 2 --val-frac 0.2 -q -t 1 --out some-2
rwkv train --init-from some --train-only '*.wuneng.*' --data text.txt --ctx-len 32 --batch 4 --steps 4 --val-frac 0.2 -q -t 1 --out some-2 --resume
cmp -s some-1/model.safetensors some-2/model.safetensors || complain 'heads in one layer: going on'
for layers in 0-5 x auto:1; do
    # shellcheck disable=SC2086
    rwkv graft -m host $heads --layers $layers -o no 2>err && complain "--layers $layers"
    [ "$(wc -l <err)" = 1 ] && grep -q 'layers' err || complain "--layers $layers: $(cat err)"
done
rwkv graft -m some --layers 0 -q -o no 2>err && complain 'a host whose heads go'
grep -q 'layer 1 of the host has heads, which stay' err || complain "$(cat err)"
sed 's/"layers":\[1\]/"layers":[0,1]/' some/config.json >x.json && rm -rf wrong && cp -r some wrong && cp x.json wrong/config.json
rwkv run -m wrong -p a -n 1 -q 2>err && complain 'a listed layer without heads'
grep -q 'layer 0 is in its list of layers, but no tensors of wuneng' err || complain "$(cat err)"

# Without metadata config.json says the same.
python3 - hybrid-add/model.safetensors <<'EOF' || complain 'python3 failed'
import sys
from safetensors_parts import read, write
head, data = read(sys.argv[1])
del head["__metadata__"]
write(sys.argv[1], head, data)
EOF
same hybrid-add 'metadata in config.json alone'

# Training what is new moves the logits; without it they are the host's again.
rwkv train --init-from hybrid-gate --train-only '*.wuneng.*' --data text.txt --ctx-len 32 --batch 4 --steps 8 --lr 1e-2 \
    --val-frac 0.2 -q -t 1 --out trained
logits trained got.npy
cmp -s want.npy got.npy && complain 'training changed nothing'
rwkv graft -m trained/model.safetensors --state-heads 4 --middle-heads 3 -o grown -q
cp got.npy before.npy
logits grown got.npy
cmp -s before.npy got.npy || complain 'more heads change the logits'
python3 - trained/model.safetensors dropped.safetensors <<'EOF' || complain 'python3 failed'
import sys
from safetensors_parts import read, write
head, data = read(sys.argv[1])
kept, out = {}, b""
for name, t in head.items():
    if name == "__metadata__":
        kept[name] = t
    elif ".wuneng." not in name:
        lo, hi = t["data_offsets"]
        kept[name] = dict(t, data_offsets=[len(out), len(out) + hi - lo])
        out += data[lo:hi]
write(sys.argv[2], kept, out)
EOF
same dropped.safetensors 'the trained model without its heads'

# A host in blocks keeps its formats.
rwkv quantize host host.gguf --type q8_0 -q
logits host.gguf want.npy
# shellcheck disable=SC2086
rwkv graft -m host.gguf $heads -o blocks.gguf
same blocks.gguf 'a host in blocks'

refused() { # PATTERN ARGS
    pattern=$1
    shift
    status=0
    rwkv graft "$@" -q >out 2>err || status=$?
    if [ $status = 0 ] || ! grep -q "$pattern" err; then
        complain "graft $*: status $status, $(cat err)"
    fi
    [ ! -e bad ] || complain "graft $*: left something"
}
refused 'grafted on qwen2, llama and wuneng' -m seven -o bad
refused 'state_heads is 2 in the host' -m hybrid-gate --state-heads 1 -o bad
refused 'middle_mode is 0 in the host' -m hybrid-gate --mode add -o bad
refused 'has 4 heads of 8 in 32' -m host --state-heads 9 --state-head-size 8 --import-state seven -o bad
refused 'state heads come from rwkv7' -m host --import-state host -o bad
refused 'exists' -m host -o hybrid-gate
[ $failures = 0 ]
