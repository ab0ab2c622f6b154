#!/bin/sh
# rwkv eval and rwkv tokenize on a model that rwkv train has made in a moment.
# shellcheck source=tests/script.sh
. "$RK_SOURCE_DIR/tests/script.sh"

# field NAME: the number of that name in out
field() {
    sed -n "s/.*\"$1\":\([-0-9.e]*\).*/\1/p" out
}

i=0
while [ $i -lt 40 ]; do
    echo "$i: to be, or not to be, that is the question"
    i=$((i + 1))
done >text.txt
"$RK_PROGRAM" train --data text.txt --tokenizer byte --out run --n-layer 1 --n-embd 32 --head-size 32 \
    --ctx-len 16 --batch 2 --steps 20 --seed 1 -q >/dev/null 2>&1
mv run/model.safetensors m.safetensors

# ---- eval: any threads, any cut of the stream; the mean of -log p that `logits` shows

printf 'to be, or not' >short.txt
expect 0 '"n_tokens":12,' eval -m m.safetensors --ppl short.txt --ctx 0 --json
one=$(field loss)
expect 0 "\"loss\":$one," eval -m m.safetensors --ppl short.txt --ctx 100 --json -t 2
"$RK_PROGRAM" logits -m m.safetensors --tokens 116,111,32,98,101,44,32,111,114,32,110,111 -o all.npy --all
perl -e '
    open F, "<:raw", "all.npy"; read F, my $d, 1 << 20;
    my @x = unpack "f<*", substr $d, length($d) - 4 * 256 * 12;
    my @next = unpack "C*", "o be, or not"; my $sum = 0;
    for my $i (0 .. 11) {
        my ($max, $z) = (-1e30, 0);
        for (@x[256 * $i .. 256 * $i + 255]) { $max = $_ if $_ > $max }
        $z += exp($_ - $max) for @x[256 * $i .. 256 * $i + 255];
        $sum -= $x[256 * $i + $next[$i]] - $max - log $z;
    }
    exit(abs($sum / 12 - $ARGV[0]) > 1e-6)' "$one" || complain "loss $one is not the mean of logits"
expect 0 '"bits_per_byte":' eval -m m.safetensors --ppl text.txt --json
[ "$(field n_tokens)" = $(($(wc -c <text.txt) - ($(wc -c <text.txt) + 15) / 16)) ] ||
    complain "windows of 16 score 15 tokens each: $(cat out)"
expect 0 '"kl":-\{0,1\}0.0,"same_top":1.0' eval -m m.safetensors --ppl short.txt --kl-base m.safetensors --json
expect 0 '' run -m m.safetensors -p 'begin with this' -n 1 --temp 0 --state-out begun.st
expect 0 '"kl":-\{0,1\}0.0,"same_top":1.0' eval -m m.safetensors --ppl short.txt --kl-base m.safetensors --json --state-in begun.st
expect 2 'leave none to score' eval -m m.safetensors --ppl short.txt --ctx 1
expect 2 'give one of' eval -m m.safetensors
expect 2 'give one of' eval -m m.safetensors --ppl short.txt --lambada short.txt
expect 2 'no JSON object' eval -m m.safetensors --lambada short.txt

