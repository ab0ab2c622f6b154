#!/bin/sh
# Meta-State: an RWKV-7 file goes on as one without a change, resumed to the bit; its own files pass through
# every container; what is asked of files that do not fit is a sentence.
# shellcheck source=tests/script.sh
. "$RK_SOURCE_DIR/tests/script.sh"
write_lines text.txt
data="--data text.txt --tokenizer byte --ctx-len 32 --batch 4 --val-frac 0.2 -q -t 1"
small="$data --n-layer 2 --n-embd 32 --head-size 8"

# What trains on from RWKV-7 begins as it.
# shellcheck disable=SC2086
rwkv train --arch rwkv7 $small --steps 8 --out seven
# shellcheck disable=SC2086
rwkv train --init-from seven --arch meta7 $data --steps 1 --lr 0 --out still
logits seven want.npy
same still 'an RWKV-7 file as a Meta-State model'
# shellcheck disable=SC2086
refused 'meta_heads is 9, and there are 4 heads' \
    rwkv train --init-from seven --arch meta7 --meta-heads 9 $data --steps 1 --out no
# shellcheck disable=SC2086
refused 'heads are added by rwkv grow' \
    rwkv train --init-from seven --arch meta7 --meta-extra 2 $data --steps 1 --out no
# shellcheck disable=SC2086
refused 'arch is rwkv7a, but that of' rwkv train --init-from seven --arch rwkv7a $data --steps 1 --out no

# Stopped and resumed: the same bits.
on="--init-from seven --arch meta7 --meta-heads 2 --steps 6 --save-every 3"
# shellcheck disable=SC2086
rwkv train $on $data --out whole
cp -r whole part
rm -r part/checkpoint-6 part/model.safetensors
# shellcheck disable=SC2086
rwkv train $on $data --out part --resume
cmp whole/model.safetensors part/model.safetensors || complain 'resumed: other bits'
cmp -s still/model.safetensors whole/model.safetensors && complain 'training changed nothing'

# From scratch, with every option.
# shellcheck disable=SC2086
rwkv train --arch meta7 $small --n-head 3 --meta-extra 2 --meta-heads 4 --meta-norm 0 --meta-time before \
    --route-k 2 --route-block 32 --steps 3 --out meta
logits meta want.npy
for to in m.gguf m.pth m.safetensors; do
    if [ $to = m.pth ]; then
        refused 'm.pth' rwkv convert meta/model.safetensors $to
        continue
    fi
    rwkv convert -q meta/model.safetensors $to
    same $to "$to"
done
rwkv info m.gguf --json | grep -q '"meta_extra":2,"meta_heads":4' || complain 'm.gguf: other sizes'
rwkv info m.gguf --json | grep -q '"route_k":2,"route_block":32' || complain 'm.gguf: other sizes'
rwkv convert -q meta/model.safetensors folder --names hf
same folder "a folder"
python3 -c "
import json
m = json.load(open('folder/config.json'))['meta_state']
assert m['meta_heads'] == [[0, 1, 3, 4]] * 2 and m['meta_time'] == 'before' and m['route_k'] == 2
" || complain "config.json says something else"
rwkv run -m m.gguf -p 'line 7' -n 8 --temp 0 --tokenizer byte -q >whole.txt 2>/dev/null
rwkv run -m m.safetensors -p 'line 7' -n 8 --temp 0 --tokenizer byte -q >part.txt 2>/dev/null
cmp -s whole.txt part.txt || complain 'another text from another container'

# Files that do not fit.
wrong() { # CODE TEXT
    damage whole/model.safetensors bad.safetensors "$1"
    refused "$2" rwkv logits -m bad.safetensors --tokens 1 -o bad.npy --force -q
}
list=blocks.1.ffn.meta_heads
wrong "t['$list'][1][0] = 4.0" "'$list' lists head 4; there are 4"
wrong "t['$list'][1][0] = -1.0" "'$list' lists head -1; there are 4"
wrong "t['$list'][1][0] = 0.5" "'$list' lists head 0.5; there are 4"
wrong "t['$list'][1][0] = float('nan')" "'$list' lists head"
wrong "t['$list'][1] = [1.0, 1.0]" "'$list' lists head 1 twice"
wrong "t['$list'] = [[3], [0.0, 1.0, 2.0]]" "'$list' is f32 (3), expected (2)"
wrong "t['blocks.0.ffn.meta_heads'] = [[3], [0.0, 1.0, 2.0]]" "lists 3 heads, but 'blocks.0.ffn.meta_gamma' is of 2"
wrong "t['blocks.0.ffn.meta_gamma'] = [[15], [0.0] * 15]" 'has 15 elements, which heads of 8 do not divide'
wrong "t['blocks.1.ffn.meta_gamma'] = [[8], [0.0] * 8]" "'blocks.1.ffn.meta_gamma' is f32 (8), expected (16)"
wrong "del t['blocks.1.ffn.meta_gamma']" "no tensor 'blocks.1.ffn.meta_gamma'"
wrong "t['blocks.0.att.key.weight'] = [[24, 32], [0.0] * 768]" 'has 24 channels, expected at least 4 heads of 8'
wrong "t['blocks.0.att.key.weight'] = [[36, 32], [0.0] * 1152]" 'has 36 channels, expected at least 4 heads of 8'
wrong "meta['route_k'] = 'many'" "route_k 'many', expected a whole number"
wrong "meta['meta_time'] = 'later'" "meta_time 'later', expected one of after|before"
born=meta_generations
wrong "t.update({'blocks.%d.$born' % l: [[1, 3], [129.0, 4.0, 2.0]] for l in (0, 1)})" 'says 129, expected a whole number from 0 to 128'
wrong "t.update({'blocks.%d.$born' % l: [[2, 3], [64.0, 4.0, 2.0, 32.0, 4.0, 2.0]] for l in (0, 1)})" 'says 32, expected a whole number from 64 to 128'
wrong "t['blocks.0.$born'] = [[1, 3], [128.0, 4.0, 2.0]]" "no tensor 'blocks.1.$born'"

# Without its list the usual heads are asked.
damage whole/model.safetensors plain.safetensors "del t['$list'], t['blocks.0.ffn.meta_heads']"
logits whole want.npy
same plain.safetensors 'without a list'
[ $failures -eq 0 ]
