#!/bin/sh
# Where a model's vocabulary comes from: --vocab with a tokenizer.json, one beside the model in a
# folder, one that is not read; and that none of them gets into a GGUF file.
# shellcheck source=tests/script.sh
. "$RK_SOURCE_DIR/tests/script.sh"

data=$RK_SOURCE_DIR/tests/data
small=$data/tokens/small.json
expect 0 '^.*,0,622,[0-9]*$' tokenize --vocab "$small" --encode 'a text<|endoftext|>  x'
expect 0 '^a  b$' tokenize --vocab "$small" --decode "$("$RK_PROGRAM" tokenize --vocab "$small" --encode 'a  b')"
expect 0 '^257,33,258$' tokenize --vocab "$data/gguf_vocab/good.gguf" --encode "he it's"
expect 2 'it holds no vocabulary' tokenize --vocab "$data/gguf_vocab/good_none.gguf" --encode x
expect 2 "of kind 'llama', expected rwkv or gpt2" tokenize --vocab "$data/gguf_vocab/model_llama.gguf" --encode x
expect 2 "cuts texts as 'tekken' does" tokenize --vocab "$data/gguf_vocab/merges_pre_6.gguf" --encode x

i=0
while [ $i -lt 40 ]; do
    echo "$i: to be, or not to be"
    i=$((i + 1))
done >text.txt
"$RK_PROGRAM" train --data text.txt --vocab "$small" --out run --n-layer 1 --n-embd 32 --head-size 16 \
    --ctx-len 16 --batch 2 --steps 3 --seed 1 -q >/dev/null 2>&1
mkdir folder other
cp run/model.safetensors folder/
cp run/model.safetensors other/
run="-p be -n 4 --temp 0"
expect 2 'a model of 623 tokens names no vocabulary' run -m run/model.safetensors $run
expect 2 'a model of 623 tokens names no vocabulary' run -m folder $run
expect 0 '^be' run -m run/model.safetensors --vocab "$small" $run
cp out alone.txt
cp "$small" folder/tokenizer.json
expect 0 '^be' run -m folder $run
cmp -s out alone.txt || { echo 'a folder gives other text'; failures=$((failures + 1)); }
expect 0 '"n_tokens"' eval -m folder --ppl text.txt --json
expect 2 'a model of 623 tokens names no vocabulary' run -m folder/model.safetensors $run
cp "$data/tokenizer_json/model_7.json" other/tokenizer.json
expect 2 'a model of 623 tokens names no vocabulary' run -m other $run
cp "$data/vocab/bytes-only.txt" other/rwkv_vocab_v20230424.txt
expect 0 '^be' run -m other $run
cp "$data/tokenizer_json/hole.json" other/tokenizer.json
expect 2 'no token has the id' run -m other $run
expect 2 "model is 'Unigram', expected BPE" run -m folder --vocab "$data/tokenizer_json/model_7.json" $run

# A vocabulary with merges goes into a GGUF file and back into a folder.
text='he  said <|endoftext|> it is there'
ids=$("$RK_PROGRAM" tokenize --vocab folder --encode "$text")
echo '{"eos_token_id": [5, 0]}' >folder/generation_config.json
"$RK_PROGRAM" convert folder x.gguf -q
expect 0 "^$ids\$" tokenize --vocab x.gguf --encode "$text"
"$RK_PROGRAM" convert x.gguf back --names hf -q
expect 0 "^$ids\$" tokenize --vocab back --encode "$text"
"$RK_PROGRAM" convert back y.gguf -q
cmp -s x.gguf y.gguf || { echo 'a vocabulary changes on its way through a folder'; failures=$((failures + 1)); }
grep -q '"eos_token_id": \[5, 0\]' back/generation_config.json || { echo 'stops are lost'; failures=$((failures + 1)); }
echo '{"eos_token_id": 623}' >folder/generation_config.json
expect 2 'names the token 623, the vocabulary has 623' run -m folder $run
rm folder/generation_config.json

# A GGUF file that was given a vocabulary needs no other.
bytes=$data/vocab/bytes-only.txt
"$RK_PROGRAM" train --data text.txt --vocab "$bytes" --out plain --n-layer 1 --n-embd 32 --head-size 16 \
    --ctx-len 16 --batch 2 --steps 3 --seed 1 -q >/dev/null 2>&1
"$RK_PROGRAM" convert plain/model.safetensors without.gguf -q
expect 2 'names no vocabulary' run -m without.gguf $run
"$RK_PROGRAM" convert plain/model.safetensors with.gguf --vocab "$bytes" -q
expect 0 '^be' run -m plain/model.safetensors --vocab "$bytes" $run
cp out want.txt
expect 0 '^be' run -m with.gguf $run
cmp -s out want.txt || { echo 'a vocabulary in a GGUF file gives other text'; failures=$((failures + 1)); }
expect 0 '"n_tokens"' eval -m with.gguf --ppl text.txt --json

# A talk in the format of a folder's template, whose control tokens no text can say.
"$RK_PROGRAM" train --data text.txt --vocab "$data/tokens/qwen2.json" --out talks --n-layer 1 --n-embd 32 --head-size 16 \
    --ctx-len 16 --batch 2 --steps 3 --seed 1 -q >/dev/null 2>&1
