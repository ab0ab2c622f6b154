#!/bin/sh
# rwkv distill: students made of a teacher, aligned and taught word by word; stopped and continued to the bit;
# what is frozen stays; what cannot be is refused.
# shellcheck source=tests/script.sh
. "$RK_SOURCE_DIR/tests/script.sh"
rwkv() {
    "$RK_PROGRAM" "$@" -t 1
}
# the first and the last validation loss of a run
first() { grep -o '"val_loss": [0-9.]*' "$1/log.jsonl" | head -1 | cut -d' ' -f2; }
last() { grep -o '"val_loss": [0-9.]*' "$1/log.jsonl" | tail -1 | cut -d' ' -f2; }
less() { awk "BEGIN { exit !($1 < $2) }" || fail "$3: $1 is not below $2"; }

awk 'BEGIN { srand(1); for (i = 0; i < 3000; i++) printf "%s ", substr("abcdefgh", 1 + int(rand() * 5), 3); }' >t.txt
rwkv train --arch qwen2 --data t.txt --tokenizer byte --n-layer 2 --n-embd 32 --n-head 4 --n-kv-head 2 --ctx-len 32 \
    --batch 8 --steps 60 --lr 1e-2 --out teacher -q
T=teacher/model.safetensors
small="--data t.txt --ctx-len 32 --batch 4 --warmup 2 -q"

# ---- stage 1: each start comes nearer
for init in copy copy-scaled random; do
    rwkv distill --teacher $T --head-size 16 --stage 1 --init $init --steps 10 $small --out s1-$init
    less "$(last s1-$init)" "$(first s1-$init)" "alignment from $init"
done
# embeddings, norms and channel mixes are the teacher's, to the byte: the head is the student's own
cat >same.py <<'END'
import sys
from safetensors_parts import read
def load(path):
    head, data = read(path)
    return {k: data[slice(*v["data_offsets"])] for k, v in head.items() if k != "__metadata__"}, head
(a, _), (b, h) = load(sys.argv[1]), load(sys.argv[2])
for name in b:
    if "self_attn" not in name and name != "wkv_gate_mode":
        assert a[name] == b[name], name
if len(sys.argv) > 3:  # rows of keys: each head of the teacher's as often as it is read
    row, kv = 32 * 4, a["model.layers.1.self_attn.k_proj.weight"]
    key = b["model.layers.1.self_attn.time_mixer.key.weight"]
    for i in range(32):
        from_row = i // 8 // 2 * 8 + i % 8
        assert key[i * row:(i + 1) * row] == kv[from_row * row:(from_row + 1) * row], i
END
if command -v python3 >/dev/null; then
    python3 same.py $T s1-copy/start.safetensors rows || fail "the start is no copy of the teacher"
    python3 same.py $T s1-copy/model.safetensors || fail "alignment has changed more than mixers"
fi

# ---- stopped and continued, recomputed, with other threads: the same bytes
rwkv distill --teacher $T --head-size 16 --stage 1 --steps 6 $small --schedule constant --out whole
rwkv distill --teacher $T --head-size 16 --stage 1 --steps 3 $small --schedule constant --out parts
rwkv distill --teacher $T --head-size 16 --stage 1 --steps 6 $small --schedule constant --out parts --resume
cmp -s whole/model.safetensors parts/model.safetensors || fail "stage 1 goes on otherwise than it began"
rwkv distill --teacher $T --head-size 16 --stage 1 --steps 6 $small --schedule constant --out again --recompute
cmp -s whole/model.safetensors again/model.safetensors || fail "stage 1 recomputed is another"
"$RK_PROGRAM" distill --teacher $T --head-size 16 --stage 1 --steps 6 $small --schedule constant --out two -t 2
cmp -s whole/model.safetensors two/model.safetensors || fail "stage 1 depends on threads"

