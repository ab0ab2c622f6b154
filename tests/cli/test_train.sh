#!/bin/sh
# rwkv train beyond the plain run: optimisers, what is trained and what is not, models to begin with.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
failures=0

complain() {
    echo "$*"
    failures=$((failures + 1))
}

i=0
while [ $i -lt 40 ]; do
    echo "$i: to be, or not to be, that is the question"
    i=$((i + 1))
done >text.txt
sizes="--n-layer 2 --n-embd 32 --head-size 16"
steps="--data text.txt --ctx-len 16 --batch 2 --warmup 2 --steps 6 --eval-every 3 --save-every 3"

# train STATUS PATTERN WORD...: what train says must match PATTERN
# shellcheck disable=SC2086
train() {
    status=$1 pattern=$2
    shift 2
    got=0
    "$RK_PROGRAM" train $steps "$@" >out 2>err || got=$?
    if [ $got -ne "$status" ] || ! cat out err | grep -q -e "$pattern"; then
        complain "rwkv train $*: status $got, expected $status and '$pattern':"
        cat out err
    fi
    if [ "$status" -ne 0 ] && [ "$(grep -c '^rwkv' err)" -ne 1 ]; then
        complain "rwkv train $*: expected one sentence on stderr:"
        cat err
    fi
}

same() {
    cmp -s "$2" "$3" || complain "$1: expected the same bytes in $2 and $3"
}

# resumes DIR WORD...: the run that these options made in DIR comes to the same bits from step 3 on
resumes() {
    dir=$1
    shift
    mv "$dir/checkpoint-6" "$dir.last"
    mv "$dir"/model.* "$dir.last"
    train 0 'validation loss' --out "$dir" "$@" --resume
    for file in "$dir.last"/*.safetensors; do
        case $file in
        */optim*) same "$dir, resumed" "$file" "$dir/checkpoint-6/optim.safetensors" ;;
        *) same "$dir, resumed" "$file" "$dir/model.safetensors" ;;
        esac
    done
    rm -r "$dir.last"
}

# shellcheck disable=SC2086
{
    # ---- tasks and optimisers
    train 2 "no task 'frob'" --out run $sizes --task frob
    train 2 "no optimizer 'frob'; there are adamw and sgd" --out run $sizes --optimizer frob
    train 2 'momentum is an option of sgd, not of adamw' --out run $sizes --momentum 0.5
    train 2 'beta1 is an option of adamw, not of sgd' --out run $sizes --optimizer sgd --beta1 0.5
    [ ! -e run ] || complain "a call that failed left a run folder"
    train 0 'validation loss' --out sgd $sizes --optimizer sgd --momentum 0.8 --lr 1 --task next-token
    if grep -q '"v\.' sgd/checkpoint-6/optim.safetensors ||
        ! grep -q '"m\.head.weight"' sgd/checkpoint-6/optim.safetensors; then
        complain "sgd: its checkpoint holds other arrays than m.*"
    fi
    resumes sgd $sizes --optimizer sgd --momentum 0.8 --lr 1
    train 2 '--optimizer is adamw, but' --out sgd $sizes --lr 1 --resume

    # ---- what is trained
    train 2 "freeze: 'frob' names no parameter of an rwkv7 model; its groups are emb" --out run $sizes --freeze frob
    train 2 'no parameter is left to train' --out run $sizes --train-only head --freeze 'h*'
    train 0 'which saves [0-9.]* MiB' --out some $sizes --train-only att --train-only ffn --freeze '*.key.*' \
        --freeze 'blocks.1.*' --dropout 0.1
    grep -q '"m\.blocks.0.att.value.weight"' some/checkpoint-6/optim.safetensors ||
        complain "some: its checkpoint has no moments of what is trained"
    ! grep -q '"m\.[^"]*\(key\|emb\|blocks.1\)' some/checkpoint-6/optim.safetensors ||
        complain "some: its checkpoint has moments of what is frozen"
    resumes some $sizes --train-only att --train-only ffn --freeze '*.key.*' --freeze 'blocks.1.*' --dropout 0.1
    train 2 '--freeze is none, but' --out some $sizes --train-only att,ffn --dropout 0.1 --resume
    # Groups and patterns that name the same make the same run; all is what nothing says.
    train 0 'validation loss' --out same $sizes --train-only 'blocks.0.att.*,blocks.0.ffn.*' --freeze '*.key.weight' \
        --dropout 0.1
    same "groups and patterns" some/model.safetensors same/model.safetensors
    train 0 'validation loss' --out all $sizes --train-only '*'
    train 0 'validation loss' --out plain $sizes
    same "everything" all/model.safetensors plain/model.safetensors
}

exit $((failures > 0))
