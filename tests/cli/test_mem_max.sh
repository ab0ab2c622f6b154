#!/bin/sh
# --mem-max: the same text, scores and talks with little of a model in memory as with all of it; what is no
# size, too little, or goes with no plan is refused with a sentence.
# shellcheck source=tests/script.sh
. "$RK_SOURCE_DIR/tests/script.sh"

# refused PATTERN WORD...: one sentence, status 2, nothing on stdout
refused() {
    pattern=$1
    shift
    got=0
    "$RK_PROGRAM" "$@" >out 2>err </dev/null || got=$?
    if [ $got -ne 2 ] || ! grep -q -e "$pattern" err || [ -s out ] || [ "$(wc -l <err)" -ne 1 ]; then
        complain "rwkv $*: status $got, expected 2 and one line with '$pattern':"
        cat out err
    fi
}

# same WHAT A B
same() {
    cmp -s "$2" "$3" || complain "$1: expected the same bytes from both"
}

write_lines text.txt
"$RK_PROGRAM" train --data text.txt --vocab world --out made --n-layer 4 --n-embd 64 --head-size 16 \
    --ctx-len 16 --batch 2 --warmup 0 --steps 1 -t 1 -q
"$RK_PROGRAM" convert made/model.safetensors m.safetensors --type f16 -q
"$RK_PROGRAM" quantize made/model.safetensors q.gguf --type q8_0 -q
"$RK_PROGRAM" compress head -m m.safetensors --data text.txt --tokens 64 --steps 2 --clusters 40 \
    --emb-rows 7 -o head.safetensors -q >out
"$RK_PROGRAM" compress predictor -m head.safetensors --data text.txt --tokens 64 --steps 2 -o lite.safetensors -q >out

# ---- sizes
for bad in '' 0 -5M x 80X '80 M' 1e999 nan M 0x10M 80MM 9999999999G; do
    refused "^rwkv: --mem-max: '$bad' is no size such as 80M, 1.5G or 64MiB\$" run -m m.safetensors -p a --mem-max "$bad"
done
for what in "run -p a" "eval --ppl text.txt" "chat" "bench" "logits --tokens 1,2 --out s.npy"; do
    # shellcheck disable=SC2086
    refused "the least that works is" $what -m m.safetensors --mem-max 1M -q
    # shellcheck disable=SC2086
    refused "is no size" $what -m m.safetensors --mem-max plenty -q
done
refused "does not go with --draft" run -m m.safetensors --draft m.safetensors -p a --mem-max 100M
refused "does not go with --adapter" run -m m.safetensors --adapter none -p a --mem-max 100M
refused "does not go with --kl-base" eval -m m.safetensors --ppl text.txt --kl-base m.safetensors --mem-max 100M
refused "does not go with --train" bench --train --mem-max 100M

# ---- the least that works does, with the same text
for m in m.safetensors lite.safetensors q.gguf; do
    words="-m $m -t 1 -n 24 --temp 0.8 --seed 3"
    # shellcheck disable=SC2086
    "$RK_PROGRAM" run $words -f text.txt -q >want
    # shellcheck disable=SC2086
    refused "the least that works is [0-9.]* MB\$" run $words -f text.txt --mem-max 2M
    least=$(sed 's/.*works is \([0-9.]*\) MB$/\1/' err)
    for size in "$(echo "$least" | awk '{ print $1 + 0.5 }')M" 1G; do
        # shellcheck disable=SC2086
        "$RK_PROGRAM" run $words -f text.txt --mem-max "$size" >got 2>err || complain "$m, $size: $(cat err)"
        same "$m, $size" want got
        [ "$(grep -c '^rwkv: memory: [0-9.]* of [0-9.]* MB planned: ' err)" -eq 1 ] ||
            complain "$m, $size: expected a line on what is held: $(cat err)"
        [ "$m" != lite.safetensors ] || [ "$size" = 1G ] || grep -q ' 7 of 65536 embeddings' err ||
            complain "$m: expected as many embeddings as it says: $(cat err)"
    done
done
grep -q "planned: all of it in memory" err || complain "1G: $(cat err)"

# ---- the other commands, as little in memory as they take
limited() {
    got=0
    "$RK_PROGRAM" "$@" --mem-max 1M >out 2>err </dev/null || got=$?
    sed 's/.*works is \([0-9.]*\) MB$/\1/' err | awk '{ print $1 + 0.5 "M" }'
}
"$RK_PROGRAM" eval -m m.safetensors --ppl text.txt -t 1 -q >want
"$RK_PROGRAM" eval -m m.safetensors --ppl text.txt -t 1 -q --mem-max "$(limited eval -m m.safetensors --ppl text.txt -t 1)" >got
same eval want got
"$RK_PROGRAM" logits -m m.safetensors --tokens 5,6,7 --all -t 1 -q --out want.npy
"$RK_PROGRAM" logits -m m.safetensors --tokens 5,6,7 --all -t 1 -q --out got.npy \
    --mem-max "$(limited logits -m m.safetensors --tokens 5,6,7 --all --out l.npy -t 1)"
same logits want.npy got.npy
talk="chat -m m.safetensors -t 1 -q --temp 0 -n 8"
# shellcheck disable=SC2086
printf 'one\ntwo\n' | "$RK_PROGRAM" $talk >want
# shellcheck disable=SC2086
size=$(limited $talk)
# shellcheck disable=SC2086
printf 'one\ntwo\n' | "$RK_PROGRAM" $talk --mem-max "$size" >got
same chat want got
# What a sanitizer takes beside a process differs from one to the next.
if [ -z "${RK_SANITIZE:-}" ]; then
    words="bench -m m.safetensors -t 1 -p 20 -n 4 --rounds 1 -q"
    # shellcheck disable=SC2086
    size=$(limited $words | awk '{ print $1 + 1 "M" }') # of two processes the first one names it
    # shellcheck disable=SC2086
    "$RK_PROGRAM" $words --mem-max "$size" >got 2>err || complain "bench, $size: $(cat err)"
fi

exit $failures
