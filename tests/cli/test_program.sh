#!/bin/sh
# What the program answers and with which exit status: 0 done, 2 the input is at fault, 1 the
# environment is, 128 + signal after an interruption.
# shellcheck source=tests/script.sh
. "$RK_SOURCE_DIR/tests/script.sh"

expect 2 'usage: rwkv COMMAND'
expect 0 'usage: rwkv COMMAND' help
expect 0 'usage: rwkv COMMAND' --help
expect 0 '^rwkv [0-9.]* numerics=' --version
expect 0 '^rwkv [0-9.]* numerics=' version
expect 0 'usage: rwkv COMMAND' help help
expect 0 'usage: rwkv COMMAND' help version
expect 2 "unknown command 'frob'" frob
expect 2 "unknown command 'rnu' (did you mean run?)" rnu
expect 2 "unknown command 'quantise' (did you mean quantize?)" quantise
expect 2 "unknown command 'verison' (did you mean version?)" help verison
expect 2 "unknown option '--tmep' (did you mean --temp?)" run --tmep 1
expect 2 "unknown option '--stesp=3' (did you mean --steps?)" train --stesp=3
expect 2 "unknown command 'frob'" help frob
expect 2 'data: which one?' data
expect 2 "unknown command 'inof' (did you mean info?); 'rwkv help data' lists them" data inof
expect 2 "unknown command 'frob'; 'rwkv help data' lists them" help data frob

names() { sed -n '/^commands:/,/^$/s/^  \([a-z-]*\) .*/\1/p'; }
# page WORD...: the help page of a command
page() {
    expect 0 "^usage: rwkv $*" help "$@"
    [ "$(sed -n '/^examples:/,$p' out | grep -c "^  rwkv $*")" -eq 2 ] || {
        echo "rwkv help $*: expected two examples"
        failures=$((failures + 1))
    }
    expect 0 "^usage: rwkv $*" "$@" --help
    expect 2 "unknown option '--frob'" "$@" --frob
}
for command in $("$RK_PROGRAM" help | names); do
    [ "$command" = help ] && continue
    page "$command"
    for one in $("$RK_PROGRAM" help "$command" | names); do
        page "$command" "$one"
    done
done

i=0
while [ $i -lt 40 ]; do
    echo "$i: to be, or not to be, that is the question"
    i=$((i + 1))
done >text.txt
sizes="--n-layer 1 --n-embd 32 --head-size 16 --ctx-len 16 --batch 2 --warmup 2 -t 1"
# shellcheck disable=SC2086
train() {
    status=$1 pattern=$2
    shift 2
    expect "$status" "$pattern" train $sizes "$@"
}

train 2 '--data FILE is missing' --out run
train 2 '--out DIR is missing' --data text.txt
train 2 "'x' is not a whole number" --data text.txt --out run --steps x
train 2 'is outside' --data text.txt --out run --lr=-1
train 2 'none of f32|bf16' --data text.txt --out run --dtype f8
train 1 'nowhere.txt' --data nowhere.txt --out run
train 2 'to train on, a window of' --data text.txt --out run --ctx-len 5000
train 2 'name is empty' --data text.txt --out ''
train 2 'text.txt' --data text.txt --out text.txt
train 2 'text.txt/run' --data text.txt --out text.txt/run
train 1 '/proc/no: cannot make' --data text.txt --out /proc/no/run
[ ! -e run ] || {
    echo "a call that failed left a run folder"
    failures=$((failures + 1))
}

sed 's/question/answer/' text.txt >other.txt
train 0 'validation loss' --data text.txt --out runs/run --steps 6 --save-every 2
mv runs/run run
train 2 'holds a run already; --resume' --data text.txt --out run --steps 6
train 2 '--lr is 0.01, but' --data text.txt --out run --steps 6 --lr 0.01 --resume
train 2 '--data is text with checksum' --data other.txt --out run --steps 6 --resume
train 2 'is past it' --data text.txt --out run --steps 3 --resume
train 0 '^{"step":8,.*"status":"done"' --data text.txt --out run --steps 8 --resume -q --json
(cd run && echo *) >out
[ "$(cat out)" = "checkpoint-6 checkpoint-8 config.json curve.svg log.jsonl model.safetensors" ] || {
    echo "run holds $(cat out)"
    failures=$((failures + 1))
}

# The log tells how each sitting began and ended, one after a single step, too.
train 0 'validation loss' --data text.txt --out one --steps 1
train 0 'validation loss' --data text.txt --out one --steps 2 --resume
sed -n 's/.*"step": \([0-9]*\), "status": "\([a-z]*\)".*/\1 \2/p' one/log.jsonl | tr '\n' ' ' >out
[ "$(cat out)" = "0 started 1 done 1 resumed 2 done " ] || {
    echo "the log of two sittings has $(cat out)"
    failures=$((failures + 1))
}

# A signal: the step is finished, a checkpoint is saved, the log says so.
# shellcheck disable=SC2086
"$RK_PROGRAM" train $sizes --data text.txt --out long --steps 1000000 >out 2>err &
pid=$!
tries=0
until grep -q '"step": 3, "tokens"' long/log.jsonl 2>/dev/null || [ $tries -gt 200 ]; do
    sleep 0.05
    tries=$((tries + 1))
done
kill -TERM $pid
got=0
wait $pid || got=$?
step=$(sed -n 's/.*"step": \([0-9]*\), "status": "interrupted".*/\1/p' long/log.jsonl)
if [ $got -ne 143 ] || [ ! -e "long/checkpoint-$step/state.json" ]; then
    echo "after SIGTERM: status $got, expected 143 and a checkpoint:"
    cat err
    ls long
    failures=$((failures + 1))
fi

# Who closes the other end of a pipe wants no more: no sentence, the status of SIGPIPE.
for command in 'help train' 'tokenize --vocab byte -f big.txt'; do
    head -c 300000 /dev/zero | tr '\0' x >big.txt
    (
        got=0
        # shellcheck disable=SC2086
        sleep 0.2 && "$RK_PROGRAM" $command 2>pipe.err || got=$?
        echo $got >pipe.status
    ) | true
    while [ ! -s pipe.status ]; do sleep 0.05; done
    [ "$(cat pipe.status)" = 141 ] && [ ! -s pipe.err ] || {
        echo "rwkv $command into a closed pipe: status $(cat pipe.status): $(cat pipe.err)"
        failures=$((failures + 1))
    }
    rm pipe.status
done

# A result that cannot be written is a failure.
if [ -e /dev/full ]; then
    got=0
    "$RK_PROGRAM" help >/dev/full 2>err || got=$?
    if [ $got -ne 1 ] || ! grep -q 'stdout' err; then
        echo "a full disk behind stdout: status $got, expected 1"
        failures=$((failures + 1))
    fi
fi

# A size that the architecture does not have is refused by the name of its option.
got=0
"$RK_PROGRAM" train --data /dev/null --out none --arch rwkv6 --lora-rank-a 3 2>err || got=$?
if [ $got -ne 2 ] || ! grep -q -e '--lora-rank-a: an rwkv6 model has no such size' err; then
    echo "--lora-rank-a of rwkv6: status $got, $(cat err)"
    failures=$((failures + 1))
fi
exit $((failures > 0))
