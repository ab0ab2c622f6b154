#!/bin/sh
# rwkv tune test-time: a state learned from a model's own chains: better, the same bits, judged, refused.
# shellcheck source=tests/script.sh
. "$RK_SOURCE_DIR/tests/script.sh"

rwkv train --task addition --digits 1 --out model --n-layer 1 --n-embd 32 --head-size 16 --batch 32 --steps 120 --lr 5e-3 \
    --eval-every 1000 -t 2 -q
solve() { # OUT WORDS...
    out=$1
    shift
    rwkv tune test-time -m model --task addition --digits 1 --questions 6 --chains 4 --out "$out" --save-every 2 -q "$@"
}
value() { grep -o "\"$2\": [0-9.e-]*" "$1/test-time.json" | cut -d' ' -f2; }

# The same bits: threads, micro-batches, a stop between; another seed is another run.
solve whole --rounds 4 -t 1
solve parts --rounds 4 -t 2 --micro-batch 1
solve resumed --rounds 2 -t 2
solve resumed --rounds 4 -t 1 --resume
solve other --rounds 4 --seed 7
for file in state.pth test-time.json; do
    cmp whole/$file parts/$file || fail "threads or micro-batches change $file"
    cmp whole/$file resumed/$file || fail "resuming changes $file"
done
cmp -s whole/state.pth other/state.pth && fail "two seeds give one state"

# Tokens: those of all rounds and of the result; voting takes as many or a chain of each problem more.
t=$(value whole tokens) v=$(value whole voting_tokens)
awk "BEGIN { exit !($v > 0.8 * $t && $v < 1.4 * $t) }" || fail "$v tokens of voting, $t of the run"
# What was drawn before the first step is worth what the base is worth in the result.
first=$(grep -o '"val_right": [0-9.]*' whole/log.jsonl | head -1 | cut -d' ' -f2)
[ "$first" = "$(value whole base_right)" ] || fail "the base has $(value whole base_right) in the result, $first in the log"

# Rounds at a higher rate: the chains become better; a strong divergence keeps the state where it was.
solve long --rounds 30 --lr 0.05 -t 2
awk "BEGIN { exit !($(value long tuned_right) > $(value long base_right)) }" ||
    fail "right chains: $(value long base_right), then $(value long tuned_right)"
rwkv run -m model --state long/state.pth --help >/dev/null
solve judged --rounds 2 --verifier off --judge model -t 2
cmp -s whole/state.pth judged/state.pth && fail "a judge changes nothing"
solve begun --rounds 1 --state long/state.pth
[ "$(value begun base_right)" = "$(value long tuned_right)" ] || fail "--state is not what it begins with"

# a task's parameter may have the name of an option of tuning
rwkv train --task reverse --seq-len 16 --digits 3 --out backwards --n-layer 1 --n-embd 32 --head-size 16 --steps 1 --batch 2 -t 1 -q
rwkv tune test-time -m backwards --task reverse --seq-len 16 --digits 3 --targets answers --rounds 1 --chains 2 --questions 2 \
    --out turned -t 1 -q || fail "--targets of reverse"

refuses 2 'are no prompt with an answer' rwkv tune test-time -m model --task parity --out n
refuses 2 'no task' rwkv tune test-time -m model --task sums --out n
refuses 2 'is missing' rwkv tune test-time --task addition --out n
refuses 2 'tune test-time -m' rwkv train --task test-time --out n
refuses 2 'no parameter of the task' rwkv tune test-time -m model --task addition --slots 3 --out n
refuses 2 '--batch is 48, but' rwkv tune test-time -m model --task addition --digits 1 --questions 6 --chains 8 --rounds 4 \
    --out whole --resume
rwkv train --task copy --out wide --n-layer 1 --n-embd 32 --head-size 16 --steps 1 --batch 2 -t 1 -q
refuses 2 'the model that it judges' rwkv tune test-time -m model --task addition --digits 1 --judge wide --out o
[ ! -e n ] || fail "a refused run left a folder"
echo "all of it"
