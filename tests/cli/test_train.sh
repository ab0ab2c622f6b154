#!/bin/sh
# rwkv train beyond the plain run: optimisers, what is trained and what is not, models to begin with.
# shellcheck source=tests/script.sh
. "$RK_SOURCE_DIR/tests/script.sh"

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

# opens FOLDER FILE: the folder is the model in that file
opens() {
    "$RK_PROGRAM" logits -m "$1" --tokens 1,2,3 -o folder.npy --force && "$RK_PROGRAM" logits -m "$2" \
        --tokens 1,2,3 -o file.npy --force && same "$1 opened" folder.npy file.npy || complain "$1 does not open"
}

# killed DIR WORD...: the folder as it is when the run of these options was resumed, and killed after step 9:
# its model is that of step 6, and later.* that of step 9
killed() {
    dir=$1
    shift
    mkdir kept
    cp "$dir"/model.* kept
    train 0 'validation loss' --out "$dir" "$@" --steps 9 --resume
    later=later.$(echo "$dir"/model.* | sed 's/.*[.]//')
    mv "$dir"/model.* "$later"
    mv kept/model.* "$dir"
    rmdir kept
    sed '$d' "$dir/log.jsonl" >log && mv log "$dir/log.jsonl"
}

# resumes DIR WORD...: the run that these options made in DIR comes to the same bits from step 3 on
resumes() {
    dir=$1
    shift
    mv "$dir/checkpoint-6" "$dir.last"
    rm "$dir.last"/model.*
    mv "$dir"/model*.* "$dir.last"
    train 0 'validation loss' --out "$dir" "$@" --resume
    for file in "$dir.last"/optim.safetensors "$dir.last"/model*.*; do
        case $file in
        */optim*) same "$dir, resumed" "$file" "$dir/checkpoint-6/optim.safetensors" ;;
        *) same "$dir, resumed" "$file" "$dir/$(basename "$file")" ;;
        esac
    done
    rm -r "$dir.last"
}

