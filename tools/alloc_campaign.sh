#!/bin/sh
# Let the n-th allocation of the program fail, for every n.
#
#     tools/alloc_campaign.sh PROGRAM [step] > table.md
#
# Commands: a training run, its resuming, the same of a run that begins with a model, info, run, convert (into every container) and quantize on the
# model it made, info and convert of a file that cannot be run, tuning and merging, distillation, and what
# makes a model larger or smaller. n goes through all numbers up to 2000 (or each step-th, default 1), then grows by a tenth. Each call must end with a
# sentence and status 1, or do its work because it could do without the memory; it must not crash, nor
# keep more blocks than a call that ends well.
#
# Environment: CC (cc).
set -eu
program=$(realpath "$1")
step=${2:-1}
here=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0

${CC:-cc} -shared -fPIC -O1 -o "$work/failalloc.so" "$here/tests/faults/failalloc.c"
i=0
while [ $i -lt 20 ]; do
    echo "Line $i: it is a truth universally acknowledged, that memory is in want of an owner."
    i=$((i + 1))
done >"$work/text.txt"
cd "$work"
sizes="--n-layer 1 --n-embd 32 --head-size 16 --ctx-len 16 --batch 2 -t 1 -q"

# call N COMMAND...: run it with its N-th allocation failing; status in $got, blocks kept in $kept
call() {
    n=$1
    shift
    got=0
    LD_PRELOAD="$work/failalloc.so" FAILALLOC=$n FAILALLOC_REPORT="$work/report" \
        "$program" "$@" >messages 2>&1 || got=$?
    read -r n_calls kept <report
}

# campaign NAME FOLDER COMMAND...: each call begins with a copy of FOLDER as the folder "out"
campaign() {
    name=$1 folder=$2
    shift 2
    rm -rf out && cp -r "$folder" out
    call 0 "$@"
    [ $got -eq 0 ] || {
        cat messages >&2
        exit 1
    }
    rm -rf whole && mv out whole
    total=$n_calls most=$kept n=1 told=0 done_anyway=0 bad=0
    while [ "$n" -le "$total" ]; do
        rm -rf out report && cp -r "$folder" out
        echo "0 0" >report
        call "$n" "$@"
        # A run keeps what it has done so far.
        if [ $got -ne 0 ] && [ "$folder" = empty ] && [ ! -e out/run/config.json ] && [ -n "$(ls -A out)" ]; then
            bad=$((bad + 1))
            echo "$name, allocation $n: left behind: $(ls -A out)" >&2
        elif [ $got -eq 0 ] && [ "$folder" = empty ] && [ ! -e out/run/config.json ] && ! diff -r whole out >&2; then
            bad=$((bad + 1))
            echo "$name, allocation $n: another output" >&2
        elif [ $got -eq 0 ]; then
            done_anyway=$((done_anyway + 1))
        elif [ $got -eq 1 ] && [ "$kept" -le "$most" ] && grep -q '^rwkv: ' messages; then
            told=$((told + 1))
        else
            bad=$((bad + 1))
            echo "$name, allocation $n: status $got, $kept blocks kept of $most allowed:" >&2
            cat messages >&2
        fi
        [ "$n" -lt 2000 ] && n=$((n + step)) || n=$((n + n / 10))
    done
    failures=$((failures + bad))
    echo "| $name | $total | $told | $done_anyway | $bad |"
}

mkdir empty
# shellcheck disable=SC2086
"$program" train --data text.txt --out trained --steps 4 $sizes
cp -r trained stopped
rm stopped/model.safetensors
echo "| command | allocations | a sentence and status 1 | done without it | crash, leak or silence |"
echo "|---|---|---|---|---|"
# shellcheck disable=SC2086
campaign train empty train --data text.txt --out out/run --steps 4 --json $sizes
# shellcheck disable=SC2086
campaign "train --resume" stopped train --data text.txt --out out --steps 8 --resume $sizes
based="--init-from trained/model.safetensors --freeze att"
# shellcheck disable=SC2086
{
    campaign "train --init-from" empty train --data text.txt --out out/run --steps 2 $sizes $based
    "$program" train --data text.txt --out tuned --steps 2 $sizes $based
    campaign "train --init-from --resume" tuned train --data text.txt --out out --steps 4 --resume $sizes --freeze att
}
for command in info run tokenize; do
    "$program" help | grep -q "^  $command " || continue
    case $command in
    info) campaign info empty info -m trained/model.safetensors ;;
    tokenize)
        campaign tokenize empty tokenize --vocab "$here/tests/data/tokens/small.json" -f text.txt
        ;;
    run) campaign run empty run -m trained/model.safetensors -p It -n 4 --temp 0 -t 1 ;;
    esac
done
for out in m.pth m.gguf m.safetensors folder; do
    names=rwkv
    [ $out != folder ] || names=hf
    campaign "convert to $out" empty convert trained/model.safetensors out/$out --names $names
done
campaign quantize empty quantize trained/model.safetensors out/q.gguf --type q8_0 -t 1
"$program" convert trained/model.safetensors made --names hf
campaign "convert from a folder" empty convert made out/m.pth --type bf16
if command -v python3 >/dev/null; then
    python3 "$here/tests/cli/foreign.py" relative r.gguf qwen3
    campaign "info of a relative" empty info -m r.gguf
    campaign "convert a relative" empty convert r.gguf out/m.safetensors --type f32
fi
# shellcheck disable=SC2086
{
    steps="--steps 2 --ctx-len 16 --batch 2 -t 1 -q"
    model="-m trained/model.safetensors"
    campaign tune empty tune $model --data text.txt --out out/run --method miss --rank 4 $steps
    "$program" tune $model --data text.txt --out adapter --method miss --rank 4 $steps
    campaign merge empty merge $model --adapter adapter -o out/m.safetensors -q
    campaign grow empty grow $model --tokens +16 --heads +1 --meta-heads +1 --layers +1 -o out/m.safetensors
    campaign "grow --run" empty grow --run trained --tokens +16 -o out/run
    campaign "compress svd" empty compress svd $model --rank 1/4 -o out/m.safetensors -t 1
    campaign "compress head" empty compress head $model --clusters 8 --data text.txt --steps 2 -o out/m.safetensors -t 1
    "$program" train --arch qwen2 --n-layer 2 --n-embd 64 --data text.txt --out teacher $steps
    teacher="--teacher teacher/model.safetensors"
    campaign "distill" empty distill $teacher --data text.txt --out out/run $steps
    "$program" distill $teacher --data text.txt --out student $steps
    campaign "distill --layers" empty distill $teacher -m student/model.safetensors --layers auto:1 --data text.txt \
        --stage 2 --out out/run $steps
    echo '{"prompt": "It is", "chosen": " a truth", "rejected": " not"}' >pairs.jsonl
    campaign "distill --stage dpo" empty distill -m student/model.safetensors --stage dpo --data pairs.jsonl \
        --val-frac 0 --out out/run $steps
    campaign graft empty graft -m teacher/model.safetensors --state-heads 1 --state-head-size 16 --middle-heads 1 -o out/m.safetensors
}
exit $((failures > 0))
