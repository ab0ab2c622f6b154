#!/bin/sh
# rwkv run, logits, info and selftest on a model that rwkv train has made in a moment.
# shellcheck source=tests/script.sh
. "$RK_SOURCE_DIR/tests/script.sh"

# same WHAT A B: two files hold the same bytes
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
"$RK_PROGRAM" train --data text.txt --out made --n-layer 1 --n-embd 32 --head-size 16 \
    --ctx-len 16 --batch 2 --warmup 0 --steps 1 -t 1 -q
mv made/model.safetensors m.safetensors

# ---- the text
run="run -m m.safetensors -t 1 -q"
# shellcheck disable=SC2086 # a list of words
{
    expect 0 '^to be' $run -p 'to be' -n 8 --temp 0
    cp out argument
    printf 'to be' >prompt
    expect 0 '^to be' $run -f prompt -n 8 --temp 0
    same 'prompt from a file' argument out
    "$RK_PROGRAM" $run -p - -n 8 --temp 0 <prompt >out
    same 'prompt from stdin' argument out
    "$RK_PROGRAM" $run -n 8 --temp 0 <prompt >out
    same 'prompt from stdin, unasked' argument out
    expect 0 '^to be' $run -e -p 't\x6f be' -n 8 --temp 0
    same 'prompt with escapes' argument out
    expect 0 '^to be' $run -p 'to be' -n 8 --temp 0 -t 2
    same 'two threads' argument out
    expect 0 '' $run -p 'to be' -n 8 --temp 0 --no-display-prompt
    (printf 'to be' && cat out) >joined
    same 'prompt not shown' argument joined

    expect 0 '' $run -p 'to be' -n 20 --seed 5
    cp out seeded
    expect 0 '' $run -p 'to be' -n 20 --seed 5
    same 'the same seed' seeded out
    expect 0 '' $run -p 'to be' -n 20 --seed 6
    cmp -s seeded out && complain 'seeds 5 and 6 gave the same text'
    expect 0 '^to beAAAA$' $run -p 'to be' -n 4 --logit-bias 65=1000 --logit-bias 66=-inf
    expect 0 '^to be$' $run -p 'to be' -n 4 --logit-bias 0=1000
    expect 0 '^to be$' $run -p 'to be' -n 9 --seed 1 --logit-bias 65=1000 --stop AAAA --stop AAA
    expect 0 '^to beAAAA$' $run -p 'to be' -n 4 --seed 1 --logit-bias 65=1000 --stop AAAAA
    expect 0 '' run -m m.safetensors -p x -n 1
}
# shellcheck disable=SC2086 # a list of words
{
    # the model as a word of its own, -n -1, escapes in --stop
    expect 0 '^to be' run m.safetensors -t 1 -q -p 'to be' -n 8 --temp 0
    same 'a model without -m' argument out
    expect 2 "unknown argument 'm.safetensors'" $run -p x m.safetensors
    expect 0 '^to be$' $run -p 'to be' -n -1 --logit-bias 0=1000
    expect 0 '^to be$' $run -p 'to be' -n -1 --temp 0 --logit-bias 65=1000 --stop AAA
    expect 2 '--n-predict: -2 is outside -1 to' $run -p x -n -2
    expect 0 '^to be$' $run -p 'to be' -n 9 -e --logit-bias 65=1000 --stop '\x41\x41'
    expect 0 '^to beAAAA$' $run -p 'to be' -n 4 --logit-bias 65=1000 --stop '\x41'
    expect 2 'escape at byte 0 of --stop' $run -e -p x --stop '\q'
    expect 2 'no text holds a byte of value 0' $run -e -p x --stop 'a\0'
    expect 2 '--stop: the text is empty' $run -p x --stop ''

    # what the help calls the ends of a range is accepted, and no more
    "$RK_PROGRAM" help run | sed -n 's/^ *\(-., \)*--\([a-z-]*\) [NX] .*[(; ]\(-*[0-9.e+]*\) to \([0-9.e+]*\))$/\2 \3 \4/p' |
        grep -e temp -e top -e min-p -e typical -e penalty >ranges
    [ "$(wc -l <ranges)" -eq 8 ] || complain "ranges in the help: $(cat ranges)"
    while read -r name low high; do
        expect 0 '' $run -p x -n 2 --$name $low
        expect 0 '' $run -p x -n 2 --$name $high
        expect 2 "--$name: .* is outside" $run -p x --$name ${high}0000
        expect 2 "--$name: .* is outside" $run -p x --$name -1000000
    done <ranges
    expect 2 '--repeat-penalty: 0 is outside above 0, at most 100' $run -p x --repeat-penalty 0
    expect 0 '' $run -p x -n 2 --repeat-penalty 1e-30
    expect 0 '' $run -p x -n 9 --temp 0
    cp out greedy
    expect 0 '' $run -p x -n 9 --temp 5 --top-p 0
    same 'top-p 0 keeps one token' greedy out

    # statistics begin a line of their own where they share a place with the text
    "$RK_PROGRAM" run m.safetensors -t 1 -p x -n 2 --temp 0 --logit-bias 65=1000 >out 2>&1
    [ "$(sed -n 1p out)" = xAA ] && sed -n 2p out | grep -q '^prompt 1 tokens' ||
        complain "text and statistics: $(cat out)"
    "$RK_PROGRAM" run m.safetensors -t 1 -p x -n 2 --temp 0 --logit-bias 10=1000 >out 2>&1
    [ "$(wc -l <out)" = 3 ] || complain "a text that ends its line: $(cat out)"
}
expect 0 '' run -m m.safetensors -t 1 -p x -n 1
grep -q '^seed [0-9]*$' err || complain 'a drawn seed was not printed'
grep -q '^prompt 1 tokens, .* ended by length$' err || complain 'no timings on stderr'