# ---- stage 2, from there and from nothing; of a teacher in blocks; every kind of student
rwkv distill --teacher $T -m s1-copy/model.safetensors --stage 2 --steps 10 $small --freeze '*.mlp.*' --out s2
less "$(last s2)" "$(first s2)" "divergence"
rwkv distill --teacher $T --head-size 16 --init random --stage 2 --steps 1 $small --out from-nothing
less "$(first s2)" "$(first from-nothing)" "aligned against drawn"
rwkv distill --teacher $T -m s1-copy/model.safetensors --stage 2 --steps 5 $small --schedule constant --out p2
rwkv distill --teacher $T -m s1-copy/model.safetensors --stage 2 --steps 2 $small --schedule constant --out q2
rwkv distill --teacher $T --stage 2 --steps 5 $small --schedule constant --out q2 --resume
cmp -s p2/model.safetensors q2/model.safetensors || fail "stage 2 goes on otherwise than it began"
rwkv quantize $T teacher.gguf --type q8_0 -q
rwkv distill --teacher teacher.gguf -m s1-copy/model.safetensors --stage 2 --steps 3 $small --ce-weight 0.1 --out b2
for arch in rwkv6qwen2 rwkv7qwen2; do
    rwkv distill --teacher teacher.gguf --arch $arch --stage 1 --steps 6 $small --out $arch-1
    less "$(last $arch-1)" "$(first $arch-1)" "$arch, alignment"
    rwkv distill --teacher $T -m $arch-1/model.safetensors --stage 2 --steps 6 $small --out $arch-2
    less "$(last $arch-2)" "$(first $arch-2)" "$arch, divergence"
done
# ---- hybrids: a list of layers, and those where alignment is worst; in every kind of student
rwkv distill --teacher $T --head-size 16 --init copy --layers 1 --stage 1 --steps 8 $small --out h1
less "$(last h1)" "$(first h1)" "alignment of one layer"
rwkv info h1/model.safetensors | grep -q "attention only *in layers 0$" || fail "layer 0 is not kept"
rwkv distill --teacher $T -m h1/model.safetensors --stage 2 --steps 8 $small --out h2
less "$(last h2)" "$(first h2)" "divergence of a hybrid"
rwkv distill --teacher $T -m s1-copy/model.safetensors --layers auto:1 --stage 2 --steps 5 --data t.txt --ctx-len 32 \
    --batch 4 --warmup 2 --schedule constant --out auto 2>auto.txt
kept=$(sed -n 's/^layer \([01]\) keeps attention.*/\1/p' auto.txt)
rwkv info auto/model.safetensors | grep -q "attention only *in layers $kept$" || fail "auto keeps another layer"
rwkv distill --teacher $T -m s1-copy/model.safetensors --layers auto:1 --stage 2 --steps 2 $small --schedule constant --out parts2
rwkv distill --teacher $T --layers auto:1 --stage 2 --steps 5 $small --schedule constant --out parts2 --resume
cmp -s auto/model.safetensors parts2/model.safetensors || fail "a hybrid goes on otherwise than it began"
"$RK_PROGRAM" distill --teacher $T -m s1-copy/model.safetensors --layers auto:1 --stage 2 --steps 5 $small \
    --schedule constant --recompute --out two2 -t 2
cmp -s auto/model.safetensors two2/model.safetensors || fail "a hybrid depends on threads or on recomputing"
for arch in rwkv6qwen2 rwkv7qwen2; do
    rwkv distill --teacher teacher.gguf --arch $arch --layers 0 --stage 1 --weight-decay 0.1 --steps 3 $small --out $arch-h
    rwkv run -m $arch-h -p "cde " -n 4 -q >/dev/null || fail "a hybrid $arch does not run"
done
if command -v python3 >/dev/null; then # attention that is kept is the teacher's, to the byte, also behind stage 1
    cat >kept.py <<'END'
import sys
exec(open("same.py").read().split("(a, _)")[0])
a, b = load(sys.argv[1])[0], load(sys.argv[2])[0]
kept = [n for n in b if "layers.%s.self_attn." % sys.argv[3] in n]
assert len(kept) == 7, kept
for n in kept:
    assert a[n] == b[n], n
END
    python3 kept.py $T h1/model.safetensors 0 || fail "alignment has changed attention that is kept"
    python3 kept.py $T auto/start.safetensors "$kept" || fail "what auto keeps is not the teacher's"
    rwkv convert teacher.gguf teacher.st.safetensors --type f32
    python3 kept.py teacher.st.safetensors rwkv7qwen2-h/model.safetensors 1 || fail "decay has changed what is kept"
