#!/bin/sh
# rwkv tune on small models: what is trained, resumed to the bit, run as merged, refused.
# shellcheck source=tests/script.sh
. "$RK_SOURCE_DIR/tests/script.sh"

# Two texts of other letters.
awk 'BEGIN { srand(1); for (i = 0; i < 1500; i++) printf "%s ", substr("abcdefgh", 1 + int(rand() * 5), 3); }' >a.txt
awk 'BEGIN { srand(2); for (i = 0; i < 1500; i++) printf "%s\n", substr("stuvwxyz", 1 + int(rand() * 5), 3); }' >b.txt
for arch in rwkv4 rwkv5 rwkv6 rwkv7; do
    rwkv train --data a.txt --out "base-$arch" --arch $arch --n-layer 2 --n-embd 32 --head-size 16 --ctx-len 32 \
        --batch 4 --steps 12 --lr 5e-3 --val-frac 0.05 -t 2 -q
done

last() { grep -o '"val_loss": [0-9.]*' "$1/log.jsonl" | "$2" -1 | cut -d' ' -f2; }
tune() { # ARCH METHOD OUT WORDS...; the method low is state of rank 2
    arch=$1 method=$2 out=$3
    shift 3
    case $method in *low) set -- --state-rank 2 "$@" ;; esac
    case $method in low | state*) ;; *) set -- --rank 4 "$@" ;; esac
    rwkv tune -m "base-$arch" --data b.txt --method "$(echo "$method" | sed 's/low/state/')" --out "$out" --ctx-len 32 --batch 4 \
        --val-frac 0.05 -q "$@"
}

loss() { sed 's/.*"loss": *\([0-9.]*\).*/\1/' "$1"; }

# ---- every method lowers the loss, and so does what it saved ----

rwkv eval -m base-rwkv7 --ppl b.txt --ctx 32 --json -q >base

for method in miss bone bat lora lora+ rslora pissa olora lora-ga dora state low; do
    lr=5e-3
    [ $method = state ] && lr=1
    [ $method = low ] && lr=0.3
    tune rwkv7 $method "m-$method" --steps 8 --lr $lr --eval-every 8 -t 2
    first=$(last "m-$method" head) end=$(last "m-$method" tail)
    awk "BEGIN { exit !($end < $first - 0.01) }" || fail "$method: loss from $first to $end"
    with="--adapter m-$method"
    case $method in state | low) with="--state m-$method/state.pth" ;; esac
    # shellcheck disable=SC2086
    rwkv eval -m base-rwkv7 $with --ppl b.txt --ctx 32 --json -q >x
    awk "BEGIN { exit !($(loss x) < $(loss base) - 0.01) }" || fail "$method: what it saved is not what it learned"
done
grep -q '"peft_type": "MISS"' m-miss/adapter_config.json || fail "miss is not written as MISS"
grep -q '"peft_type": "BONE"' m-bone/adapter_config.json || fail "bone is not written as BONE"

# A state is written as it was learned: in a model's file it gives the loss that the run ended with.
for method in state low; do
    rwkv merge -m base-rwkv7 --state "m-$method/state.pth" -o "with-$method.safetensors" -q
    rwkv tune -m "with-$method.safetensors" --data b.txt --method miss --rank 4 --out "again-$method" --ctx-len 32 --batch 4 \
        --val-frac 0.05 --steps 1 -q
    awk "BEGIN { d = $(last "again-$method" head) - $(last "m-$method" tail); exit !(d < 1e-4 && d > -1e-4) }" ||
        fail "$method: ends at $(last "m-$method" tail), what it wrote begins at $(last "again-$method" head)"
done

# ---- from the start values on nothing changes, or next to nothing ----

first=$(last m-miss head)
for method in bat lora lora+ rslora state low; do
    [ "$(last "m-$method" head)" = "$first" ] || fail "$method: begins with another loss than miss"
done
for method in pissa olora lora-ga dora; do
    awk "BEGIN { d = $(last "m-$method" head) - $first; exit !(d < 1e-4 && d > -1e-4) }" || fail "$method: begins elsewhere"
done

# ---- the same bits: threads, micro-batches, a stop between ----

