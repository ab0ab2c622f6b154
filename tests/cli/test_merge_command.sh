#!/bin/sh
# rwkv merge and unmerge: a model with an adapter in it computes what it does with the adapter beside it,
# in every container, and is itself again without it; what is refused leaves nothing behind.
# shellcheck source=tests/script.sh
. "$RK_SOURCE_DIR/tests/script.sh"

refused() { # what, what the sentence names; then the command
    what=$1 named=$2
    shift 2
    status=0
    "$RK_PROGRAM" "$@" -q 2>err || status=$?
    [ $status = 2 ] || complain "$what: status $status, expected 2: $(cat err)"
    grep -q -- "$named" err || complain "$what: expected '$named' in: $(cat err)"
    [ ! -e refused.safetensors ] || complain "$what: an output remained"
}

bits() { "$RK_PROGRAM" eval --ppl text.txt --ctx 16 -q "$@" | sed -n "s/^bits_per_byte *//p"; }
near() { # two numbers of bits
    awk "BEGIN { d = $1 - $2; exit !(d < 2e-4 && d > -2e-4) }"
}

i=0
while [ $i -lt 20 ]; do
    echo "$i: to be, or not to be, that is the question"
    i=$((i + 1))
done >text.txt
small="--tokenizer byte --n-layer 2 --n-embd 64 --head-size 32 --ctx-len 16 --batch 2 --steps 2"
for arch in rwkv7 rwkv6; do
    # shellcheck disable=SC2086 # a list of options
    "$RK_PROGRAM" train --data text.txt --out run --arch $arch $small -q >/dev/null 2>&1
    mv run/model.safetensors $arch.safetensors
    rm -rf run
done
tune() { # folder, then options
    folder=$1
    shift
    case "$*" in *"--method state"*) ;; *) set -- --rank 4 "$@" ;; esac
    "$RK_PROGRAM" tune --data text.txt --tokenizer byte --ctx-len 16 --batch 2 --steps 3 --out "$folder" -q \
        "$@" >/dev/null
}

base=$(bits rwkv7.safetensors)
for method in miss lora dora olora bat; do
    tune $method -m rwkv7.safetensors --method $method --lr 1e-2 || complain "$method: not tuned"
    "$RK_PROGRAM" merge -m rwkv7.safetensors --adapter $method -o $method.safetensors -q || complain "$method: not merged"
    beside=$(bits rwkv7.safetensors --adapter $method) merged=$(bits $method.safetensors)
    near "$beside" "$merged" || complain "$method: $beside beside, $merged merged"
    near "$base" "$merged" && complain "$method: changes nothing"
    [ $method = dora ] && continue
    "$RK_PROGRAM" unmerge -m $method.safetensors --adapter $method -o back.safetensors -q --force
    near "$base" "$(bits back.safetensors)" || complain "$method: $base before, $(bits back.safetensors) after"
done

# Halves, and two at once.
"$RK_PROGRAM" merge -m rwkv7.safetensors --adapter miss:0.5 --adapter bat -o two.safetensors -q
near "$(bits rwkv7.safetensors --adapter miss:0.5 --adapter bat)" "$(bits two.safetensors)" || complain "two adapters"
"$RK_PROGRAM" merge -m rwkv7.safetensors --adapter miss:0.5 --adapter bat -o three.safetensors -q -t 3
cmp -s two.safetensors three.safetensors || complain "other bits with three threads"

# An initial state, beside an adapter and alone.
tune state -m rwkv7.safetensors --method state
"$RK_PROGRAM" merge -m rwkv7.safetensors --adapter miss --state state/state.pth -o both.safetensors -q
begun=$(bits rwkv7.safetensors --adapter miss --state state/state.pth)
near "$begun" "$(bits both.safetensors)" || complain "a state: $begun beside, $(bits both.safetensors) merged"
tune again -m rwkv7.safetensors --method state --seed 2 --lr 3
"$RK_PROGRAM" merge -m both.safetensors --state again/state.pth -o again.safetensors -q
renewed=$(bits rwkv7.safetensors --adapter miss --state again/state.pth)
near "$begun" "$renewed" && complain "two states do the same: $begun"
"$RK_PROGRAM" merge -m rwkv7.safetensors --state state/state.pth:0.5 --state again/state.pth:0.25 -o sum.safetensors -q
near "$(bits rwkv7.safetensors --state state/state.pth:0.5 --state again/state.pth:0.25)" "$(bits sum.safetensors)" ||
    complain "two states that add up: $(bits sum.safetensors)"
near "$renewed" "$(bits again.safetensors)" || complain "a state in the place of another: $renewed, $(bits again.safetensors)"

# Other containers and types, which know the model under other names and lay it out otherwise.
tune low -m rwkv7.safetensors --method miss --lr 0.3 --targets g2
near "$base" "$(bits rwkv7.safetensors --adapter low)" && complain "a low-rank matrix changes nothing"
tune six -m rwkv6.safetensors --method miss --lr 1e-2 --targets receptance,key
for arch in rwkv7 rwkv6; do
    adapter=$([ $arch = rwkv6 ] && echo six || echo low)
    merged=$(bits $arch.safetensors --adapter "$adapter")
    for out in m.gguf m.pth; do
        "$RK_PROGRAM" merge -m $arch.safetensors --adapter "$adapter" -o $out -q --force --vocab byte
        near "$merged" "$(bits $out --vocab byte)" || complain "$arch: $merged, in $out $(bits $out --vocab byte)"
    done
done
"$RK_PROGRAM" merge -m rwkv7.safetensors --adapter miss -o half.safetensors --type bf16 -q
[ "$(wc -c <half.safetensors)" -lt "$(wc -c <miss.safetensors)" ] || complain "--type bf16 is no smaller"

# What training beside 4 bits saw.
tune quant -m rwkv7.safetensors --method pissa --quant nf4 --lr 1e-3
"$RK_PROGRAM" merge -m rwkv7.safetensors --adapter quant --quant nf4 -o quant.safetensors -q
cmp -s quant.safetensors miss.safetensors && complain "--quant changes nothing"
near "$(bits quant.safetensors)" "$base" && complain "--quant nf4 rounds nothing"

# shellcheck disable=SC2086
"$RK_PROGRAM" train --data text.txt --out run --seed 2 $small -q >/dev/null 2>&1
mv run/model.safetensors other.safetensors
refused "another base" "made for another model" merge -m other.safetensors --adapter miss -o refused.safetensors
"$RK_PROGRAM" merge -m other.safetensors --adapter miss -o forced.safetensors --force-base -q || complain "--force-base"
refused "another architecture" "six: " merge -m rwkv7.safetensors --adapter six -o refused.safetensors
refused "DoRA taken out" "dora cannot be taken out" unmerge -m dora.safetensors --adapter dora -o refused.safetensors
refused "nothing to merge" "expected --adapter or --state" merge -m rwkv7.safetensors -o refused.safetensors
refused "two taken out" "the one adapter" unmerge -m two.safetensors --adapter miss --adapter bat -o refused.safetensors
refused "no such type" "nf5" merge -m rwkv7.safetensors --adapter miss --quant nf5 -o refused.safetensors
refused "no state" "no tuned initial states" merge -m rwkv7.safetensors --state miss.safetensors -o refused.safetensors
refused "the model itself" "is the model that is read" merge -m rwkv7.safetensors --adapter miss -o rwkv7.safetensors --force
refused "no type" "quant-all goes with --quant" merge -m rwkv7.safetensors --adapter miss --quant-all -o refused.safetensors
refused "a container" "no model is written" merge -m rwkv7.safetensors --adapter miss -o refused.bin
exit $((failures > 0))
