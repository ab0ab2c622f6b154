#!/bin/sh
# rwkv data pack and info, and training on what they make: the files are what Megatron's readers expect,
# do not depend on threads or on being killed, and give the bits of the text that they were made from.
# shellcheck source=tests/script.sh
. "$RK_SOURCE_DIR/tests/script.sh"

# refused STATUS PATTERN WORD...: one sentence, and nothing left under the name bad.*
refused() {
    status=$1 pattern=$2
    shift 2
    got=0
    "$RK_PROGRAM" "$@" >out 2>err || got=$?
    [ "$got" = "$status" ] && grep -q -e "$pattern" err && [ "$(wc -l <err)" = 1 ] ||
        complain "rwkv $*: $got, expected $status and '$pattern': $(cat out err)"
    [ -z "$(ls -d bad.bin* 2>/dev/null)" ] || complain "rwkv $*: left $(ls -d bad.bin*)"
}

i=0
while [ $i -lt 60 ]; do
    echo "$i: to be, or not to be, that is the question"
    i=$((i + 1))
done >a.txt
i=0
while [ $i -lt 30 ]; do
    echo "{\"text\": \"document $i of thirty, with a tail\"}"
    echo "{\"prompt\": \"what is $i and $i?\", \"response\": \"it is $((i + i)).\"}"
    i=$((i + 1))
done >b.jsonl

"$RK_PROGRAM" data pack a.txt b.jsonl -o all.bin --tokenizer byte -q || complain "pack: $?"
"$RK_PROGRAM" data pack a.txt b.jsonl -o one.bin --tokenizer byte -q -t 1
"$RK_PROGRAM" data pack all.bin -o again.bin -q
for name in one again; do
    for ending in bin idx mask json; do
        cmp all.$ending $name.$ending || complain "$name.$ending differs"
    done
done
"$RK_PROGRAM" data info all.bin --check --json >info
grep -q '"documents":61,' info && grep -q '"tokenizer":"byte","n_vocab":256' info &&
    grep -q '"text":"0: to be, or not to be, that is "' info || complain "info: $(cat info)"
"$RK_PROGRAM" data info all.bin --check | grep -q 'ids and checksums are right' || complain "check: $?"

# Read as the format is published, and compared with the lines of the texts.
if command -v python3 >/dev/null 2>&1; then
    python3 - <<'END' || complain "all.bin is not what a reader of Megatron's files finds"
import json, struct