for method in miss pissa lora-ga dora state miss,state low miss,low state-dbp state-kernel state+r; do
    set -- --steps 6 --lr 5e-3 --save-every 3
    precondition=none
    [ $method != state+r ] || { method=state precondition=r; }
    tune rwkv7 $method whole "$@" -t 1 --precondition $precondition
    tune rwkv7 $method parts "$@" -t 2 --micro-batch 1 --precondition $precondition
    set -- --lr 5e-3 --save-every 3 --schedule constant --warmup 0 --precondition $precondition
    tune rwkv7 $method resumed --steps 3 -t 2 "$@"
    tune rwkv7 $method resumed2 --steps 6 -t 2 "$@"
    tune rwkv7 $method resumed --steps 6 -t 1 "$@" --resume
    for file in adapter_model.safetensors state.pth; do
        [ -e whole/$file ] || continue
        cmp whole/$file parts/$file || fail "$method: threads or micro-batches change $file"
        cmp resumed/$file resumed2/$file || fail "$method: resuming changes $file"
    done
    [ $method != miss,state ] || [ -e whole/state.pth ] || fail "miss,state: no state.pth"
    other="--rank 2"
    case $method in *low) other="--rank 4 --state-rank 3" ;; esac
    # shellcheck disable=SC2086
    refuses 2 'rank' rwkv tune -m base-rwkv7 --data b.txt --method "$(echo $method | sed s/low/state/)" $other --out resumed --ctx-len 32 --batch 4 \
        --val-frac 0.05 --steps 8 --lr 5e-3 --schedule constant --warmup 0 --resume -q
    rm -r whole parts resumed resumed2
done

# ---- states: several, beside an adapter, of a kernel path; what info says ----

scores() { # OUT WORDS...
    out=$1
    shift
    rwkv logits -m base-rwkv7 --tokens 115,116 -o "$out" --force -q "$@"
}
tune rwkv7 miss,state both --steps 2 --lr 5e-3
scores sum.npy --state both/state.pth:0.5 --state both/state.pth:0.25 --state m-state/state.pth
scores word.npy --state both/state.pth:0.5,both/state.pth:0.25,m-state/state.pth
scores one.npy --state both/state.pth
cmp sum.npy word.npy || fail "several --state are not their sum"
cmp -s sum.npy one.npy && fail "the sum is one of them"
refuses 2 'added' scores none.npy --state both/state.pth --state base-rwkv7/model.safetensors

scores folder.npy --adapter both:0.5
scores apart.npy --adapter both:0.5 --state both/state.pth:0.5
scores other.npy --adapter both:0.5 --state m-state/state.pth
cmp folder.npy apart.npy || fail "an adapter's folder does not bring its state"
cmp -s other.npy apart.npy && fail "--state does not take its place"
if command -v python3 >/dev/null; then # as RWKV-PEFT has them: one file
    rwkv adapter convert both -o a.safetensors
    rwkv adapter convert both/state.pth -o s.safetensors
    PYTHONPATH=$RK_SOURCE_DIR/tests/cli python3 -c 'from foreign import *
write_safetensors("file.safetensors", {**read_safetensors("a.safetensors"), **read_safetensors("s.safetensors")})'
    scores file.npy --adapter file.safetensors:0.5
    cmp file.npy apart.npy || fail "an adapter's file does not bring its state"
fi

tune rwkv7 state-kernel kernel --steps 2 --lr 1e-2
if command -v python3 >/dev/null; then # linear features are the numbers of a head
    rwkv merge -m base-rwkv7 --state kernel/state.pth -o kernel.safetensors -q
    damage kernel.safetensors gamma0.safetensors 't["blocks.1.att.kernel_gamma"][1][1] = 0.0'
    refuses 2 'kernel_gamma. is 0 for head 1, with 32 features of 16' rwkv run -m gamma0.safetensors -p x -n 1
fi
talk() { # FILE LINES: chat, then its state in FILE, without the number of answers that were drawn
    printf "$2\\n/save %s\\n" "$work/saved" |
        rwkv chat -m base-rwkv7 --state kernel/state.pth -n 6 --temp 0 --seed 3 -q >/dev/null
    LC_ALL=C sed 's/"chat.answers":"[0-9]*"//' saved >"$1"
    rm saved
}
talk straight 'st\nuv'
talk undone 'st\nwx\n/undo\nuv'
talk forked 'st\n/fork\nwx\n/fork 1\nuv'
talk more 'st\nwx\nuv'
cmp straight undone || fail "/undo with a kernel path"
cmp straight forked || fail "/fork with a kernel path"
cmp -s straight more && fail "talks of kernel paths are all alike"

