#!/bin/sh
# Synthetic tasks: looking at samples, training on them, resuming, measuring.
# shellcheck source=tests/script.sh
. "$RK_SOURCE_DIR/tests/script.sh"

# What is asked for stands under what is read.
expect 0 '^sudoku4 ' data task --list
expect 0 '--pairs .*(default 4; 1 to 65536)' data task mqar --list
expect 0 '^in  [01] [01] [01]$' data task parity --seq-len 3 --print 1
[ "$(wc -l <out)" = 2 ] || complain "data task --print 1: expected two lines"
cp out first
expect 0 '^out' data task parity --seq-len 3 --print 1 --seed 42
cmp -s first out || complain "the default seed is not 42"
expect 2 "no task 'mqr'; there are next-token, align, distill, dpo, mqar, " data task mqr
expect 2 'TASK is missing' data task
expect 2 "the task next-token has no samples of its own" data task next-token
expect 2 '--pairs is 0, expected a whole number from 1 to 65536' data task mqar --pairs 0
# every parameter is an option of data task: no option of the command has its name
"$RK_PROGRAM" data task --list | awk '/^[a-z]/ { task = $1 }
    /^ / { value = $0; sub(/.*\(default /, "", value); sub(/[ ;].*/, "", value); print task, $1, value }' >parameters
[ "$(wc -l <parameters)" -gt 60 ] || complain "few parameters: $(cat parameters)"
while read -r task option value; do
    expect 0 '' data task "$task" "$option" "$value" --print 1
done <parameters
expect 2 "--elements: 'some' is none of all|swaps|generators" data task s5 --elements some

# Packed: where answers are next tokens in one file with a mask, elsewhere in two.
expect 0 '^copy.bin: 50 samples of 6 tokens' data task copy --length 3 --n 50 --seed 1 -o copy.bin
expect 0 'checked *ids and checksums' data info copy.bin --check
expect 0 '"tokens":350,"counted":150,.*"task":"copy --length 3 .* --seed 1 --stream train' data info copy.bin --json
expect 2 'exists already' data task copy --length 3 --n 50 --seed 1 -o copy.bin
expect 0 '"n_vocab":120,.*"status":"done"' data task s5 --seq-len 4 -n 20 -o s5.bin --json
expect 0 '"tokens":80,"counted":80,' data info s5.bin --json
expect 0 '"tokens":80,"counted":80,' data info s5.targets.bin --json
[ ! -e s5.mask ] || complain "tokens of s5.bin that do not count"
# What is packed is what is drawn: the first sample, as people see it.
"$RK_PROGRAM" data task s5 --seq-len 4 --print 1 | tr -s ' ' >shown
for file in s5 s5.targets; do
    "$RK_PROGRAM" data info $file.bin | sed -n 's/^begins *//p' | cut -d, -f1-4
done | sed 's/,/ /g; 1s/^/in /; 2s/^/out /' >packed
cmp -s shown packed || complain "packed: $(cat packed), shown: $(cat shown)"
expect 0 'validation loss' train --data copy.bin --packing none --ctx-len 6 --n-layer 1 --n-embd 32 \
    --head-size 16 --steps 2 --out packed.run
grep -q '"n_vocab": 65' packed.run/config.json || complain "n_vocab of a packed task"

# A task that is easy is learned, and a run that is resumed comes to the same bits.
model="--n-layer 1 --n-embd 32 --head-size 16 --batch 16 --lr 3e-3 --warmup 5"
task="--task swap --slots 6 --swaps 0 --values 2 --queries 2"
# shellcheck disable=SC2086
train() {
    status=$1 pattern=$2
    shift 2
    expect "$status" "$pattern" train $model "$@"
}
# shellcheck disable=SC2086
{
    train 0 'accuracy 1.0000, exact 1.0000' --task longbit --distance 3 --symbols 3 --steps 80 --out easy
    train 0 'tracked [0-9.]*, still ' $task --steps 10 --eval-every 5 --save-every 5 --out whole
    train 0 'validation loss' $task --steps 10 --eval-every 5 --save-every 5 --out parts
    rm -r parts/checkpoint-10 parts/model.safetensors
    train 0 'validation loss' $task --steps 10 --eval-every 5 --save-every 5 --out parts --resume
    cmp -s whole/model.safetensors parts/model.safetensors || complain "a resumed run has other bits"
    train 2 '--ctx-len is 20, but .*checkpoint-10 was made with 16' --task swap --slots 6 --swaps 0 \
        --values 2 --queries 4 --steps 10 --out parts --resume
    train 2 '--values is 3, but .*checkpoint-10 was made with 2' --task swap --slots 6 --swaps 0 \
        --values 3 --queries 2 --steps 10 --out parts --resume
    train 2 '--digits is no parameter of the task swap' $task --digits 3 --out none
    train 2 '--data is x.txt, but the task swap draws its samples' $task --data x.txt --out none
    train 2 '--slots is no parameter of the task next-token' --data x.txt --slots 8 --out none
    train 2 '--data FILE is missing' --out none
    train 2 'easy has 5 tokens, the task swap has 19' $task --init-from easy --out none
    expect 0 '40 samples' data task longbit --distance 3 --symbols 3 -o packed.bin -n 40
    train 0 'validation loss' --data packed.bin --packing none --val-frac 0.5 --ctx-len 5 --init-from easy --steps 2 --out onward
    words='--seq-len 6 --elements swaps'
    expect 0 'validation loss' train --arch qwen2 --n-layer 2 --n-embd 64 --task s5 $words --steps 1 --batch 2 --out teacher
    expect 0 '9 samples' data task s5 $words -o six.bin -n 9
    expect 0 'validation loss' distill --teacher teacher/model.safetensors --data six.bin --packing none --ctx-len 6 --val-frac 0.3 \
        --batch 2 --steps 1 --out student
    echo text > some.txt
    train 2 'a model of 5 tokens names no vocabulary' --data some.txt --init-from easy --out none
}
[ ! -e none ] || complain "a run that was refused has left a folder"
grep -q '"val_tracked": ' whole/log.jsonl || complain "no val_tracked in the log"
grep -q '"--swaps": "0"' whole/config.json || complain "no --swaps in config.json"

expect 0 '"accuracy":1.0,.*"n_queries":50,.*"n_samples":50' \
    eval -m easy --task longbit --distance 3 --symbols 3 -n 50 --json
cp out one
expect 0 'accuracy' eval -m easy --task longbit --distance 3 --symbols 3 -n 50 --json --batch 7 -t 1
cmp -s one out || complain "eval --task depends on --batch"
expect 0 '^still' eval -m whole --task swap --slots 6 --swaps 0 --values 2 --queries 2 -n 5
expect 2 'easy has 5 tokens, the task copy has 65' eval -m easy --task copy
expect 2 'give one of --ppl, --lambada, --choices and --task' eval -m easy --task copy --ppl x
expect 2 '--distance goes with --task only' eval -m easy --ppl x --distance 3
exit $((failures > 0))
