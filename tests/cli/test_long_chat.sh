#!/bin/sh
# A talk of 200 turns with a small transformer, whose state grows with the text: questions that are taken back,
# copies of the talk that go elsewhere, saving and loading leave the answers and the state of a talk
# without them, bit for bit.
# shellcheck source=tests/script.sh
. "$RK_SOURCE_DIR/tests/script.sh"
turns=200

# A text that is always the same: how much the answers differ depends on it.
awk 'BEGIN {
    n = split("the river stone over a house light and under morning some bread with green water looked at seven old roads", word, " ")
    for (i = 0; i < 20000; i++) printf "%s%s", word[1 + i * i % 7919 % n], i * 31 % 17 ? " " : ".\n" }' >text.txt
"$RK_PROGRAM" train --arch qwen2 --data text.txt --tokenizer "$RK_SOURCE_DIR/tests/data/tokens/qwen2.json" --out run \
    --n-layer 2 --n-embd 64 --n-head 2 --n-kv-head 1 --ctx-len 64 --batch 4 --steps 4 --lr 0.5 --warmup 0 --seed 1 --val-frac 0 -q

chat() {
    "$RK_PROGRAM" chat -m run/model.safetensors --vocab "$RK_SOURCE_DIR/tests/data/tokens/qwen2.json" --template chatml \
        -n 8 --temp 0 --seed 3 --json -q -t 1 "$@"
}
# The tokens of each answer, a line each.
tokens() {
    sed -n 's|.*"tokens":\[\([0-9,]*\)\].*|\1|p' "$1"
}

# `plain` has the questions alone; `led` the same with detours, and `kept` says which answers belong to the talk.
awk -v turns=$turns 'BEGIN {
    for (i = 1; i <= turns; i++) {
        question = "Question " i " of " (i * 7919) % 1000 "?"
        print question >"plain"
        if (i % 3 == 0) { print "Something else " i "?\n/undo" >"led"; print 0 >"kept" }
        if (i % 40 == 2) { print "/fork\nA copy asks " i "?\n/undo\n/undo\nAnd again?\n/fork 1" >"led"; print 0 "\n" 0 >"kept" }
        if (i % 25 == 0) { print "/save --force state\nThis is lost " i ".\n/load state" >"led"; print 0 >"kept" }
        print question >"led"; print (i % 50 != 10) >"kept"
        if (i % 50 == 10) { print "/regen\n/undo\n" question >"led"; print 0 "\n" 1 >"kept" }
    }
    print "/save plain.state" >"plain"
    print "/save led.state" >"led"
}'

chat <plain >plain.out
chat <led >led.out
tokens plain.out >plain.tokens
tokens led.out | paste kept - | sed -n 's/^1\t//p' >led.tokens
[ "$(wc -l <plain.tokens)" = $turns ] || complain "$(wc -l <plain.tokens) answers, expected $turns"
[ "$(sort -u plain.tokens | wc -l)" -gt 20 ] || complain "the answers hardly differ, so that nothing is seen"
cmp plain.tokens led.tokens || complain "the answers differ: $(diff plain.tokens led.tokens | head -4)"
# The number of answers given, with which each one's seed is found, counts those that were taken back.
for talk in plain led; do
    sed 's/"chat.answers":"[0-9]*"/"chat.answers":""/' $talk.state >$talk.same
done
cmp plain.same led.same || complain "the states differ"

[ $failures = 0 ]