# A talk names its kernel path, which is found again; without it there is a sentence.
# shellcheck disable=SC2086
talk_of() { printf '%s\n' "$1" | rwkv chat -m base-rwkv7 -n 6 --temp 0 --seed 3 -q $2; }
printf 'st\n/save %s\n' "$work/kept" | rwkv chat -m base-rwkv7 --state kernel/state.pth -n 6 --temp 0 --seed 3 -q >/dev/null
rwkv info kept | grep -q "metadata kernel: .*/kernel/state.pth" || fail "a talk does not name its kernel path"
talk_of 'uv' "--state kept" >named
talk_of "/load $work/kept
uv" "--state kernel/state.pth" >loaded
cmp named loaded || fail "a talk does not go on with its kernel path"
talk_of "/load $work/kept" '' >out 2>err && fail "a talk with a kernel path is loaded without it"
grep -q 'goes with the kernel path .*/kernel/state.pth' err || { cat err; fail "no word of the kernel path"; }
mv kernel moved
refuses 1 'kept: goes with a kernel path: .*kernel/state.pth' rwkv run -m base-rwkv7 --state-in kept -p x -n 1
mv moved kernel

for what in 'both:an adapter of' 'kernel/state.pth:a kernel state of' 'm-state/state.pth:initial states of'; do
    rwkv info "${what%%:*}" >info
    grep -q ": ${what#*:} [0-9]* parameters" info || { cat info; fail "info of $what"; }
done

# ---- every version ----

for arch in rwkv4 rwkv5 rwkv6 rwkv7; do
    rwkv eval -m "base-$arch" --ppl b.txt --ctx 32 --json -q >z
    for method in miss lora; do
        tune $arch $method "v-$arch-$method" --steps 4 --lr 5e-3
        rwkv eval -m "base-$arch" --adapter "v-$arch-$method" --ppl b.txt --ctx 32 --json -q >x
        awk "BEGIN { exit !($(loss x) < $(loss z) - 0.005) }" || fail "$arch, $method: nothing learned"
    done
    tune $arch state "v-$arch-state" --steps 3 --lr 1
    [ $arch = rwkv4 ] || tune $arch low "v-$arch-low" --steps 3
    rwkv run -m "base-$arch" --state "v-$arch-state/state.pth" -p st -n 4 --temp 0 -q >/dev/null
done
rwkv run -m base-rwkv7 --adapter v-rwkv7-lora:0.5 --adapter v-rwkv7-miss -p st -n 8 --temp 0 -q >/dev/null

# ---- a base in fewer bits ----

for quant in nf4 q8_0; do
    tune rwkv7 pissa "q-$quant" --steps 4 --lr 5e-3 --quant $quant --eval-every 4
    awk "BEGIN { exit !($(last "q-$quant" tail) < $(last "q-$quant" head)) }" || fail "$quant: nothing learned"
done
tune rwkv7 miss q-all --steps 4 --lr 5e-3 --quant q8_0 --quant-all --eval-every 4
awk "BEGIN { exit !($(last q-all tail) < $(last q-all head)) }" || fail "--quant-all: nothing learned"
rwkv merge -m base-rwkv7 --adapter q-all --quant q8_0 --quant-all -o q-all.safetensors -q
rwkv eval -m q-all.safetensors --ppl b.txt --ctx 32 --json -q >x
rwkv merge -m base-rwkv7 --adapter q-all --quant q8_0 -o q-some.safetensors -q
cmp -s q-all.safetensors q-some.safetensors && fail "--quant-all of merge changes nothing"
awk "BEGIN { exit !($(loss x) < $(loss base) - 0.01) }" || fail "merged with --quant-all"

# ---- targets, parts, counts ----

tune rwkv7 lora t --steps 1 --targets att.key,value --rank-pattern ffn.value=2 --train-parts ln
refuses 2 'merge' rwkv run -m base-rwkv7 --adapter t -p x -n 1
n() { rwkv tune --dry-run --json -q "$@" | sed 's/.*"n_trained": *\([0-9]*\).*/\1/'; }
six="--arch rwkv6 --n-layer 32 --n-embd 4096 --dim-ffn 14336"
# shellcheck disable=SC2086
[ "$(n $six --method miss --rank 64)" = 88080384 ] || fail "miss of RWKV-6 7B"
# shellcheck disable=SC2086
[ "$(n $six --method lora --rank 32)" = 88080384 ] || fail "lora of RWKV-6 7B"
[ "$(n --arch rwkv7 --n-layer 32 --n-embd 2560 --method miss --rank 64)" = 47185920 ] || fail "miss of RWKV-7 3B"
[ "$(n --arch rwkv7 --n-layer 12 --n-embd 768 --method state)" = 589824 ] || fail "states of RWKV-7 0.1B"
[ "$(n --arch rwkv7 --n-layer 12 --n-embd 768 --method state --state-rank 4)" = 73728 ] || fail "states of rank 4"
[ "$(n --arch rwkv7 --n-layer 12 --n-embd 768 --method state --tune-shift)" = 599040 ] || fail "states and shifts"
[ "$(n -m base-rwkv7 --method lora --rank 4 --train-parts ln)" -eq \
    $(($(n -m base-rwkv7 --method lora --rank 4) + 512)) ] || fail "numbers of --train-parts"

