#!/bin/sh
# What a model with attention keeps of a text: how much, in what numbers, in a state file, in a talk.
# shellcheck source=tests/script.sh
. "$RK_SOURCE_DIR/tests/script.sh"

same() {
    cmp -s "$2" "$3" || {
        complain "$1: expected the same from both:"
        cat "$2" "$3"
    }
}

i=0
while [ $i -lt 40 ]; do
    echo "$i: to be, or not to be, that is the question"
    i=$((i + 1))
done >text.txt
steps=5
# make NAME WORD...: a model of a moment's training
make() {
    name=$1
    shift
    "$RK_PROGRAM" train --data text.txt --tokenizer byte --out "$name" --n-layer 2 --ctx-len 32 \
        --batch 2 --warmup 0 --steps "$steps" --lr 1e-2 -t 1 -q "$@"
}
make narrow --arch qwen2 --n-embd 32 --n-head 2
steps=150 # it has to say more than one letter
make wide --arch qwen2 --n-embd 64 --n-head 2 --n-kv-head 1
steps=5
make rwkv --arch rwkv7 --n-embd 32 --head-size 16

prompt='to be, or not to be, that' # 25 tokens
run="run -m wide/model.safetensors -t 1 -q --temp 0 --ignore-eos"
# shellcheck disable=SC2086 # lists of words
{
    # ---- a limit
    expect 0 '^to be' $run -p "$prompt" -n 15
    cp out free
    expect 0 '^to be' $run -p "$prompt" -n 15 -c 40
    same 'a text that just fits' free out
    expect 2 'it holds 40 tokens (--ctx-size), 40 are read, and 1 more do not fit' \
        $run -p "$prompt" -n 60 -c 40
    # what was read and written stays, and goes on where there is room
    expect 2 'it holds 40 tokens (--ctx-size), 40 are read, and 1 more do not fit' \
        $run -p "$prompt" -n 60 -c 40 --state-out full --force
    tr -d '\n' <out >joined
    expect 0 '' $run -p '' -n 14 --state-in full -c 60
    tr -d '\n' <out >>joined
    expect 0 '^to be' $run -p "$prompt" -n 30
    tr -d '\n' <out >wanted
    same 'a text that went on with more room' wanted joined
    expect 2 '"n_generated":16,.*"stop_reason":"full"' $run -p "$prompt" -n 60 -c 40 --json
    expect 2 'it holds 20 tokens (--ctx-size), 0 are read, and 25 more do not fit' \
        $run -p "$prompt" -c 20
    expect 2 'ctx-size' $run -p "$prompt" -c 0
    expect 2 'ctx-size' eval -m wide/model.safetensors -t 1 --ppl text.txt --ctx 64 -c 20
    expect 0 'to be' run -m rwkv/model.safetensors -t 1 -q -p "$prompt" -n 5 -c 5

    # ---- in what numbers
    expect 0 '^to be' $run -p "$prompt" -n 4 --cache-type f32
    expect 0 '^to be' $run -p "$prompt" -n 4 --cache-type q8_0
    expect 2 'a cache of q8_0 needs heads of a multiple of 32, the model.s are of 16' \
        run -m narrow/model.safetensors -t 1 -q -p "$prompt" --cache-type q8_0
    expect 2 'cache-type' $run -p "$prompt" --cache-type f17

    # ---- a state file goes on to the same text, with any numbers
    for type in f32 f16 q8_0; do
        expect 0 '^to be' $run -p "$prompt" -n 30 --cache-type $type
        cp out whole
        expect 0 '^to be' $run -p "$prompt" -n 12 --cache-type $type --state-out state --force
        cp out both
        expect 0 '' $run -p '' -n 18 --cache-type $type --state-in state
        cat out >>both
        tr -d '\n' <both >joined
        tr -d '\n' <whole >wanted
        same "a text in two pieces, $type" wanted joined
    done
    expect 2 'it holds 30 tokens (--ctx-size), 0 are read, and' \
        $run -p '' -n 18 --state-in state -c 30

    # ---- a file that says it holds more rows than its bytes can be
    if command -v python3 >/dev/null; then
        python3 - <<'PY' || complain 'python3 failed'
from safetensors_parts import read, write
head, data = read("state")
meta, out, body = head.pop("__metadata__"), {}, b""
for name, t in head.items():
    a, b = t["data_offsets"]
    if name.endswith((".keys", ".values")):
        t["shape"], a = [2**55 - 32, *t["shape"][1:-1], 0], b
    out[name] = {**t, "data_offsets": [len(body), len(body) + b - a]}
    body += data[a:b]
write("hostile", {"__metadata__": meta, **out}, body)
PY
        expect 2 "hostile: tensor 'blocks.0.att.keys' is not f32 of 0 bytes" $run -p '' -n 1 --state-in hostile
    fi

    # ---- a talk: a question that does not fit ends it with the sentence, /undo makes room
    printf 'to be or not\n/undo\nthat is it\n' >asked
    "$RK_PROGRAM" chat -m wide/model.safetensors -t 1 -q --temp 0 --ignore-eos -n 5 <asked >out 2>err ||
        complain "a talk: $(cat err)"
    cp out talked
    "$RK_PROGRAM" chat -m wide/model.safetensors -t 1 -q --temp 0 --ignore-eos -n 5 -c 60 <asked \
        >out 2>err || complain "a talk with a limit that suffices: $(cat err)"
    same 'a talk with a limit' talked out
    printf 'to be or not\nthat is it, or it is not, or what it is\n' >asked
    got=0
    "$RK_PROGRAM" chat -m wide/model.safetensors -t 1 -q --temp 0 --ignore-eos -n 5 -c 60 <asked \
        >out 2>err || got=$?
    if [ $got -ne 2 ] || [ "$(grep -c 'the context is full: it holds 60 tokens' err)" -ne 1 ]; then
        complain "a talk that does not fit: status $got, $(cat err)"
    fi
    # an answer that fills the context is kept
    expect 2 '"n_generated":[1-9].*"stop_reason":"full"' chat -m wide/model.safetensors -t 1 -q --temp 0 --ignore-eos \
        -n 90 -c 60 --json -p 'to be or not'
}

[ $failures -eq 0 ] || {
    echo "$failures failures"
    exit 1
}
