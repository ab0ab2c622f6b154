#!/bin/sh
# rwkv distill: students made of a teacher, aligned and taught word by word; stopped and continued to the bit;
# what is frozen stays; what cannot be is refused.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
fail() {
    echo "$1"
    exit 1
}
rwkv() {
    "$RK_PROGRAM" "$@" -t 1
}
# refuses PATTERN COMMAND...: it ends with status 2 and one line that holds the pattern.
refuses() {
    pattern=$1
    shift
    status=0
    "$@" 2>err || status=$?
    [ $status -eq 2 ] && [ "$(wc -l <err)" = 1 ] || { cat err; fail "status $status: $*"; }
    grep -q -- "$pattern" err || { cat err; fail "no '$pattern' from: $*"; }
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
import json, sys
def load(path):
    raw = open(path, "rb").read()
    n = int.from_bytes(raw[:8], "little")
    head = json.loads(raw[8:8 + n])
    return {k: raw[8 + n + v["data_offsets"][0]:8 + n + v["data_offsets"][1]]
            for k, v in head.items() if k != "__metadata__"}, head
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
# a student teaches, too; and what was learned runs, and is trained on
rwkv distill --teacher s2/model.safetensors -m s1-copy/model.safetensors --stage 2 --steps 2 $small --out s3
rwkv distill -m s2/model.safetensors --stage sft --steps 2 $small --out s4
rwkv run -m s2 -p "cde " -n 4 -q >/dev/null || fail "the student does not run"

# ---- refused
refuses "teacher MODEL is missing" rwkv distill --data t.txt --out no
refuses "needs a student" rwkv distill --stage sft --data t.txt --out no
refuses "sft has no teacher" rwkv distill --stage sft --teacher $T -m s2/model.safetensors --data t.txt --out no
refuses "needs a teacher" rwkv train --task distill --init-from s2/model.safetensors --data t.txt --out no
rwkv distill --teacher nowhere --data t.txt --out no 2>err && fail "a teacher that is not there"
grep -q "nowhere: No such file" err || fail "$(cat err)"
refuses "n_embd 32 is not a multiple" rwkv distill --teacher $T --data t.txt --head-size 24 --out no
rwkv train --arch qwen2 --data t.txt --n-layer 1 --n-embd 32 --n-head 4 --ctx-len 32 --batch 2 --steps 1 --out one -q
refuses "cannot be aligned" rwkv distill --teacher one -m s1-copy/model.safetensors --stage 1 $small --out no
rwkv distill --teacher one -m s1-copy/model.safetensors --stage 2 --steps 1 $small --out another ||
    fail "a teacher of another depth"
[ -e no ] && [ -n "$(ls no | grep -v start.safetensors)" ] && fail "a refused run left $(ls no)"
exit 0