# The stop string never shows: "AAA" is complete after three of them.
# shellcheck disable=SC2086
{
    expect 0 '^{"text":"","tokens":\[65,65,65\],"n_prompt":1,"n_generated":3,"seed":7,"stop_reason":"stop",' \
        $run -p x -n 9 --seed 7 --json --logit-bias 65=1000 --stop AAA
    [ "$(wc -l <out)" -eq 1 ] || complain '--json printed more than a line'
    expect 0 '"logprobs":\[{"id":65,"logprob":.*"top":\[{"id":.*},{"id":.*}\]}\]' \
        $run -p x -n 1 --seed 7 --json --logit-bias 65=1000 --logprobs 2
    expect 0 '"stop_reason":"eos"' $run -p x -n 9 --json --logit-bias 0=1000
    expect 0 '"n_generated":3,.*"stop_reason":"length"' \
        $run -p x -n 3 --json --logit-bias 0=1000 --ignore-eos

    # ---- states: a text in two halves is the text
    expect 0 '' $run -p 'to be, or' -n 0 --state-out s.state
    expect 0 '' $run -p ' not to be' -n 8 --temp 0 --state-in s.state --no-display-prompt
    cp out halves
    expect 0 '' $run -p 'to be, or not to be' -n 8 --temp 0 --no-display-prompt
    same 'a text in two halves' out halves
    expect 2 's.state: exists already; --force' $run -p x -n 0 --state-out s.state

    # a text that is saved and gone on with is that of one run wherever it is cut, and so is the file
    for how in '--temp 0' '--temp 1 --presence-penalty 0.5 --frequency-penalty 0.2 --repeat-penalty 1.1'; do
        expect 0 '' $run -p 'to be' -n 12 $how --seed 5 --ignore-eos --state-out one.state --force
        cp out one
        for cut in 0 1 7 12; do
            expect 0 '' $run -p 'to be' -n $cut $how --seed 5 --ignore-eos --state-out half.state --force
            cp out halves
            expect 0 '' $run -p '' -n $((12 - cut)) $how --ignore-eos --state-in half.state \
                --state-out both.state --force
            cat out >>halves
            same "$how cut at $cut" one halves
            same "$how cut at $cut, the state" one.state both.state
        done
    done
    # another seed is another text, from there on
    expect 0 '' $run -p 'to be' -n 7 --seed 5 --ignore-eos --state-out half.state --force
    expect 0 '"seed":5' $run -p '' -n 40 --ignore-eos --state-in half.state --json
    expect 0 '"seed":6' $run -p '' -n 40 --ignore-eos --state-in half.state --seed 6 --json
    # half a stop string is held back, and half a character
    for cut in 1 2; do
        expect 0 '"text":"","tokens".*"stop_reason":"length"' $run -p x -n $cut --seed 7 --json \
            --logit-bias 65=1000 --stop AAA --state-out half.state --force
        expect 0 "\"text\":\"\".*\"n_generated\":$((3 - cut)),.*\"stop_reason\":\"stop\"" $run -p '' -n 9 \
            --seed 7 --json --logit-bias 65=1000 --stop AAA --state-in half.state --state-out both.state --force
        expect 0 '"text":"","tokens":\[\],.*"stop_reason":"stop"' $run -p '' -n 9 --json --stop AAA \
            --state-in both.state
        expect 0 '"text":"AAAAA"' $run -p '' -n 2 --json --logit-bias 65=1000 --state-in both.state
    done
    expect 0 '"text":""' $run -p x -n 1 --json --logit-bias 195=1000 --state-out half.state --force
    expect 0 '"text":"é"' $run -p '' -n 1 --json --logit-bias 169=1000 --state-in half.state
    # token 0 has ended the text, unless it is to be ignored
    expect 0 '"stop_reason":"eos"' $run -p x -n 9 --json --logit-bias 0=1000 --state-out half.state --force
    expect 0 '"tokens":\[\],.*"stop_reason":"eos"' $run -p '' -n 9 --json --state-in half.state
    expect 0 '"n_generated":9' $run -p '' -n 9 --json --ignore-eos --state-in half.state
    # what a file says is checked
    for lie in 's/"text.next":"0"/"text.next":"x"/' 's/"text.next":"0"/"text.next":"999"/' \
        's/"version":"2"/"version":"3"/' 's/"sampler.step":"1"/"sampler.step":"z"/'; do
        LC_ALL=C sed "$lie" half.state >lie.state
        cmp -s half.state lie.state && complain "$lie changes nothing"
        expect 2 'lie.state: ' $run -p '' --state-in lie.state
    done
    # paths given for output are tried before the work, here before a model that is none
    expect 1 'none/s.state' run -m nowhere -p x --state-out none/s.state
    expect 1 'none/x.npy' logits -m nowhere --tokens 1 -o none/x.npy
    expect 2 'is a directory' run -m nowhere -p x --state-out .
    expect 0 '' $run -p x -n 0 --state-out s.state --force
    expect 1 'nowhere' $run -p x --state-in nowhere
    expect 2 'm.safetensors: ' $run -p x --state-in m.safetensors

    # a draft changes no greedy token and no saved state
    expect 0 '^to be' $run -p 'to be' -n 90 --temp 0 --ignore-eos --state-out plain.state
    cp out plain
    expect 0 '^to be' $run -p 'to be' -n 90 --temp 0 --ignore-eos --state-out fast.state \
        --draft m.safetensors --draft-max 5
    same 'with a draft' plain out
    same 'state with a draft' plain.state fast.state
    expect 0 'draft: [0-9]* tokens proposed' run -m m.safetensors -t 1 -v -p x -n 20 --ignore-eos \
        --draft m.safetensors
    expect 2 'outside 1 to 15' $run -p x --draft m.safetensors --draft-max 16
    expect 1 'nowhere' $run -p x --draft nowhere

    # ---- what is refused
    expect 1 'nowhere' run -m nowhere -p x
    expect 2 'text.txt' run -m text.txt -p x
    expect 2 'escape at byte 1' $run -e -p 'x\q'
    expect 2 'not by both' $run -p x -f prompt
    expect 2 "'65' *: expected ID=B" $run -p x --logit-bias 65
    expect 2 'logit-bias\|token\|256' $run -p x --logit-bias 256=1
    expect 2 '65536 tokens, the model only 256' $run -p x --vocab world
    expect 2 'needs --json' $run -p x --logprobs 2
    expect 2 'outside' $run -p x --top-p 2
}

