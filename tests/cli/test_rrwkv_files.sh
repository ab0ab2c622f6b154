#!/bin/sh
# RRWKV: an RWKV-4 file goes on as one without a change, resumed to the bit; its own files pass through the
# containers; state files of other intervals and what does not fit are a sentence.
# shellcheck source=tests/script.sh
. "$RK_SOURCE_DIR/tests/script.sh"
write_lines text.txt
data="--data text.txt --tokenizer byte --ctx-len 32 --batch 4 --val-frac 0.2 -q -t 1"
small="$data --n-layer 2 --n-embd 32"

# What trains on from RWKV-4 begins as it, from any container, also where its matrices are low-rank pairs.
# shellcheck disable=SC2086
rwkv train --arch rwkv4 $small --steps 8 --out four
rwkv convert -q four/model.safetensors four.pth
# shellcheck disable=SC2086
rwkv train --init-from four.pth --arch rrwkv --medium-interval 5 $data --steps 1 --lr 0 --out still
logits four want.npy
same still 'an RWKV-4 file as one with mediums'
rwkv compress svd -q -m four.pth --rank 4 -o pairs.safetensors >/dev/null
# shellcheck disable=SC2086
rwkv train --init-from pairs.safetensors --arch rrwkv $data --steps 1 --lr 0 --out still-pairs
logits pairs.safetensors want.npy
same still-pairs 'low-rank pairs'
# shellcheck disable=SC2086
refused 'medium_rank is 33, expected 1 to n_embd 32' \
    rwkv train --init-from four --arch rrwkv --medium-rank 33 $data --steps 1 --out no
# shellcheck disable=SC2086
refused 'medium-interval' rwkv train --arch rrwkv --medium-interval 0 $small --steps 1 --out no
# shellcheck disable=SC2086
refused 'arch is rwkv7, but that of' rwkv train --arch rwkv7 $data --steps 1 --out no --init-from still
[ ! -e no ] || complain 'a run that was refused left a folder'

# Stopped and resumed: the same bits.
on="--init-from four --arch rrwkv --medium-interval 5 --lr-scale *medium_*=100 --steps 6 --save-every 3"
# shellcheck disable=SC2086
rwkv train $on $data --out whole
cp -r whole part
rm -r part/checkpoint-6 part/model.safetensors
# shellcheck disable=SC2086
rwkv train $on $data --out part --resume
cmp whole/model.safetensors part/model.safetensors || complain 'resumed: other bits'
cmp -s still/model.safetensors whole/model.safetensors && complain 'training changed nothing'

# From scratch; in every container, quantised, in a talk that is saved.
# shellcheck disable=SC2086
rwkv train --arch rrwkv --medium-interval 7 --medium-random 1 --medium-rank 3 $small --steps 12 --lr 3e-3 --out me
# shellcheck disable=SC2086
rwkv train --arch rrwkv --medium-interval 7 --medium-random 1 --medium-rank 3 $small --steps 12 --lr 3e-3 --micro-batch 1 --out micro
cmp me/model.safetensors micro/model.safetensors || complain 'a micro-batch changes bits'
logits me want.npy
refused 'm.pth: a .pth file cannot hold' rwkv convert -q me/model.safetensors m.pth
for to in m.gguf m.safetensors; do
    rwkv convert -q me/model.safetensors $to
    same $to "$to"
done
rwkv info m.gguf --json | grep -q '"medium_interval":7,"medium_random":1,"medium_rank":3' || complain 'm.gguf: other sizes'
rwkv convert -q me/model.safetensors folder --names hf
same folder 'a folder'
python3 -c "
import json
c = json.load(open('folder/config.json'))
assert c['rrwkv']['medium_interval'] == 7 and c['rrwkv']['medium_se'] == 1 and c['model_type'] == 'rrwkv+medium_interval+medium_random'
" || complain "config.json says something else"
rwkv quantize -q me/model.safetensors q.gguf --type q8_0
generate="--temp 0 --tokenizer byte -q -t 1 --no-display-prompt"
for m in m.gguf q.gguf; do
    # shellcheck disable=SC2086
    rwkv run -m $m -p 'line 7' -n 24 $generate >whole.txt
    # shellcheck disable=SC2086
    rwkv run -m $m -p 'line 7' -n 10 $generate --state-out half.state --force >part.txt
    # shellcheck disable=SC2086
    rwkv run -m $m -p '' -n 14 $generate --state-in half.state >>part.txt
    cmp -s whole.txt part.txt || complain "$m: another text behind a saved state"
done
# shellcheck disable=SC2086
rwkv train --arch rrwkv --medium-interval 7 --medium-se 0 --medium-tau 0 $small --steps 3 --out some
# shellcheck disable=SC2086
refused 'another model' rwkv run -m some -p '' -n 2 $generate --state-in half.state
rwkv info some/model.safetensors --json | grep -q '"medium_rank":0,"medium_se":0,"medium_tau":0,"medium_mix":1' ||
    complain 'switches are not what was asked for'
# shellcheck disable=SC2086
rwkv train --arch rrwkv $small --steps 3 --out usual
rwkv convert -q usual/model.safetensors usual.pth
logits usual want.npy
same usual.pth 'the usual interval needs no metadata'
# shellcheck disable=SC2086
rwkv tune --method lora -m me/model.safetensors $data --steps 2 --out tuned

# How far gradients reach.
rwkv reach -m me --data text.txt --ctx 40 --n 2 --json -q | grep -q '"n_windows":2,"reach":\[\[0,.*\[32,' ||
    complain 'reach: other bands'
refused 'expected more than a window of 100000' rwkv reach -m me --data text.txt --ctx 100000 -q

# Files that do not fit.
wrong() { # CODE TEXT
    damage whole/model.safetensors bad.safetensors "$1"
    refused "$2" rwkv logits -m bad.safetensors --tokens 1 -o bad.npy --force -q
}
wrong "meta['medium_interval'] = '0'" 'medium_interval'
wrong "meta['medium_interval'] = 'often'" "medium_interval 'often', expected a whole number"
wrong "meta['medium_interval'] = '1e9'" 'medium_interval'
wrong "del meta['medium_interval']" "tensor 'medium_interval' says that there is metadata"
wrong "t['medium_random'] = [[1], [0.0]]" "tensor 'medium_random' says that there is metadata"
wrong "meta['medium_random'] = '2'" 'medium_random'
wrong "t['medium_emb'] = [[31], [0.0] * 31]" "'medium_emb' is f32 (31), expected (32)"
wrong "del t['medium_emb']" "'blocks.0.att.medium_decay'"
wrong "del t['blocks.1.att.medium_tau']" "no tensor 'blocks.1.att.medium_tau'"
wrong "del t['blocks.0.att.medium_decay']" "no tensor 'blocks.0.att.medium_decay'"
wrong "del t['blocks.1.ffn.medium_mix_r']" "no tensor 'blocks.1.ffn.medium_mix_r'"
wrong "t['blocks.1.att.medium_mix_v'] = [[33], [0.0] * 33]" "'blocks.1.att.medium_mix_v' is f32 (33), expected (32)"
wrong "t['blocks.0.squeeze.down.weight'] = [[40, 32], [0.0] * 1280]" 'medium_rank is 40, expected 1 to n_embd 32'
wrong "t['blocks.0.squeeze.down.weight'] = [[3, 32], [0.0] * 96]" "expected (32,3)"
wrong "del t['blocks.1.squeeze.up.weight']" "no tensor 'blocks.1.squeeze.up.weight'"
wrong "meta['medium_se'] = '0'" "squeeze"
[ $failures -eq 0 ]