fi
# files of hybrids: there and back with the same bytes, quantised, and lists that contradict the tensors
for m in h2 rwkv6qwen2-h; do
    rwkv convert $m/model.safetensors $m-hf --names hf
    rwkv convert $m-hf $m.gguf
    rwkv convert $m.gguf $m-back --names hf
    cmp -s $m-hf/model.safetensors $m-back/model.safetensors || fail "$m: there and back"
    cmp -s $m-hf/config.json $m-back/config.json || fail "$m: config.json there and back"
    rwkv quantize $m/model.safetensors $m-q8.gguf --type q8_0 -q
    rwkv run -m $m-q8.gguf -p "cde " -n 4 -q >/dev/null || fail "$m in Q8_0 does not run"
done
grep -aq "arwkv7+wkv_gate_mode+hybrid" h2.gguf || fail "a hybrid is not marked in GGUF"
# bad SED WORDS: the hybrid's config.json changed, one sentence with these words
bad() {
    rm -rf bad
    cp -r h2-hf bad
    chmod -R u+w bad
    sed "$1" h2-hf/config.json >bad/config.json
    cmp -s bad/config.json h2-hf/config.json && fail "$1 changes nothing"
    refuses 2 "$2" rwkv run -m bad -p a -n 1 -q
}
bad 's/"wkv_layers":\[1\]/"wkv_layers":[0,1]/' "layer 0 is in its list of layers, but no tensors of arwkv7"
bad 's/"wkv_layers":\[1\]/"wkv_layers":[]/' "layer 1 is not in its list of layers, but the tensors of arwkv7"
bad 's/"wkv_layers":\[1\]/"wkv_layers":"full"/' "layer 0 is in its list"
bad 's/"wkv_layers":\[1\]/"wkv_layers":[1.5]/' "expected the number of a layer"
bad 's/"wkv_layers":\[1\]/"wkv_layers":[-1]/' "expected the number of a layer"
bad 's/"full_attention",//' "layer_types has 1 layers"
bad 's/"full_attention"/"linear_attention"/' "linear_attention for layer 0"
bad 's/"linear_attention"/"full_attention"/' "full_attention for layer 1"
bad 's/"linear_attention"/"mamba"/' "layer_types is mamba"
bad 's/"num_key_value_heads": 2/"num_key_value_heads": 1/' "num_key_value_heads is 1"

# ---- other losses of stage 2: recomputed and with other threads the same bytes; each is another
two="-m s1-copy/model.safetensors --stage 2 --steps 5 $small --schedule constant --detach-v-first"
rwkv distill --teacher $T $two --out detached
cmp -s p2/model.safetensors detached/model.safetensors && fail "--detach-v-first changes nothing"
rwkv distill --teacher $T $two --adaptive-kl --ce-weight 0.1 --out both
"$RK_PROGRAM" distill --teacher $T $two --adaptive-kl --ce-weight 0.1 --recompute --out both-2 -t 2
cmp -s both/model.safetensors both-2/model.safetensors || fail "the adaptive divergence depends on threads"
cmp -s detached/model.safetensors both/model.safetensors && fail "--adaptive-kl changes nothing"
refuses 2 "adaptive-kl" rwkv distill --teacher $T $two --ce-weight 0.1 --out both --resume

# ---- WuNeng's first stage: cross-entropy and half the divergence from its host, which stays as it is
rwkv graft -m teacher --state-heads 2 --state-head-size 8 --middle-heads 2 -q -o heads
rwkv distill --teacher $T -m heads --stage 2 --ce-weight 1 --kl-weight 0.5 --train-only '*.wuneng.*' --lr 1e-2 --steps 30 $small --out woken
less "$(last woken)" "$(first woken)" "heads beside their host"