printf '{"text":"to be, or not to be"}\n{"text":"that is the question"}\n' >words.jsonl
expect 0 '"n_questions":2' eval -m m.safetensors --lambada words.jsonl --json
printf '{"question":"to be, or not to","choices":[" be"," zq"],"answer":0}\n' >choice.jsonl
expect 0 '"accuracy":1.0' eval -m m.safetensors --choices choice.jsonl --json
printf '{"question":"to be, or not to","choices":[" be"," zq"],"answer":" zq"}\n' >choice.jsonl
expect 0 '"accuracy":0.0' eval -m m.safetensors --choices choice.jsonl --json
printf '{"question":"to be","choices":[" be"," zq"],"answer":7}\n' >choice.jsonl
expect 2 'none of the choices' eval -m m.safetensors --choices choice.jsonl
expect 2 'choice.jsonl, line 1: ' eval -m m.safetensors --choices choice.jsonl
printf '\r\n{"question":"","choices":["a","b"],"answer":0}\r\n' >choice.jsonl
expect 2 'choice.jsonl, line 2: an empty context' eval -m m.safetensors --choices choice.jsonl
printf '{"text":"to be, or not to be"}\r\n\r\n{"text":"that is"}\r\n' >words.jsonl
expect 0 '"bits_per_byte":.*"n_questions":2' eval -m m.safetensors --lambada words.jsonl --json
expect 2 '--seed goes with --task only' eval -m m.safetensors --ppl short.txt --seed 7
expect 2 '--n goes with --task only' eval -m m.safetensors --lambada words.jsonl -n 3
expect 2 '--kl-base goes with --ppl' eval -m m.safetensors --lambada words.jsonl --kl-base m.safetensors
expect 2 '--ctx goes with --ppl' eval -m m.safetensors --choices choice.jsonl --ctx 4

# ---- a token that texts begin with: as if it had been written there; in later windows in the place of the first token

tokens=$RK_SOURCE_DIR/tests/data/tokens/llama-bpe.json
mkdir begun
cp "$tokens" begun/tokenizer.json
echo '{"bos_token":"<|endoftext|>","add_bos_token":true}' >begun/tokenizer_config.json
"$RK_PROGRAM" train --data text.txt --tokenizer "$tokens" --out run2 --n-layer 1 --n-embd 32 --head-size 32 \
    --ctx-len 16 --batch 2 --steps 5 --seed 1 -q >/dev/null 2>&1

# same WORD... : the loss that the last command showed, of the same text without such a token, which has it written out
same() {
    one=$(field loss)
    expect 0 '"loss":' eval -m run2/model.safetensors --vocab "$tokens" --json "$@"
    [ "$(field loss)" = "$one" ] || complain "$* without a first token: $(field loss), with one: $one"
}
printf 'to be, or' >short.txt
printf '<|endoftext|>to be, or' >written.txt
expect 0 '"loss":' eval -m run2/model.safetensors --vocab begun --ppl short.txt --ctx 0 --json
same --ppl written.txt --ctx 0
one=$(field loss)
"$RK_PROGRAM" convert run2/model.safetensors begun.gguf --vocab begun -q
expect 0 "\"loss\":$one" eval -m begun.gguf --ppl short.txt --ctx 0 --json
printf 'a b c d e f g' >short.txt
printf '<|endoftext|>a b<|endoftext|> d e<|endoftext|> g' >written.txt
expect 0 '"n_tokens":5,' eval -m run2/model.safetensors --vocab begun --ppl short.txt --ctx 3 --json
same --ppl written.txt --ctx 3
printf '{"text":"to be, or not"}\n' >words.jsonl
printf '{"text":"<|endoftext|>to be, or not"}\n' >written.jsonl
expect 0 '"loss":' eval -m run2/model.safetensors --vocab begun --lambada words.jsonl --json
same --lambada written.jsonl

# ---- tokenize

expect 0 '^33155,40213$' tokenize --encode 'Hello world'
expect 0 '^Hello world$' tokenize --decode 33155,40213
expect 0 '^{"tokens":\[97,98\]}$' tokenize --vocab byte --encode ab --json
expect 0 '^97,10$' tokenize --vocab byte -e --encode 'a\n'
expect 0 '^{"tokens":\[255,97\],"text":"[^"]*a"}$' tokenize --vocab byte --decode 255,97 --json
expect 2 'either a text' tokenize --encode a --decode 5
expect 2 "'1,' is no id" tokenize --decode 1,
expect 2 "'x' is no id" tokenize --decode x
expect 2 'is no id from 0 to 65535' tokenize --decode 70000

[ $failures = 0 ]