idx, tokens, mask = (open("all." + e, "rb").read() for e in ("idx", "bin", "mask"))
assert idx[:9] == b"MMIDIDX\0\0"
version, dtype, n, n_docs = struct.unpack_from("<QBQQ", idx, 9)
assert (version, dtype, n, n_docs) == (1, 8, 61, 62)
lengths = struct.unpack_from("<%di" % n, idx, 34)
starts = struct.unpack_from("<%dq" % n, idx, 34 + 4 * n)
assert struct.unpack_from("<%dq" % n_docs, idx, 34 + 12 * n) == tuple(range(n + 1))
assert len(idx) == 34 + 12 * n + 8 * n_docs
ids = struct.unpack("<%dH" % (len(tokens) // 2), tokens)
counts = [mask[i // 8] >> i % 8 & 1 for i in range(len(ids))]
assert len(mask) == (len(ids) + 7) // 8
want = [(open("a.txt").read() + "\0", 0)]
for line in open("b.jsonl"):
    d = json.loads(line)
    prompt = "User: %s\n\nAssistant:" % d["prompt"] if "prompt" in d else ""
    want.append((prompt + (" " + d["response"] if prompt else d["text"]) + "\0", len(prompt)))
at = 0
for i, (text, masked) in enumerate(want):
    assert starts[i] == 2 * at and lengths[i] == len(text)
    assert "".join(map(chr, ids[at : at + len(text)])) == text
    assert counts[at : at + len(text)] == [0] * masked + [1] * (len(text) - masked)
    at += len(text)
assert at == len(ids)
about = json.load(open("all.json"))
assert about["tokens"] == at and about["counted"] == sum(counts) and about["documents"] == n
assert about["n_vocab"] == 256 and len(about["bin"]) == len(about["idx"]) == len(about["mask"]) == 1
END
fi

# Killed again and again, and stopped by a signal, it ends with the same bytes.
i=0
while [ $i -lt 1200 ]; do
    cat a.txt b.jsonl
    i=$((i + 1))
done | head -c 6000000 >big.txt
"$RK_PROGRAM" data pack big.txt b.jsonl -o want.bin --tokenizer world -q
for signal in KILL INT KILL; do
    "$RK_PROGRAM" data pack big.txt b.jsonl -o got.bin --tokenizer world -q 2>err &
    pid=$!
    sleep 0.08
    kill -$signal $pid 2>/dev/null || true
    wait $pid 2>/dev/null || true
    [ ! -e got.bin ] || cmp -s got.bin want.bin || complain "got.bin before it was whole"
done
[ -e got.bin ] && [ ! -e got.bin.packing ] ||
    "$RK_PROGRAM" data pack big.txt b.jsonl -o got.bin --tokenizer world -q 2>err || grep -q 'exists already' err ||
    complain "after kills: $(cat err)"
mkdir want.bin.packing
"$RK_PROGRAM" data pack big.txt b.jsonl -o want.bin --tokenizer world -q 2>err && complain "want.bin is there, and was written"
[ ! -e want.bin.packing ] || complain "what a call left that was killed at its very end stays"
for ending in bin idx mask json; do
    cmp want.$ending got.$ending || complain "after kills got.$ending differs"
done
[ ! -e got.bin.packing ] || complain "the folder of packing is left"

# train NAME WORD...: a small run; its weights are NAME/model.safetensors
train() {
    name=$1
    shift
    "$RK_PROGRAM" train --out "$name" --n-layer 1 --n-embd 32 --head-size 16 --ctx-len 32 --batch 4 \
        --steps 4 -t 1 -q "$@" || complain "train $*: $?"
}
same() { cmp -s $1/model.safetensors $2/model.safetensors || complain "$1 and $2 differ"; }
differ() { cmp -s $1/model.safetensors $2/model.safetensors && complain "$1 and $2 are the same"; return 0; }

"$RK_PROGRAM" data pack b.jsonl -o b.bin --tokenizer byte -q
train text --data b.jsonl
train packed --data b.bin
same text packed
train none --data b.bin --packing none
train none.text --data b.jsonl --packing none
same none none.text
differ text none
train cubic --data b.bin --order cubic --val-frac 0
train mixed --data b.bin --data all.bin --data-weight 1 --data-weight 3
"$RK_PROGRAM" train --out mixed --n-layer 1 --n-embd 32 --head-size 16 --ctx-len 32 --batch 4 --steps 6 \
    -t 1 -q --data b.bin --data all.bin --data-weight 1 --data-weight 2 --resume 2>err && complain "other weights go on"
grep -q -e '--data-weight is 1,2, but' err || complain "other weights: $(cat err)"

# A token that is but a target and does not count is not seen: the last one of a window of one document.
talk() {
    echo "{\"messages\": [{\"role\": \"user\", \"content\": \"A\"}, {\"role\": \"assistant\", \"content\": \"$2\"}," \
        "{\"role\": \"user\", \"content\": \"b${1}cdefgh\"}, {\"role\": \"assistant\", \"content\": \"no\"}]}" >$3
}
talk X yes x.jsonl
talk Y yes y.jsonl
talk X yet z.jsonl
for name in x y z; do
    train mask.$name --data $name.jsonl --packing none --val-frac 0
done
same mask.x mask.y
differ mask.x mask.z

# Two documents that fill a window, whose states are their own, have the loss of a window each.
printf '{"text":"abcdefghijklmnop"}\n{"text":"0123456789:;<=>"}\n' >two.jsonl
loss() {
    name=$1
    shift
    "$RK_PROGRAM" train --data two.jsonl --out "$name" --n-layer 2 --n-embd 32 --head-size 16 --ctx-len 32 \
        --steps 1 --val-frac 0 -t 1 -q --json "$@" | sed 's/.*"loss":\([0-9.]*\).*/\1/'
}
alone=$(loss two.alone --packing none --batch 2)
reset=$(loss two.reset --doc-boundary reset --batch 1)
shared=$(loss two.shared --batch 1)
echo "$alone $reset $shared" | awk '{d = $1 - $2; e = $1 - $3; exit !($1 > 0 && d * d < 1e-10 && e * e > 1e-10)}' ||
    complain "loss of documents alone $alone, with states of their own $reset, with one state $shared"

# What is wrong is named with file and byte.
refused 2 'exists already; --force' data pack a.txt -o all.bin --tokenizer byte
printf '{"text": "a"}\n{"text":5}\n' >bad.jsonl
refused 2 'bad.jsonl: line 2, byte 9: expected a string' data pack a.txt bad.jsonl -o bad.bin
refused 1 'nowhere.txt: No such file' data pack a.txt nowhere.txt -o bad.bin
refused 2 'expected a name that ends in .bin' data pack a.txt -o bad
refused 2 'Parquet is not read' data pack a.parquet -o bad.bin
refused 2 "is packed with vocabulary 'byte' of 256 ids" data pack all.bin -o bad.bin --tokenizer world
cp all.bin cut.bin
cp all.idx cut.idx
head -c 100 all.bin >cut.bin
refused 2 'cut.bin: sequence 0 ends at byte .*, the file has 100' data info cut.bin
cp all.bin wrong.bin
cp all.idx wrong.idx
printf '\377\377' | dd of=wrong.bin bs=1 seek=1000 conv=notrunc 2>/dev/null
refused 2 'wrong.bin: byte 1000: token 500 is 65535, the vocabulary has ids from 0 to 255' \
    train --data wrong.bin --tokenizer byte --out bad.run
refused 2 'wrong.bin: holds tokens and does not say of which vocabulary' train --data wrong.bin --out bad.run
for ending in bin idx mask json; do
    cp all.$ending flip.$ending
done
printf 'x' | dd of=flip.bin bs=1 seek=600 conv=notrunc 2>/dev/null
refused 2 'flip.bin: bytes 0 to .* are not those that were packed' data info flip.bin --check
rm flip.mask
refused 2 'flip.mask: is missing' data info flip.bin

# Conversations are what the vocabulary's chat template makes of them, its own system text first where they bring none:
# the tokens of `tokenize --messages`, in what is packed and in training.
mkdir talks
cp "$RK_SOURCE_DIR/tests/data/tokens/qwen2.json" talks/tokenizer.json
cat >talks/tokenizer_config.json <<'END'
{"chat_template": "{{ '<|im_start|>system\\nYou are S.<|im_end|>\\n' }}"}
END
for first in '' '{"role":"system","content":"Be brief."},' '{"role":"assistant","content":"Hello."},'; do
    echo '{"messages":['"$first"'{"role":"user","content":"Hi"},{"role":"assistant","content":"Yes."}]}' >talk.jsonl
    "$RK_PROGRAM" data pack talk.jsonl -o talk.bin --tokenizer talks --doc-boundary none --force -q
    packed=$(od -An -v -tu2 talk.bin | tr -s ' \n' ',' | sed 's/^,//; s/,$//')
    [ "$packed" = "$("$RK_PROGRAM" tokenize --vocab talks --messages talk.jsonl)" ] || complain "tokens of $(cat talk.jsonl)"
done
for i in 1 2 3 4 5 6 7 8 9; do echo '{"prompt":"What is '$i'?","response":"It is '$i'."}'; done >talks.jsonl
"$RK_PROGRAM" data pack talks.jsonl -o talks.bin --tokenizer talks -q
"$RK_PROGRAM" train --arch qwen2 --n-layer 1 --n-embd 32 --n-head 2 --ctx-len 16 --batch 2 --steps 1 --val-frac 0 --data talks.bin \
    --tokenizer talks --out new -q
"$RK_PROGRAM" convert new/model.safetensors new.gguf --vocab talks -q
for data in talks.jsonl talks.bin; do
    "$RK_PROGRAM" train --init-from new.gguf --data $data --ctx-len 16 --batch 2 --steps 2 --val-frac 0 --out on-$data -q
done
cmp on-talks.jsonl/model.safetensors on-talks.bin/model.safetensors || complain "conversations as text and packed"

[ $failures = 0 ]