# ---- pairs of answers
awk 'BEGIN { for (i = 0; i < 24; i++) printf "{\"prompt\": \"abc %d\", \"chosen\": \"good\", \"rejected\": \"bad\"}\n", i; }' >pairs.jsonl
dpo="--stage dpo --data pairs.jsonl --ctx-len 48 --batch 4 --lr 1e-3 --warmup 2 -q"
rwkv distill -m h2/model.safetensors $dpo --steps 12 --out dpo
less "$(last dpo)" "$(first dpo)" "preference"
grep -q '"--lr-final": "0.0001"' dpo/config.json || fail "the rate does not fall to a tenth: $(grep lr dpo/config.json)"
case $(first dpo) in 0.6931471*) ;; *) fail "before a step the loss is $(first dpo), not that of no preference" ;; esac
tail -2 dpo/log.jsonl | grep -q '"val_margin": [0-9.]*, "val_accuracy": 1,' || fail "$(tail -2 dpo/log.jsonl)"
rwkv distill -m h2/model.safetensors --stage DPO --data pairs.jsonl --ctx-len 48 --batch 4 --steps 1 --out dpo-1 -q
grep -q '"--lr": "1.0000000000000001e-05"' dpo-1/config.json || fail "--stage DPO has another rate than --stage dpo"
dpo="$dpo --schedule constant"
rwkv distill -m h2/model.safetensors $dpo --steps 6 --out dpo-6
rwkv distill -m h2/model.safetensors $dpo --steps 3 --out dpo-33
rwkv distill $dpo --steps 6 --out dpo-33 --resume
cmp -s dpo-6/model.safetensors dpo-33/model.safetensors || fail "dpo goes on otherwise than it began"
"$RK_PROGRAM" distill -m h2/model.safetensors $dpo --steps 6 --micro-batch 2 --recompute --out dpo-2 -t 2
cmp -s dpo-6/model.safetensors dpo-2/model.safetensors || fail "dpo depends on threads or micro-batches"
rwkv train --arch rwkv7 --data t.txt --n-layer 2 --n-embd 32 --head-size 16 --ctx-len 32 --batch 4 --steps 2 --out r7 -q
# dropout counts both answers, and what watches states sees the model alone: no micro-batch changes a bit
for words in 'lora --adapter-dropout 0.3' 'state --precondition r'; do
    for n in 1 4; do
        rwkv tune -m r7/model.safetensors --task dpo --data pairs.jsonl --ctx-len 48 --batch 4 --steps 2 --micro-batch $n \
            --out tuned-$n -q --method $words
    done
    cmp -s tuned-1/adapter_model.safetensors tuned-4/adapter_model.safetensors || [ ! -e tuned-1/adapter_model.safetensors ] ||
        fail "dpo, $words: micro-batches change an adapter"
    cmp -s tuned-1/state.pth tuned-4/state.pth || [ ! -e tuned-1/state.pth ] || fail "dpo, $words: micro-batches change a state"
    rm -r tuned-1 tuned-4
done
# another reference or teacher under the same name is another run
cp h2/model.safetensors reference.safetensors
rwkv distill -m h2/model.safetensors $dpo --steps 2 --reference reference.safetensors --out other
cp s2/model.safetensors reference.safetensors
refuses 2 'checksum' rwkv distill $dpo --steps 4 --reference reference.safetensors --out other --resume
cp h2/model.safetensors moved.safetensors
rwkv distill $dpo --steps 4 --reference moved.safetensors --out other --resume
rwkv distill --teacher $T -m s1-copy/model.safetensors --stage 2 --steps 2 $small --schedule constant --out taught
refuses 2 'checksum' rwkv distill --teacher teacher.gguf --stage 2 --steps 4 $small --schedule constant --out taught --resume
for words in "--stage dpo --data pairs.jsonl --order cubic" "--stage dpo --data pairs.jsonl --l2wrap 1" \
    "--stage 1 --teacher $T --data t.txt --dropout 0.1" "--stage 2 --teacher $T --data t.txt --l2wrap 1e-4"; do
    refuses 2 'has no effect on the task' rwkv distill -m h2/model.safetensors --out no $words
