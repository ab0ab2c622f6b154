#!/bin/sh
# rwkv tune observer: learns, resumes to the bit, says a prompt's state; what cannot be is refused.
# shellcheck source=tests/script.sh
. "$RK_SOURCE_DIR/tests/script.sh"

awk 'BEGIN { srand(1); for (i = 0; i < 1500; i++) printf "%s ", substr("abcdefgh", 1 + int(rand() * 5), 3); }' >a.txt
rwkv train --data a.txt --out teacher --n-layer 3 --n-embd 64 --head-size 16 --ctx-len 32 --batch 4 --steps 12 \
    --lr 5e-3 --val-frac 0.05 -t 2 -q

watch() { # OUT WORDS...
    out=$1
    shift
    rwkv tune observer --teacher teacher --data a.txt --out "$out" --n-layer 2 --n-embd 32 --ctx-len 24 --batch 4 \
        --val-frac 0.05 --schedule constant --warmup 0 --save-every 3 -q "$@"
}

# The same bits: threads, micro-batches, a stop between, blocks computed again.
watch whole --steps 6 -t 1
watch parts --steps 6 -t 2 --micro-batch 1
watch again --steps 6 -t 1 --recompute
watch resumed --steps 3 -t 2
watch resumed --steps 6 -t 1 --resume
for file in model.safetensors observer.safetensors; do
    cmp whole/$file parts/$file || fail "threads or micro-batches change $file"
    cmp whole/$file again/$file || fail "recomputing changes $file"
    cmp whole/$file resumed/$file || fail "resuming changes $file"
done
grep -q '"val_kl_zero"' whole/log.jsonl || fail "no metrics in the log"
grep -q 'observer' whole/model.safetensors && fail "the maps are in the model's file"
rwkv info whole -q >/dev/null || fail "the observer is no model"

# It learns.
watch long --steps 60 --lr 5e-3 --eval-every 30 -t 2
last() { grep -o '"val_state": [0-9.]*' long/log.jsonl | "$1" -1 | cut -d' ' -f2; }
awk "BEGIN { exit !($(last tail) < $(last head)) }" || fail "states: from $(last head) to $(last tail)"

# What it tells of a prompt is where tuning begins, and a state as any other.
rwkv tune -m teacher --data a.txt --method state --state-prompt "abc bcd" --state-observer long --out tuned \
    --ctx-len 32 --batch 4 --steps 2 --lr 1e-3 --val-frac 0.05 -q
rwkv run -m teacher --state tuned/start.pth -p abc -n 4 --temp 0 -q >/dev/null
rwkv run -m teacher --state tuned/state.pth -p abc -n 4 --temp 0 -q >/dev/null

refuses 2 'is missing' rwkv tune observer --data a.txt --out n
refuses 2 'data FILE is missing' rwkv tune observer --teacher teacher --out n
refuses 2 'tune observer --teacher' rwkv train --task observer --data a.txt --out n
refuses 2 'its teacher is rwkv7' rwkv tune observer --teacher teacher --data a.txt --arch rwkv6 --out n
refuses 2 'observer of a model with fingerprint' rwkv tune -m whole --data a.txt --method state --state-prompt a \
    --state-observer long --out n --ctx-len 32 --val-frac 0.05
refuses 2 'reads a --state-prompt' rwkv tune -m teacher --data a.txt --method state --state-observer long --out m
rwkv train --data a.txt --out four --arch rwkv4 --n-layer 1 --n-embd 16 --ctx-len 32 --batch 4 --steps 1 --val-frac 0.05 -q
refuses 2 'states that are matrices' rwkv tune observer --teacher four --data a.txt --arch rwkv7 --out o
[ ! -e m ] && [ ! -e o ] || fail "a refused run left a folder"
echo "all of it"