# ---- logits
expect 0 '' logits -m m.safetensors --tokens 1,2,3 -o last.npy -t 1
expect 0 '' logits -m m.safetensors --tokens 1,2,3 -o all.npy --all -t 2
[ "$(wc -c <last.npy) $(wc -c <all.npy)" = "1152 3200" ] || complain 'npy files of another size'
tail -c 1024 last.npy >a
tail -c 1024 all.npy >b
same 'last of all scores' a b
expect 2 'last.npy: exists' logits -m m.safetensors --tokens 1 -o last.npy
expect 0 '' logits -m m.safetensors --tokens 1 -o last.npy --force
expect 2 "id 2: 'x" logits -m m.safetensors --tokens 1,x -o x.npy
expect 2 "id 2: ''" logits -m m.safetensors --tokens 1, -o x.npy
expect 2 'token 2 of 2 is 256, expected 0 to 255' logits -m m.safetensors --tokens 1,256 -o x.npy
expect 1 'none/x.npy' logits -m m.safetensors --tokens 1 -o none/x.npy

# ---- info and selftest
expect 0 'm.safetensors: rwkv7, ' info -m m.safetensors
expect 0 '^{"path":"m.safetensors","arch":"rwkv7","n_vocab":256,"n_embd":32,"n_layer":1,' \
    info -m m.safetensors --json