# shellcheck disable=SC2086
{
    # ---- tasks and optimisers
    train 2 "no task 'frob'" --out run $sizes --task frob
    train 2 "no optimizer 'frob'; there are adamw, sgd, muon" --out run $sizes --optimizer frob
    # options are looked at before data are read
    train 2 "no optimizer 'frob'" --out run $sizes --data nothing.txt --optimizer frob
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

    # Muon keeps one array for a matrix, two for all else; means of the weights stand beside the model.
    train 2 "no schedule 'frob'; there are cosine, wsd" --out run $sizes --schedule frob
    train 2 'muon_lr is an option of muon, not of adamw' --out run $sizes --muon-lr 1
    muon="--optimizer muon --muon-lr 1e-2 --ema 0.9 --schedule wsd --decay-frac 0.5 --dtype bf16"
    train 0 'nats a token, .*; of the averaged weights [0-9.]*$' --out muon $sizes $muon
    for name in m.blocks.0.att.key.weight v.blocks.0.att.w1 v.head.weight ema.emb.weight; do
        grep -q "\"$name\"" muon/checkpoint-6/optim.safetensors || complain "muon: its checkpoint has no $name"
    done
    ! grep -q '"v\.[^"]*key.weight"' muon/checkpoint-6/optim.safetensors ||
        complain "muon: its checkpoint has a second moment of a matrix"
    [ "$(grep -c '"val_loss": [0-9.]*, "ema_val_loss": [0-9.]*' muon/log.jsonl)" -eq 2 ] ||
        complain "muon: its log has no losses of the averaged weights"
    cmp -s muon/model.safetensors muon/model-ema.safetensors && complain "muon: the means are the weights"
    resumes muon $sizes $muon
    train 2 '--ema is 0, but' --out muon $sizes --optimizer muon --muon-lr 1e-2 --schedule wsd --decay-frac 0.5 \
        --dtype bf16 --resume

    # ---- what the recipe says is recorded, and a run that began with something else keeps that
    grep -q '"--l2wrap": "0.0001' muon/config.json || complain "muon: its recipe has no L2Wrap"
    train 0 'validation loss' --out without $sizes --l2wrap 0 --lr-scale vector=0.5 --lr-scale '*.w0=1' --grad-slices 2
    resumes without $sizes --lr-scale 'vector=0.5,*.w0=1' --grad-slices 2
    grep -q '"grad_norm": [0-9.]*, "noise_scale": ' without/log.jsonl || complain "without: no noise scale in its log"
    grep -q '"--l2wrap": "0"' without/checkpoint-6/state.json || complain "without: resumed, it has L2Wrap"
    train 2 '--l2wrap is 0.001, but without/checkpoint-6 was made with 0;' --out without $sizes --l2wrap 1e-3 --resume \
        --lr-scale 'vector=0.5,*.w0=1' --grad-slices 2
    train 2 "--lr-scale is none, but" --out without $sizes --resume --grad-slices 2

    # ---- what is trained
    train 2 "freeze: 'frob' names no parameter of an rwkv7 model; its groups are emb" --out run $sizes --freeze frob
    train 2 "lr_scale: 'att' needs =FACTOR behind it" --out run $sizes --lr-scale att
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

    # ---- a model to begin with: its own initial weights make the run that begins without
    train 0 'validation loss' --out first $sizes --steps 1 --lr 0 --lr-final 0 --weight-decay 0
    train 0 'step 0: validation loss' --out again --init-from first/model.safetensors
    same "from its own initial weights" plain/model.safetensors again/model.safetensors
    grep -q '"step": 0, "tokens": 0, "val_loss": [0-9.]*}' again/log.jsonl ||
        complain "again: its log has no validation loss at step 0"
    train 2 'n_layer is 3, but that of .*/first/model.safetensors is 2' --out run --init-from first/model.safetensors \
        --n-layer 3
    train 2 'arch is rwkv6, but that of .* is rwkv7' --out run --init-from first/model.safetensors --arch rwkv6
    train 2 "vocabulary 'world' has 65536 tokens" --out run --init-from first/model.safetensors --vocab world
    train 1 'nowhere.*: No such file' --out run --init-from nowhere.safetensors
    train 0 'validation loss' --out two --init-from first/model.safetensors --n-layer 2 --arch rwkv7 --freeze emb
    ! grep -q 'emb.weight' two/checkpoint-6/model.safetensors || complain "two: a checkpoint holds what is frozen"
    resumes two --init-from first/model.safetensors --freeze emb
    # Continued, a run finds its base by itself, and by its weights where it has moved.
    resumes two --freeze emb
    mv first moved
    train 1 'first/model.safetensors: No such file' --out two --freeze emb --steps 7 --resume
    resumes two --init-from moved/model.safetensors --freeze emb
    train 2 'plain/model.safetensors: is not the model that two/checkpoint-6 was made with' --out two --freeze emb \
        --init-from plain/model.safetensors --steps 7 --resume
    train 2 '--init-from is .*, but plain/checkpoint-6 was made with none' --out plain --steps 7 --resume \
        --init-from moved/model.safetensors

    # ---- a vocabulary's path is kept whole, however long it is
    long=$(printf '%080d' 0)
    mkdir "$long"
    cp "$RK_SOURCE_DIR/tests/data/vocab/bytes-only.txt" "$long/a.txt"
    cp "$long/a.txt" "$long/b.txt"
    train 0 'validation loss' --out named $sizes --tokenizer "$long/a.txt"
    grep -q "$long/a.txt" named/config.json || complain 'named: its config.json cuts the path of the vocabulary'
    train 2 '--tokenizer is 0*/b.txt, but named/checkpoint-6 was made with 0*/a.txt' --out named $sizes \
        --tokenizer "$long/b.txt" --steps 7 --resume
    train 0 'validation loss' --out named $sizes --tokenizer "$long/a.txt" --steps 7 --resume

    # ---- a run that was resumed and killed is opened at its later checkpoint
    for from in plain two; do
        run=killed-$from
        cp -R $from $run
        options="--freeze emb"
        [ $from = two ] || options=$sizes
        killed $run $options
        cmp -s $run/model.safetensors later.safetensors && complain "$run: three steps change nothing"
        opens $run later.safetensors
        mv $run/log.jsonl log # without it the model counts
        opens $run $run/model.safetensors
        mv log $run/log.jsonl
        train 0 'validation loss' --out $run $options --steps 9 --resume
        same "$run, gone on with" $run/model.safetensors later.safetensors
    done

    # ---- what is frozen keeps its bits, in every type
    for type in q8_0 q4_0 bf16; do
        case $type in
        q*) "$RK_PROGRAM" quantize plain/model.safetensors base-$type.gguf --type $type -q >/dev/null 2>&1 ;;
        *) "$RK_PROGRAM" convert plain/model.safetensors base-$type.gguf --type $type ;;
        esac
        base=base-$type.gguf
        train 0 'step 0: validation loss' --out still-$type --init-from $base --train-only vector --lr 0 --lr-final 0 \
            --weight-decay 0
        made=$(echo still-$type/model.*)
        for f in $base "$made"; do
            "$RK_PROGRAM" logits -m "$f" --tokens 116,111,32,98,101 -o logits.npy --act f32
            mv logits.npy "$(dirname "$f")/$(basename "$f" .gguf).npy"
        done
        same "$type, nothing changed" base-$type.npy "still-$type/$(basename "$made" .gguf).npy"
        train 0 'validation loss' --out on-$type --init-from $base --train-only vector --lr 1e-2
        resumes on-$type --init-from $base --train-only vector --lr 1e-2
    done
    for f in still-q8_0/model.gguf still-bf16/model.safetensors; do
        [ -e $f ] || complain "$f is missing"
    done
    cmp -s still-q8_0/model.gguf on-q8_0/model.gguf && complain "q8_0: training changed nothing"
    killed on-q8_0 --init-from base-q8_0.gguf --train-only vector --lr 1e-2
    got=0
    "$RK_PROGRAM" logits -m on-q8_0 --tokens 1 -o x.npy 2>err || got=$?
    [ $got -eq 2 ] && grep -q 'checkpoint-9/model.safetensors: later than on-q8_0/model.gguf, and holds only' err ||
        complain "on-q8_0, killed: status $got: $(cat err)"
    train 2 "base-q8_0.gguf: tensor '.*' is q8_0 and cannot be trained; freeze it, or 'rwkv convert --type f32' first" \
        --out run --init-from base-q8_0.gguf
    train 2 'cannot be trained' --out run --init-from base-q8_0.gguf --freeze att

    # ---- frozen matrices in fewer bits in memory: files have them as the base does
    base=plain/model.safetensors
    train 0 'quantised: 0.0 MiB of frozen matrices in fp8' --out quant --init-from $base --train-only vector \
        --lr 0 --lr-final 0 --weight-decay 0 --quant fp8
    "$RK_PROGRAM" logits -m quant --tokens 116,111,32,98,101 -o quant.npy
    "$RK_PROGRAM" logits -m $base --tokens 116,111,32,98,101 -o base.npy
    same "--quant, nothing changed" base.npy quant.npy
    cmp -s quant/log.jsonl still-bf16/log.jsonl && complain "quant: its losses are those of the base"
    train 0 '10 matrices have rows that are no multiple of 64' --out quant4 --init-from $base --train-only vector \
        --lr 1e-2 --quant nf4
    train 0 'validation loss' --out quant0 --init-from $base --train-only vector --lr 1e-2
    cmp -s quant4/model.safetensors quant0/model.safetensors && complain "--quant nf4 trains as without"
    resumes quant4 --init-from $base --train-only vector --lr 1e-2 --quant nf4
    train 2 '--quant is none, but' --out quant4 --init-from $base --train-only vector --lr 1e-2 --resume
    train 2 "quant is 'nf5', expected none|nf4|fp4|4bit|int8|fp8|q8_0|q4_0|q4_k" --out run --init-from $base --quant nf5
    train 2 'quant is nf4, but there is no frozen matrix from a model file' --out run $sizes --quant nf4
    train 2 'there is no frozen matrix' --out run --init-from $base --quant nf4
}

# ---- a run that is stopped or killed leaves something to run
"$RK_PROGRAM" train --data text.txt --ctx-len 16 --batch 2 --steps 1000000 --out stopped $sizes >out 2>err &
pid=$!
while kill -0 $pid 2>/dev/null && ! grep -q '"loss"' stopped/log.jsonl 2>/dev/null; do sleep 0.05; done
kill -INT $pid
got=0
wait $pid || got=$?
[ $got -eq 130 ] || complain "SIGINT: status $got, expected 130"
for words in 'finishing the step' 'stopped after step [0-9]*; --resume goes on' 'run it: rwkv run -m stopped -p TEXT'; do
    grep -q "$words" err || complain "SIGINT: '$words' is missing in: $(cat err)"
done
last=$(ls -d stopped/checkpoint-* | sort -t- -k2 -n | tail -n 1)
opens stopped stopped/model.safetensors
rm stopped/model.safetensors
opens stopped "$last/model.safetensors"

# Ranks above the width are no sign of a program that stores them transposed.
train 0 'validation loss' --n-layer 2 --n-embd 16 --head-size 8 --out narrow
opens narrow narrow/model.safetensors

exit $((failures > 0))
