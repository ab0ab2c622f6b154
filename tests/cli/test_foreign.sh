#!/bin/sh
# Files as other programs write them (foreign.py makes them) compute what the model does that they
# were made of, and so does what rwkv convert makes of them. The models are small and have had three
# steps of training, so that nothing in them is zero.
set -eu
command -v python3 >/dev/null || {
    echo "skipped: no python3 to make the files with"
    exit 77
}
foreign="$RK_SOURCE_DIR/tests/cli/foreign.py"
# shellcheck source=tests/script.sh
. "$RK_SOURCE_DIR/tests/script.sh"

scores() {
    rm -f "$2"
    "$RK_PROGRAM" logits -m "$1" --tokens 116,111,32,98,101 -o "$2" --all --act f32 # blocks as numbers
}

# near NAME LIMIT A.npy B.npy: their difference in units of A's root mean square
near() {
    difference=$(python3 "$foreign" compare "$3" "$4")
    printf '%-28s %s\n' "$1" "$difference"
    awk "BEGIN {exit !($difference <= $2)}" || complain "$1: $difference, expected at most $2"
}

# check NAME LIMIT FILE: the file's scores and those of its conversion, against base.npy
check() {
    scores "$3" f.npy
    near "$1" "$2" "${4:-base.npy}" f.npy
    rm -f converted.safetensors
    "$RK_PROGRAM" convert "$3" converted.safetensors
    scores converted.safetensors c.npy
    near "$1, converted" 1e-6 f.npy c.npy
}

i=0
while [ $i -lt 20 ]; do
    echo "$i: to be, or not to be, that is the question"
    i=$((i + 1))
done >text.txt