done
rwkv distill -m h2/model.safetensors $dpo --steps 2 --reference h2-q8.gguf --label-smoothing 0.1 --out dpo-s
rwkv distill -m h2/model.safetensors $dpo --steps 2 --dpo-loss hinge --beta 0.5 --out dpo-h
[ "$(first dpo-h)" = 1 ] || fail "the hinge's loss is $(first dpo-h) at first"
echo '{"prompt": "p", "chosen": "a", "rejected": "a"}' >same.jsonl
echo '{"prompt": "p", "chosen": "a"}' >half.jsonl
head -1 pairs.jsonl >single.jsonl
refuses 2 "needs a student" rwkv distill --stage dpo --data pairs.jsonl --out no
refuses 2 "dpo has no teacher" rwkv distill --stage dpo --teacher $T -m h2/model.safetensors --data pairs.jsonl --out no
refuses 2 "is that of --stage dpo" rwkv distill --stage sft -m h2/model.safetensors --reference $T --data t.txt --out no
refuses 2 "what is chosen is what is rejected" rwkv distill --stage dpo -m h2/model.safetensors --data same.jsonl --out no
refuses 2 'line 1: no "rejected"' rwkv distill --stage dpo -m h2/model.safetensors --data half.jsonl --out no
refuses 2 "name ends in .jsonl" rwkv distill --stage dpo -m h2/model.safetensors --data t.txt --out no
refuses 2 "none is left to train on" rwkv distill --stage dpo -m h2/model.safetensors --data single.jsonl --val-frac 0.9 --out no

# a student teaches, too; and what was learned runs, and is trained on
rwkv distill --teacher s2/model.safetensors -m s1-copy/model.safetensors --stage 2 --steps 2 $small --out s3
rwkv distill -m s2/model.safetensors --stage sft --steps 2 $small --out s4
rwkv run -m s2 -p "cde " -n 4 -q >/dev/null || fail "the student does not run"

# ---- refused
refuses 2 "teacher MODEL is missing" rwkv distill --data t.txt --out no
refuses 2 "needs a student" rwkv distill --stage sft --data t.txt --out no
refuses 2 "sft has no teacher" rwkv distill --stage sft --teacher $T -m s2/model.safetensors --data t.txt --out no
refuses 2 "needs a teacher" rwkv train --task distill --init-from s2/model.safetensors --data t.txt --out no
rwkv distill --teacher nowhere --data t.txt --out no 2>err && fail "a teacher that is not there"
grep -q "nowhere: No such file" err || fail "$(cat err)"
refuses 2 "n_embd 32 is not a multiple" rwkv distill --teacher $T --data t.txt --head-size 24 --out no
rwkv train --arch qwen2 --data t.txt --n-layer 1 --n-embd 32 --n-head 4 --ctx-len 32 --batch 2 --steps 1 --out one -q
refuses 2 "cannot be aligned" rwkv distill --teacher one -m s1-copy/model.safetensors --stage 1 $small --out no
rwkv distill --teacher one -m s1-copy/model.safetensors --stage 2 --steps 1 $small --out another ||
    fail "a teacher of another depth"
small="--data t.txt --ctx-len 32 --batch 4 -q --out no"
for layers in 0-3,5 x auto: auto:0 auto:2 1- 2-1 ,0 0,, "" -1; do
    refuses 2 "layers" rwkv distill --teacher $T --head-size 16 --stage 1 --layers "$layers" $small
done
refuses 2 "it needs the student that stage 1 has left" rwkv distill --teacher $T --head-size 16 --layers auto:1 $small
refuses 2 "the attention of a --teacher" rwkv distill --stage sft -m s2/model.safetensors --layers 0 $small
refuses 2 "layer 0 of the student is attention already" \
    rwkv distill --teacher $T -m h1/model.safetensors --stage 2 --layers 0 $small
refuses 2 "it cannot keep them" rwkv distill --teacher one -m s1-copy/model.safetensors --stage 2 --layers 0 $small
refuses 2 "there is none" rwkv distill --teacher $T -m s1-copy/model.safetensors --stage 2 --layers auto:1 --val-frac 0 $small
rwkv distill --teacher $T --head-size 16 --data missing.txt --out no 2>err && fail "data that are not there"
[ -e no ] && fail "a refused run left $(ls -a no)"
mkdir no
rwkv distill --teacher nowhere --data t.txt --out no 2>err && fail "a teacher that is not there"
[ -d no ] && [ -z "$(ls no)" ] || fail "a refused run changed a folder that was there"
exit 0