mkdir talk
cp talks/model.safetensors talk/
cp "$data/tokens/qwen2.json" talk/tokenizer.json
cat >talk/tokenizer_config.json <<'END'
{"eos_token": {"content": "<|im_end|>"}, "chat_template": "{{ '<|im_start|>system\\nBe.<|im_end|>\\n' }}"}
END
says() { # the tokens of a question, with the talk's beginning
    printf '[{"role": "user", "content": "%s"}]' "$1" >talk.json
    "$RK_PROGRAM" tokenize --vocab talk --messages talk.json
}
case $(says a) in 1,*,2,*,1,*,2,*,1,*) ;; *) echo "a talk: $(says a)"; failures=$((failures + 1)) ;; esac
n=$(says 'x<|im_end|>' | tr ',' '\n' | wc -l)
few=$(says 'x' | tr ',' '\n' | wc -l)
[ "$n" -gt $((few + 3)) ] || { echo "a text says a control token: $(says 'x<|im_end|>')"; failures=$((failures + 1)); }
printf 'x<|im_end|>\n' >question.txt
"$RK_PROGRAM" chat -m talk --json -n 1 --temp 0 -q <question.txt >out
grep -q "\"n_prompt\":$n," out || { echo "chat read another talk than $n tokens: $(cat out)"; failures=$((failures + 1)); }
expect 0 '"stop_reason":"eos"' chat -m talk --json -n 3 --temp 0 -q --logit-bias 2=1e4 -p a
expect 0 '"n_generated":3' chat -m talk --json -n 3 --temp 0 -q --logit-bias 2=1e4 --ignore-eos -p a
# the token that ended a saved text is no part of what goes on
expect 0 '' run -m talk -p a -n 3 --temp 0 -q --logit-bias 2=1e4 --state-out ended.st
expect 0 '' run -m talk -p a -n 0 --temp 0 -q --state-out cut.st
for from in ended cut; do
    expect 0 '' run -m talk -p b -n 0 --temp 0 -q --state-in $from.st --state-out $from-b.st
done
cmp -s ended-b.st cut-b.st || { echo "the end of a saved text was read"; failures=$((failures + 1)); }
# text is encoded in pieces of 64 KiB, which cut no character and no control token
awk 'BEGIN { for (i = 0; i < 50000; i++) printf "\344\270\255" }' >long.txt
expect 0 '"documents":1,' data pack long.txt -o long.bin --tokenizer talk/tokenizer.json --json
expect 0 '' tokenize --vocab talk -f long.txt
n=$(tr ',' '\n' <out | grep -c .)
expect 0 "\"tokens\":$n," data info long.bin --json
for pad in 65500 65510 65520 65530; do
    awk -v n=$pad 'BEGIN { for (i = 0; i < n; i++) s = s "a"
        printf "{\"messages\": [{\"role\": \"user\", \"content\": \"%s\"}, {\"role\": \"assistant\", \"content\": \"b\"}]}\n", s }' >long.jsonl
    expect 0 '"documents":1,' data pack long.jsonl -o "long-$pad.bin" --tokenizer talk/tokenizer.json --template chatml --json
    expect 0 '' data info "long-$pad.bin" --json
    sed 's/.*"tokens":\([0-9]*\).*/\1/' out >"tokens-$pad"
    echo $(($(cat "tokens-$pad") - pad)) >>rests
done
[ "$(sort -u rests | wc -l)" = 1 ] || { echo "a control token is cut: $(cat rests)"; failures=$((failures + 1)); }
mkdir left.bin.packing && : >left.bin.packing/mask
expect 0 '"documents":1' data pack long.txt -o left.bin --tokenizer byte --json
[ ! -e left.mask ] || { echo "a mask of another packing has become the output's"; failures=$((failures + 1)); }
mkdir mine.bin.packing && echo mine >mine.bin.packing/notes
expect 2 "holds 'notes', which no packing has left there" data pack long.txt -o mine.bin --tokenizer byte
[ -e mine.bin.packing/notes ] || { echo "data pack has removed somebody's file"; failures=$((failures + 1)); }
printf 'a\n/save talk.st\nb\n' | "$RK_PROGRAM" chat -m talk -n 3 --temp 0 -q --json >out
printf 'b\n' | "$RK_PROGRAM" chat -m talk -n 3 --temp 0 -q --json --state-in talk.st >again
text_of() { sed -n 's/.*"text":\("[^"]*"\).*"n_prompt":\([0-9]*\).*/\1 \2/p' "$1" | tail -n 1; }
[ "$(text_of out)" = "$(text_of again)" ] || { echo "a saved talk goes on otherwise"; failures=$((failures + 1)); }
expect 0 '^[0-9,]*$' tokenize --vocab talk --messages talk.json --template world
echo '{"chat_template": "[INST]"}' >talk/tokenizer_config.json
expect 2 'none that is known; --template names' chat -m talk -p a
expect 0 '' chat -m talk -p a --template chatml -n 1

[ $failures = 0 ]