expect 2 'text.txt' info -m text.txt
"$RK_PROGRAM" info -m m.safetensors --json >info.json
"$RK_PROGRAM" info -m m.safetensors >info.txt
for size in n_layer n_embd n_head head_size dim_ffn n_vocab; do
    value=$(sed -n "s/.*\"$size\":\([0-9]*\),.*/\1/p" info.json)
    grep -q "^  $size  *$value$" info.txt || complain "info does not say that $size is $value"
done
expect 0 '^[0-9]* of [0-9]* checks passed' selftest
grep -q '^FAIL' out && complain 'selftest counted a failure as passed'
expect 0 'checks passed' selftest --path ref -q -t 1

# ---- a signal ends the text where it is; a closed pipe ends it without a word
"$RK_PROGRAM" run -m m.safetensors -p x -n 1000000000 --ignore-eos -q -t 1 --state-out int.state \
    >long.txt 2>err &
pid=$!
while [ ! -s long.txt ] && kill -0 $pid 2>/dev/null; do sleep 0.05; done
kill -INT $pid
got=0
wait $pid || got=$?
[ $got -eq 130 ] && [ -s int.state ] || {
    complain "SIGINT: status $got, expected 130 and a state:"
    cat err
}
# In the middle of a prompt: what was read is counted and saved, and is the state of so many tokens.
head -c 20000000 /dev/zero | tr '\0' x >long.prompt
"$RK_PROGRAM" run -m m.safetensors -f long.prompt -n 5 -t 1 --temp 0 --state-out part.state >/dev/null 2>err &
pid=$!
# A signal counts from when the program waits for it, which is when it has read the prompt's text.
while kill -0 $pid 2>/dev/null && ! grep -q '^SigBlk:.*400[23]$' /proc/$pid/status; do sleep 0.05; done
sleep 0.5
kill -INT $pid
got=0
wait $pid || got=$?
read=$(sed -n 's/^prompt \([0-9]*\) of 20000000 tokens.*ended by interrupted$/\1/p' err)
[ $got -eq 130 ] && [ "${read:-0}" -gt 0 ] &&
    grep -q "^rwkv: part.state holds the first $read of the prompt's 20000000 tokens$" err ||
    complain "SIGINT in a prompt: status $got, expected 130 and what was read: $(cat err)"
head -c "${read:-1}" long.prompt >part.prompt
expect 0 '' run -m m.safetensors -f part.prompt -n 0 -t 1 --temp 0 -q --state-out whole.state
for state in part whole; do # one token more: of the whole prompt there are scores, too
    expect 0 '' run -m m.safetensors -p y -n 0 -t 1 --temp 0 -q --state-in $state.state \
        --state-out $state.again
done
same 'the state of part of a prompt' part.again whole.again
expect 2 'part.state: .* there must be a prompt' run -m m.safetensors -p '' -t 1 -q --state-in part.state
rm long.prompt part.prompt
(
    got=0
    "$RK_PROGRAM" run -m m.safetensors -p x -n 100000000 --ignore-eos -q -t 1 2>pipe.err || got=$?
    echo $got >pipe.status
) | head -c 10 >out
[ "$(cat pipe.status)" = 141 ] && [ ! -s pipe.err ] ||
    complain "closed pipe: status $(cat pipe.status): $(cat pipe.err)"

# ---- a model that is cut while it is used
cp m.safetensors cut.safetensors
"$RK_PROGRAM" run -m cut.safetensors -p x -n 1000000000 --ignore-eos -q -t 1 >cut.txt 2>err &
pid=$!
while [ ! -s cut.txt ] && kill -0 $pid 2>/dev/null; do sleep 0.05; done
: >cut.safetensors
got=0
wait $pid || got=$?
[ $got -eq 1 ] && grep -q 'cut.safetensors: the file was cut' err || {
    complain "a cut model: status $got, expected 1:"
    cat err
}

[ $failures -eq 0 ]