# ---- what cannot be ----

refuses 2 'no method' rwkv tune -m base-rwkv7 --data b.txt --method mora --out n
refuses 2 'goes with the method state' rwkv tune -m base-rwkv7 --data b.txt --method miss --state-rank 2 --out n
refuses 2 'go with whole states' rwkv tune -m base-rwkv7 --data b.txt --method state --state-rank 2 --state-decay 1 --out n
refuses 2 'have 16 rows' rwkv tune -m base-rwkv7 --data b.txt --method state --state-rank 17 --out n --ctx-len 32 --val-frac 0.05
refuses 2 'are no matrices' rwkv tune -m base-rwkv4 --data b.txt --method state --state-rank 2 --out n --ctx-len 32 --val-frac 0.05
refuses 2 'means no matrix' rwkv tune -m base-rwkv7 --data b.txt --targets ey --out n
refuses 2 'one of an adapter' rwkv tune -m base-rwkv7 --data b.txt --method miss,lora --out n
refuses 2 'divides' rwkv tune -m base-rwkv7 --data b.txt --method bat --rank 5 --out n
refuses 2 'a model to begin with' rwkv tune --data b.txt --out n
refuses 2 'out DIR' rwkv tune -m base-rwkv7 --data b.txt
refuses 2 'dry-run counts no features' rwkv tune -m base-rwkv7 --method state-kernel --dry-run
for words in 'lora --niter 2' 'miss --alpha 3' 'state --rank 2' 'miss --state-decay 1' 'lora --state-prompt x' \
    'state-kernel --precondition r' 'miss --dbp-rate 0.1' 'state --adapter-dropout 0.1' 'bat --miss-init random'; do
    # shellcheck disable=SC2086
    refuses 2 'goes with' rwkv tune -m base-rwkv7 --data b.txt --out n --method $words
done
refuses 2 'muon updates' rwkv tune -m base-rwkv7 --data b.txt --out n --optimizer muon
mkdir taken && echo mine >taken/state.pth
refuses 2 'holds a run already' rwkv tune -m base-rwkv7 --data b.txt --out taken --method state
[ "$(cat taken/state.pth)" = mine ] || fail "a file that was there has gone"
# what a refused run has made first goes with it
refuses 2 'means no matrix' rwkv tune -m base-rwkv7 --data b.txt --method miss,state --state-prompt st --targets nope --out taken2
[ ! -e taken2 ] || fail "a refused run left a folder"
# an adapter beside a state that is made first goes with the model alone
tune rwkv7 miss,state prompted --state-prompt 'stu vwx' --steps 2 --lr 5e-3
rwkv run -m base-rwkv7 --adapter prompted --state prompted/state.pth -p st -n 2 --temp 0 -q >/dev/null ||
    fail "an adapter beside a prepared state"
rwkv merge -m base-rwkv7 --adapter prompted -o prompted.safetensors -q || fail "merging it"
tune rwkv7 miss,state-kernel beside --rank 4 --steps 2 --lr 5e-3
rwkv run -m base-rwkv7 --adapter beside --state beside/state.pth -p st -n 2 --temp 0 -q >/dev/null ||
    fail "an adapter beside a kernel path"
rwkv merge -m base-rwkv7 --adapter beside -o beside.safetensors -q || fail "merging an adapter beside a kernel path"
refuses 2 'quant-all goes with --quant' rwkv tune -m base-rwkv7 --data b.txt --quant-all --out n
rwkv train --data b.txt --out other --arch rwkv7 --n-layer 2 --n-embd 32 --head-size 16 --ctx-len 32 --batch 4 --steps 1 \
    --val-frac 0 -q
refuses 2 'fingerprint' rwkv run -m other --adapter m-miss -p x -n 1
rwkv run -m other --adapter m-miss --force-base -p x -n 1 -q >/dev/null
refuses 2 'outputs' rwkv run -m base-rwkv6 --adapter m-miss -p x -n 1
refuses 2 'no factor' rwkv run -m base-rwkv7 --adapter m-miss:much -p x -n 1
[ ! -e n ] || fail "a refused run left a folder"
echo "all of it"
