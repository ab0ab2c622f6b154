#!/bin/sh
# A model in a folder, whole or in the files of an index, and what is answered to a bad index.
# shellcheck source=tests/script.sh
. "$RK_SOURCE_DIR/tests/script.sh"

# refused PATTERN FILE: one sentence, status 2
refused() {
    got=0
    "$RK_PROGRAM" info -m "$2" >out 2>err || got=$?
    [ $got -eq 2 ] && grep -q -e "$1" err && [ "$(wc -l <err)" -eq 1 ] ||
        complain "$2: status $got, expected 2 and '$1': $(cat err)"
}

i=0
while [ $i -lt 20 ]; do
    echo "$i: to be, or not to be"
    i=$((i + 1))
done >text.txt
"$RK_PROGRAM" train --data text.txt --tokenizer byte --out run --n-layer 1 --n-embd 32 --head-size 16 \
    --ctx-len 16 --batch 2 --steps 3 --seed 1 -q >/dev/null 2>&1
mkdir folder
cp run/model.safetensors folder/
"$RK_PROGRAM" logits -m run/model.safetensors --tokens 1,2,3 -o a.npy
"$RK_PROGRAM" logits -m folder --tokens 1,2,3 -o b.npy
cmp -s a.npy b.npy || complain 'a folder computes something else'

# an index of one file that holds all: every tensor's name, as the file lists them
perl -e '
    open F, "<:raw", "folder/model.safetensors"; read F, my $n, 8; read F, my $h, unpack "Q<", $n;
    my @names = grep { $_ ne "__metadata__" } $h =~ /"([^"]+)":\{/g;
    print "{\"metadata\":{\"total_size\":1},\"weight_map\":{",
        join(",", map { "\"$_\":\"model.safetensors\"" } @names), "}}"' >folder/model.safetensors.index.json
"$RK_PROGRAM" logits -m folder --tokens 1,2,3 -o c.npy
cmp -s a.npy c.npy || complain 'an index computes something else'

# as transformers does, a folder's model.safetensors counts before an index beside it
mv folder both
mv both/model.safetensors both/part.safetensors
sed 's/model.safetensors/part.safetensors/g' both/model.safetensors.index.json >both/x.json
mv both/x.json both/model.safetensors.index.json
"$RK_PROGRAM" logits -m both --tokens 1,2,3 -o d.npy
cmp -s a.npy d.npy || complain 'an index of another file computes something else'
"$RK_PROGRAM" train --data text.txt --tokenizer byte --out other --n-layer 1 --n-embd 32 --head-size 16 \
    --ctx-len 16 --batch 2 --steps 1 --seed 2 -q >/dev/null 2>&1
cp other/model.safetensors both/
"$RK_PROGRAM" logits -m other/model.safetensors --tokens 1,2,3 -o e.npy
"$RK_PROGRAM" logits -m both --tokens 1,2,3 -o f.npy
cmp -s e.npy f.npy || complain 'an index counts before the model beside it'

# a number of config.json that is none
"$RK_PROGRAM" convert run/model.safetensors named --names hf
for bad in '"1e-5"' '[1]' '{"a":1}'; do
    sed "s/\"norm_eps\":[^,]*/\"norm_eps\":$bad/" named/config.json >bad.json
    mkdir -p bad && cp named/model.safetensors bad && mv bad.json bad/config.json
    got=0
    "$RK_PROGRAM" logits -m bad --tokens 1 -o no.npy 2>err || got=$?
    [ $got -eq 2 ] && grep -q 'bad/config.json: byte [0-9]*: expected a number' err ||
        complain "norm_eps of $bad: status $got: $(cat err)"
done

mkdir empty
refused 'a folder without model.safetensors' empty
index() {
    printf '%s' "$1" >x.index.json
}
index '{"weight_map":{"a":"../run/model.safetensors"}}'
refused 'no name of a file beside the index' x.index.json
index '{"weight_map":{"a":"gone.safetensors"}}'
"$RK_PROGRAM" info -m x.index.json 2>err && complain 'a missing file was read'
grep -q 'gone.safetensors' err || complain "a missing file: $(cat err)"
index '{"weight_map":{}}'
refused 'no "weight_map"' x.index.json
index '{"weight_map":{},"weight_map":{}}'
refused 'occurs twice' x.index.json
index '{"weight_map":["a"]}'
refused 'byte 14: expected' x.index.json
index '{"weight_map":{"a":"b"'
refused 'expected' x.index.json
cp run/model.safetensors m.safetensors
index '{"weight_map":{"emb.weight":"m.safetensors"}}'
refused 'it names 1 tensors, its 1 files hold' x.index.json

[ $failures = 0 ]