for arch in rwkv4 rwkv5.0 rwkv5.1 rwkv5 rwkv6 rwkv7; do
    mkdir $arch
    cd $arch
    # Few steps leave w1 and the like close to their first zeros: a high rate moves them.
    "$RK_PROGRAM" train --data ../text.txt --tokenizer byte --out run --arch $arch --n-layer 2 --n-embd 64 \
        --head-size 32 --ctx-len 16 --batch 2 --steps 6 --lr 2e-2 --warmup 1 --seed 1 -q >/dev/null 2>&1
    base=run/model.safetensors
    scores $base base.npy
    case $arch in
    rwkv5*) # rwkv.cpp's eps is another one
        python3 "$foreign" eps $base eps.safetensors 1e-5
        scores eps.safetensors eps.npy
        cmp -s eps.npy base.npy && complain "$arch: eps changes nothing"
        cpp=eps.npy ;;
    *) cpp=base.npy ;;
    esac
    python3 "$foreign" rwkvcpp $base f32.bin f32
    check "$arch, rwkv.cpp f32" 1e-6 f32.bin $cpp
    if "$RK_PROGRAM" convert f32.bin eps.pth 2>err; then
        [ $cpp = base.npy ] || complain "$arch: a .pth file without its eps"
    else
        grep -q 'cannot hold the model.s ln_x_eps of' err || complain "$arch: $(cat err)"
    fi
    case $arch in
    rwkv7) types='f16 q8_0 q5_1 q5_0 q4_1 q4_0' ;;
    rwkv4 | rwkv6) types=q5_1 ;;
    *) types= ;;
    esac
    for type in $types; do
        python3 "$foreign" rwkvcpp $base $type.bin $type
        scores $type.bin q.npy
        near "$arch, rwkv.cpp $type" 0.5 $cpp q.npy
        rm -f q.safetensors
        "$RK_PROGRAM" convert $type.bin q.safetensors --type f32
        scores q.safetensors c.npy
        near "$arch, rwkv.cpp $type in f32" 1e-5 q.npy c.npy
    done
    case $arch in
    rwkv4 | rwkv5* | rwkv6)
        python3 "$foreign" hf $base hf
        check "$arch, Hugging Face" 1e-6 hf ;;
    esac
    case $arch in
    rwkv5 | rwkv6 | rwkv7)
        python3 "$foreign" web $base web.st
        "$RK_PROGRAM" convert $base half.safetensors --type f16
        scores half.safetensors half.npy
        check "$arch, web-rwkv" 1e-2 web.st half.npy ;;
    esac
    case $arch in
    rwkv6)
        python3 "$foreign" fla $base fla
        check "$arch, fla" 1e-6 fla
        python3 "$foreign" gguf $base rescaled.gguf 1
        check "$arch, GGUF rescaled" 1e-6 rescaled.gguf ;;
    rwkv7)
        python3 "$foreign" shards $base shards
        check "$arch in shards" 0 shards
        # Heads of 32: fla's group norm then has 32e-5, unless norm_eps says otherwise.
        python3 "$foreign" eps $base eps.safetensors 32e-5
        scores eps.safetensors eps.npy
        python3 "$foreign" fla $base fla
        check "$arch, fla" 1e-6 fla eps.npy
        python3 "$foreign" eps $base eps.safetensors 64e-5 2e-5
        scores eps.safetensors eps.npy
        python3 "$foreign" fla $base fused fused
        check "$arch, fla's older names" 1e-6 fused eps.npy
        # transformers' classes for version 7; in a single file, too.
        python3 "$foreign" eps $base eps.safetensors 32e-5
        scores eps.safetensors eps.npy
        python3 "$foreign" transformers $base plain plain
        check "$arch, transformers" 1e-6 plain eps.npy
        for kind in linear renamed; do
            python3 "$foreign" transformers $base $kind $kind
            check "$arch, transformers, $kind" 1e-6 $kind
        done
        check "$arch, transformers, a file" 1e-6 renamed/model.safetensors
        # One matrix for table and head.
        python3 "$foreign" tied $base tied.safetensors whole
        scores tied.safetensors tied.npy
        python3 "$foreign" tied $base tied without
        check "$arch, transformers, tied" 1e-6 tied tied.npy
        python3 "$foreign" tied $base untied both
        "$RK_PROGRAM" logits -m untied --tokens 1 -o no.npy 2>err && complain "$arch: two matrices that are to be one"
        grep -q 'tie_word_embeddings is true, but the head' err || complain "$arch: $(cat err)"
        python3 "$foreign" pth $base views.pth
        scores views.pth views.npy
        cmp -s base.npy views.npy || complain "$arch: the scores of tensors that are views"
        python3 "$foreign" transformers $base ln0 fused
        check "$arch, transformers, ln0 fused" 1e-5 ln0
        for out in no.pth no.gguf 'no --names hf' 'no --names fla'; do
            # shellcheck disable=SC2086 # a name and options
            "$RK_PROGRAM" convert ln0 $out 2>err && complain "$arch: a fused ln0 in $out"
            grep -q 'cannot hold the model.s ln0_fused of 1' err || complain "$arch: $out: $(cat err)"
        done
        mkdir unsaid && cp ln0/model.safetensors unsaid
        "$RK_PROGRAM" logits -m unsaid --tokens 1 -o no.npy 2>err && complain "$arch: a fused ln0 that nobody tells of"
        grep -q "no tensor 'blocks.0.ln0.weight'" err || complain "$arch: $(cat err)"
        for kind in body reranker rwkvx; do
            python3 "$foreign" $kind $base $kind.safetensors
            "$RK_PROGRAM" logits -m $kind.safetensors --tokens 1 -o no.npy 2>err && complain "$arch: $kind"
            case $kind in
            body) words="no tensor 'head.weight'.*EmbeddingRWKV" ;;
            reranker) words='a reranker of EmbeddingRWKV' ;;
            rwkvx) words='RWKV-X' ;;
            esac
            grep -q "$words.*not run here" err || complain "$arch: $kind: $(cat err)"
        done
        python3 "$foreign" gguf $base other.gguf
        check "$arch, GGUF" 1e-6 other.gguf
        # What is written into a folder comes back with the model's own eps.
        "$RK_PROGRAM" convert $base own --names hf
        check "$arch, a folder of ours" 1e-6 own
        "$RK_PROGRAM" convert $base of-fla --names fla
        check "$arch, a folder of ours, fla's names" 1e-6 of-fla
        # A header that lies is refused, and what only it says is used.
        "$RK_PROGRAM" convert $base ours.gguf
        for lie in block_count=3 embedding_length=65 feed_forward_length=1 vocab_size=255 \
            attention.decay_lora_rank=31; do
            python3 "$foreign" patch ours.gguf lie.gguf rwkv7.${lie%=*} ${lie#*=}
            "$RK_PROGRAM" logits -m lie.gguf --tokens 1 -o no.npy 2>err && complain "$arch: GGUF with $lie"
            grep -q "rwkv7.${lie%=*} is ${lie#*=}, but its tensors show" err || complain "$arch: $lie: $(cat err)"
        done
        python3 "$foreign" patch ours.gguf lie.gguf rwkv7.block_count two
        "$RK_PROGRAM" logits -m lie.gguf --tokens 1 -o no.npy 2>err && complain "$arch: GGUF with a text for a number"
        grep -q "rwkv7.block_count is 'two[.]*', expected a number" err || complain "$arch: $(cat err)"
        for eps in nan 0 -1 2; do
            python3 "$foreign" patch ours.gguf lie.gguf rwkv7.attention.layer_norm_epsilon $eps
            "$RK_PROGRAM" logits -m lie.gguf --tokens 1 -o no.npy 2>err && complain "$arch: GGUF with eps $eps"
            grep -q "ln_eps '.*', expected a number between 0 and 1" err || complain "$arch: $eps: $(cat err)"
        done
        python3 "$foreign" patch ours.gguf eps.gguf rwkv7.attention.layer_norm_epsilon 0.01
        python3 "$foreign" eps $base eps.safetensors 64e-5 1e-2
        scores eps.safetensors eps.npy
        check "$arch, GGUF with an eps" 1e-6 eps.gguf eps.npy
        for lie in vocab_size=257 intermediate_size=8 head_dim=16 a_low_rank_dim=7; do
            sed -E "s/\"${lie%=*}\": [0-9]+/\"${lie%=*}\": ${lie#*=}/" own/config.json >config
            cp own/config.json kept && cp config own/config.json
            "$RK_PROGRAM" logits -m own --tokens 1 -o no.npy 2>err && complain "$arch: config.json with $lie"
            grep -q "config.json: ${lie%=*} is ${lie#*=}, but its tensors show" err || complain "$arch: $lie: $(cat err)"
            cp kept own/config.json
        done
        sed 's/"hidden_size": 64/"hidden_size": 65/' own/config.json >config
        cp config own/config.json
        "$RK_PROGRAM" logits -m own --tokens 1 -o no.npy 2>err && complain "$arch: hidden_size of 65"
        grep -q 'hidden_size is 65, the tensors beside it have 64' err || complain "$arch: $(cat err)"
        for eps in 0 -1e-5 2 1e-999; do
            sed 's/"norm_eps": [^,]*/"norm_eps": '$eps/ fused/config.json >config
            cp config fused/config.json
            "$RK_PROGRAM" logits -m fused --tokens 1 -o no.npy 2>err && complain "$arch: norm_eps $eps"
            grep -q "ln_eps '.*', expected a number between 0 and 1" err || complain "$arch: $(cat err)"
        done
        # A missing tensor, one too many, and one of another shape: info tells of all three.
        sed 's/blocks.1.att.k_k/blocks.1.att.kq/; s/"shape":\[64\]/"shape":[8,8]/' $base >odd.safetensors
        "$RK_PROGRAM" info -m odd.safetensors >out || complain "$arch: info of an odd file"
        for word in "^odd.safetensors: rwkv7, .*cannot be run" "warning: .*no tensor 'blocks.1.att.k_k'" \
            "warning: tensor 'blocks.1.att.kq' is none of an rwkv7 model's" "warning: .* is f32 (8,8), expected (64)"; do
            grep -q "$word" out || complain "$arch: no '$word': $(cat out)"
        done
        # Scales that are not numbers: any text, but an end.
        "$RK_PROGRAM" quantize $base nan.gguf --type q8_0
        size=$(wc -c <nan.gguf)
        head -c 20000 /dev/zero | tr '\0' '\377' | dd of=nan.gguf bs=1 seek=$((size - 40000)) conv=notrunc 2>/dev/null
        got=0
        timeout 10 "$RK_PROGRAM" run -m nan.gguf -p a -n 4 -q >out 2>err || got=$?
        [ $got -le 2 ] || complain "$arch: scales that are no numbers: status $got, $(cat err)"
        echo "scales that are no numbers: status $got $(cat err)" ;;
    esac
    cd ..
done

# ---- models of other families: described and converted, not run
for arch in qwen3 qwen2moe; do
    python3 "$foreign" relative r.gguf $arch
    "$RK_PROGRAM" info -m r.gguf --json >out
    grep -q "\"arch\":\"$arch\",\"n_vocab\":40,\"n_embd\":256,\"n_layer\":1,.*\"runs\":false" out ||
        complain "$arch: $(cat out)"
    grep -q '"q2_k":{"tensors":1,.*"q3_k":{"tensors":1,' out || complain "$arch: types: $(cat out)"
    got=0
    "$RK_PROGRAM" run -m r.gguf -p a 2>err || got=$?
    [ $got = 2 ] && grep -q "architecture '$arch' is a .* it is not run here" err ||
        complain "$arch: run: $got, $(cat err)"
    "$RK_PROGRAM" convert r.gguf same.gguf
    cmp -s r.gguf same.gguf || complain "$arch: .gguf to .gguf"
    "$RK_PROGRAM" convert r.gguf r.safetensors 2>err && complain "$arch: blocks in safetensors"
    grep -q "safetensors has no q2_k" err || complain "$arch: $(cat err)"
    "$RK_PROGRAM" convert r.gguf r.safetensors --type f32
    "$RK_PROGRAM" info -m r.safetensors | grep -q "^r.safetensors: $arch, .*cannot be run" ||
        complain "$arch: info of safetensors"
    "$RK_PROGRAM" convert r.safetensors a.gguf
    "$RK_PROGRAM" convert a.gguf b.safetensors
    "$RK_PROGRAM" convert b.safetensors b.gguf
    cmp -s a.gguf b.gguf || complain "$arch: by way of .safetensors"
    "$RK_PROGRAM" convert r.gguf r.pth --type f32 2>err && complain "$arch: a .pth without metadata"
    grep -q 'a .pth file cannot hold the metadata' err || complain "$arch: $(cat err)"
    rm -f ./*.gguf ./*.safetensors
done

[ $failures = 0 ]
