#!/bin/sh
# rwkv compress: hierarchical heads; low-rank pairs under the names of the authors' files, trained on, whole again; what is
# refused, and files whose pairs do not fit.
# shellcheck source=tests/script.sh
. "$RK_SOURCE_DIR/tests/script.sh"
rwkv() { "$RK_PROGRAM" "$@"; }
write_lines text.txt
data="--data text.txt --tokenizer byte --ctx-len 32 --batch 4 --val-frac 0.2 -q -t 1"
small="$data --n-layer 2 --n-embd 32 --head-size 8"
for arch in rwkv4 rwkv5 rwkv6 rwkv7; do
    # shellcheck disable=SC2086
    rwkv train --arch $arch $small --steps 4 --out $arch
    rwkv compress svd -m $arch --rank 1/8 -o $arch-pairs.pth -q
    rwkv compress svd -m $arch --rank 32 -o $arch-full.safetensors -q
    rwkv compress dense -m $arch-full.safetensors -o $arch-whole.safetensors -q
    # shellcheck disable=SC2086
    rwkv train --init-from $arch-pairs.pth $data --steps 2 --out $arch-on
    # shellcheck disable=SC2086
    rwkv train --arch $arch $small --low-rank 4 --low-rank-form enhanced --steps 2 --out $arch-enhanced
    rwkv run -m $arch-enhanced -p line -n 2 -q >text || complain "$arch: enhanced pairs do not run"
done

# a host that lacks what nobody uses, the value residual of the first layer: nothing is written in its place
rwkv convert rwkv7 fla --names fla -q
rwkv compress svd -m fla --rank 1/8 -o of-fla.safetensors -q
MALLOC_PERTURB_=90 rwkv compress svd -m fla --rank 1/8 -o of-fla2.safetensors -q
cmp of-fla.safetensors of-fla2.safetensors || complain 'memory that nobody has written to is in a model'

rwkv compress head -m rwkv7 --clusters 6 --data text.txt --tokens 300 --steps 20 -o head.safetensors -q
rwkv compress head -m rwkv7 --clusters 6 --data text.txt --tokens 300 --steps 20 -o head3.safetensors -q -t 3
rwkv compress head -m rwkv7 --clusters 6 --data text.txt --tokens 300 --steps 2 --emb-rows 7 -o rows.safetensors -q
rwkv info rows.safetensors --json | grep -q '"emb_rows":7' || complain '--emb-rows is not in the file'
cmp head.safetensors head3.safetensors || complain 'a head: other bits with three threads'
rwkv compress svd -m head.safetensors --rank 4 -o both.safetensors -q
rwkv info both.safetensors | grep -q 'n_clusters' || complain 'pairs have taken the head away'
rwkv run -m both.safetensors -p line -n 3 -q >text || complain 'pairs and a head do not run'
rwkv compress dense -m head.safetensors -o head-whole.safetensors -q
rwkv convert rwkv7 half.safetensors --type f16 -q
rwkv compress head -m half.safetensors --clusters 6 --data text.txt --tokens 300 --steps 2 -o half-head.safetensors -q
rwkv compress dense -m half-head.safetensors -o half-whole.safetensors -q
cmp half.safetensors half-whole.safetensors || complain 'a head in f16: another file comes back'
rwkv eval -m head.safetensors --ppl text.txt --json -q >text || complain 'a head: no perplexity'

rwkv compress predictor -m rwkv7 --data text.txt --tokens 300 --hidden 8 --steps 10 --bits 2 -o mix.safetensors -q
rwkv compress predictor -m rwkv7 --data text.txt --tokens 300 --hidden 8 --steps 10 --bits 2 -o mix3.safetensors -q -t 3
cmp mix.safetensors mix3.safetensors || complain 'records: other bits with three threads'
rwkv compress svd -m mix.safetensors --rank 32 -o pairs-mix.safetensors -q
rwkv compress head -m pairs-mix.safetensors --clusters 6 --data text.txt --tokens 300 --steps 20 -o lite.safetensors -q
rwkv run -m lite.safetensors -p line -n 3 -q >text || complain 'all parts do not run together'
rwkv compress dense -m mix.safetensors -o mix-whole.safetensors -q
rwkv run -m rwkv7 -p line -n 8 -q --seed 1 >text
rwkv run -m mix-whole.safetensors -p line -n 8 -q --seed 1 >text2
cmp -s text text2 || complain 'records are not made whole'
rwkv compress dense -m lite.safetensors -o lite-whole.safetensors -q
rwkv info lite-whole.safetensors | grep -q 'ffn_records' && complain 'records stay'
rwkv convert mix.safetensors mix.pth --type f16 -q
rwkv run -m mix.pth -p line -n 3 -q >text || complain 'records in a .pth file do not run'
for arch in rrwkv rwkv7a meta7; do
    # shellcheck disable=SC2086
    rwkv train --arch $arch $small --steps 1 --out $arch
done
for arch in rwkv4 rwkv5 rwkv6 rrwkv rwkv7a meta7; do
    rwkv compress predictor -m $arch --data text.txt --tokens 60 --hidden 4 --steps 2 --p 0.9x1,0.5 -o $arch-mix.pth -q
    rwkv run -m $arch-mix.pth -p line -n 3 -q >text || complain "$arch: records do not run"
done

rwkv compress all -m rwkv5 --data text.txt --rank 1/4 --train-steps 2 --rho 0.5 --clusters 6 -o all.pth -q >out ||
    complain 'all parts are not made'
[ "$(grep -c '^ppl' out)" = 5 ] || complain "all parts: $(cat out)"
rwkv info all.pth | grep -q n_clusters || complain 'all parts: no head'
[ "$(echo all.pth*)" = all.pth ] || complain 'all parts: a folder is left'

cat >check.py <<'EOF'
import struct, sys
from safetensors_parts import read, write

PAIRS = {"rwkv4": ("att.receptance", "att.key", "att.value", "ffn.receptance"),
         "rwkv7": ("att.receptance", "att.key", "att.value")}
PAIRS["rwkv5"] = PAIRS["rwkv6"] = PAIRS["rwkv4"] + ("att.gate",)
for arch, pairs in PAIRS.items():
    for folder, rank, diagonal in ((arch + "-on", 4, False), (arch + "-enhanced", 4, True)):
        head, _ = read(folder + "/model.safetensors")
        for l in range(2):
            for name in pairs:
                name = "blocks.%d.%s" % (l, name)
                assert head[name + "1.weight"]["shape"] == [rank, 32], (folder, name)
                assert head[name + "2.weight"]["shape"] == [32, rank], (folder, name)
                assert (name + "_diag" in head) == diagonal, (folder, name)
                assert name + ".weight" not in head, (folder, name)
    a, b = read(arch + "/model.safetensors"), read(arch + "-whole.safetensors")
    assert set(a[0]) == set(b[0]), arch
    for name in a[0]:
        if name == "__metadata__":
            continue
        x, y = [struct.unpack("<%df" % ((t["data_offsets"][1] - t["data_offsets"][0]) // 4),
                              d[t["data_offsets"][0]:t["data_offsets"][1]])
                for t, d in ((f[0][name], f[1]) for f in (a, b))]
        assert max(abs(p - q) for p, q in zip(x, y)) < 1e-5, (arch, name)

# A head in clusters and back: the same bits; rows of clusters, one behind the other, in between.
def bits(file, name):
    a, b = file[0][name]["data_offsets"]
    return file[1][a:b]
dense, clustered, whole = read("rwkv7/model.safetensors"), read("head.safetensors"), read("head-whole.safetensors")
assert set(whole[0]) == set(dense[0])
assert all(bits(whole, n) == bits(dense, n) for n in dense[0] if n != "__metadata__")
assert "head.weight" not in clustered[0]
of = struct.unpack("<256f", bits(clustered, "head_clusters"))
rows = bits(dense, "head.weight")
order = sorted(range(256), key=lambda t: (of[t], t))
assert bits(clustered, "head_l2.weight") == b"".join(rows[128 * t:128 * t + 128] for t in order)

# Pairs that do not fit: what is done to the header, what the sentence says.
def renamed(head, a, b):
    head[b] = head.pop(a)
def shaped(head, name, shape):
    head[name]["shape"] = shape
key = "blocks.1.att.key"
CASES = (
    ("rank", lambda h: shaped(h, key + "1.weight", [2, 64]), "tensor 'blocks.1.att.key1.weight'"),
    ("up", lambda h: shaped(h, key + "2.weight", [64, 2]), "tensor 'blocks.1.att.key2.weight'"),
    ("flat", lambda h: shaped(h, "blocks.0.att.key1.weight", [128]), "has 1 dimensions, expected 2"),
    ("wide", lambda h: shaped(h, "blocks.0.att.key1.weight", [128, 1]), "n_embd 32 at most"),
    ("none", lambda h: renamed(h, key + "2.weight", "x"), "no tensor 'blocks.1.att.key2.weight'"),
    ("first", lambda h: renamed(h, "blocks.0.att.key1.weight", "blocks.0.att.key.weight"),
     "tensor 'blocks.0.att.key.weight'"),
    ("diagonal", lambda h: renamed(h, key + "_diag", "x"), "no tensor 'blocks.1.att.key_diag'"),
    ("plain", lambda h: h["__metadata__"].update(low_rank_form="plain"), "_diag' is none of an"),
    ("form", lambda h: h["__metadata__"].update(low_rank_form="square"),
     "expected one of plain|enhanced"),
    ("type", lambda h: h[key + "1.weight"].update(dtype="I32"), "tensor 'blocks.1.att.key1.weight'"),
    ("both", lambda h: renamed(h, key + "_diag", key + ".weight"), "tensor 'blocks.1.att.key"),
)
def values(name, *x):
    def change(head, data):
        a, _ = head[name]["data_offsets"]
        return data[:a] + struct.pack("<%df" % len(x), *x) + data[a + 4 * len(x):]
    return change
nan, inf = float("nan"), float("inf")
HEADS = (
    ("number", values("head_clusters", 99.0), "token 0 is in cluster 99, expected a whole number"),
    ("half", values("head_clusters", 0.0, 0.5), "token 1 is in cluster 0.5"),
    ("below", values("head_clusters", -1.0), "token 0 is in cluster -1"),
    ("nowhere", values("head_clusters", nan), "'head_clusters' holds a number that is not finite"),
    ("empty", values("head_clusters", *[0.0] * 256), "cluster 1 has no tokens"),
    ("weight", values("head_l1.weight", inf), "'head_l1.weight' holds a number that is not finite"),
    ("bias", values("head_l1.bias", nan), "'head_l1.bias' holds a number that is not finite"),
    ("table", lambda h, d: shaped(h, "head_clusters", [2, 128]), "tensor 'head_clusters' is"),
    ("wide-head", lambda h, d: shaped(h, "head_l1.weight", h["head_l1.weight"]["shape"][::-1]),
     "tensor 'head_l1."),
    ("no-table", lambda h, d: renamed(h, "head_clusters", "x"), "no tensor 'head_clusters'"),
    ("no-bias", lambda h, d: renamed(h, "head_l1.bias", "x"), "no tensor 'head_l1.bias'"),
    ("no-product", lambda h, d: renamed(h, "head_l1.weight", "x"), "no tensor 'head.weight'"),
    ("rows", lambda h, d: shaped(h, "head_l2.weight", [128, 64]), "tensor 'head_l2.weight' is"),
    ("no-rows", lambda h, d: renamed(h, "head_l2.weight", "x"), "no tensor 'head_l2.weight'"),
    ("by-tokens", lambda h, d: renamed(h, "head_l2.weight", "head.weight"), "'head.weight' beside the clusters"),
    ("rows-type", lambda h, d: byte_type(h, "head_l2.weight"), "tensor 'head_l2.weight' is"),
)
mix = "blocks.1.ffn."
def byte_type(head, name):
    head[name]["dtype"] = "I32"
def without_records(head, data):
    t = head.pop("blocks.0.ffn.records")
    a, b = t["data_offsets"]
    f, _, c = t["shape"]
    head["blocks.0.ffn.key.weight"] = dict(t, shape=[f, c], data_offsets=[a, (a + b) // 2])
    head["blocks.0.ffn.value.weight"] = dict(t, shape=[c, f], data_offsets=[(a + b) // 2, b])
MIXES = (
    ("theta", values(mix + "limits", nan, 0.5), "'blocks.1.ffn.limits': theta is nan, expected 0 to 1"),
    ("p-below", values(mix + "limits", 0.5, -0.1), "p is -0.1, expected 0 to 1"),
    ("p-above", values("blocks.0.ffn.limits", 0.5, 1.5), "'blocks.0.ffn.limits': p is 1.5"),
    ("p-inf", values(mix + "limits", 0.5, inf), "p is inf"),
    ("scale", values(mix + "plane_scale", inf), "'blocks.1.ffn.plane_scale' holds a number that is not"),
    ("offset", values(mix + "plane_offset", nan), "'blocks.1.ffn.plane_offset' holds a number that is not"),
    ("records", lambda h, d: shaped(h, mix + "records", [64, 2, 64]), "tensor 'blocks.1.ffn.records' is"),
    ("flat-records", lambda h, d: shaped(h, "blocks.0.ffn.records", [256, 32]),
     "'blocks.0.ffn.records' has 2 dimensions, expected 3"),
    ("three", lambda h, d: shaped(h, "blocks.0.ffn.records", [64, 4, 32]), "tensor 'blocks.0.ffn."),
    ("no-records", lambda h, d: renamed(h, mix + "records", "x"), "no tensor 'blocks.1.ffn.records'"),
    ("no-first", lambda h, d: renamed(h, "blocks.0.ffn.records", "x"), "no tensor 'blocks.0.ffn.key.weight'"),
    ("alone", without_records, "predictors of active neurons, and no 'blocks.0.ffn.records'"),
    ("no-limits", lambda h, d: renamed(h, mix + "limits", "x"), "no tensor 'blocks.1.ffn.limits'"),
    ("no-fc2", lambda h, d: renamed(h, mix[:-4] + "mlp.fc2.weight", "x"), "no tensor 'blocks.1.mlp.fc2.weight'"),
    ("no-fc1", lambda h, d: renamed(h, "blocks.0.mlp.fc1.weight", "x"), "is none of an rwkv7 model's"),
    ("fc2", lambda h, d: shaped(h, mix[:-4] + "mlp.fc2.weight", [8, 128]), "tensor 'blocks.1.mlp.fc2.weight' is"),
    ("fc1", lambda h, d: shaped(h, "blocks.0.mlp.fc1.weight", [256]), "has 1 dimensions, expected 2"),
    ("planes", lambda h, d: shaped(h, mix + "planes", [1, 128, 8]), "tensor 'blocks.1.ffn.planes' is"),
    ("wide-planes", lambda h, d: shaped(h, "blocks.0.ffn.planes", [16, 16, 4]), "expected 1 to 8"),
    ("plane-type", lambda h, d: (byte_type(h, mix + "planes"), shaped(h, mix + "planes", [2, 32, 4])),
     "tensor 'blocks.1.ffn.planes' is"),
    ("no-planes", lambda h, d: renamed(h, "blocks.0.ffn.planes", "x"), "is none of an rwkv7 model's"),
    ("no-scale", lambda h, d: renamed(h, mix + "plane_scale", "x"), "no tensor 'blocks.1.ffn.plane_scale'"),
    ("key-too", lambda h, d: renamed(h, mix + "plane_offset", mix + "key.weight"), "tensor 'blocks.1.ffn."),
)
with open("cases", "w") as out:
    for name, change, sentence in MIXES:
        head, data = read("mix.safetensors")
        changed = change(head, data)
        data = changed if isinstance(changed, bytes) else data
        write("bad-%s.safetensors" % name, head, data)
        out.write("bad-%s.safetensors %s\n" % (name, sentence))
    for name, change, sentence in HEADS:
        head, data = read("head.safetensors")
        data = change(head, data) or data
        write("bad-%s.safetensors" % name, head, data)
        out.write("bad-%s.safetensors %s\n" % (name, sentence))
    for name, change, sentence in CASES:
        head, data = read("rwkv7-enhanced/model.safetensors")
        change(head)
        write("bad-%s.safetensors" % name, head, data)
        out.write("bad-%s.safetensors %s\n" % (name, sentence))
EOF
python3 check.py || complain 'what was written is not what it should be'
while read -r file sentence; do
    if rwkv info "$file" >out 2>&1 && ! grep -q 'cannot be run' out; then complain "$file: opens"; fi
    if rwkv run -m "$file" -p x -n 1 >out 2>&1; then complain "$file: runs"; fi
    grep -qF -- "$sentence" out || complain "$file: $(cat out), expected $sentence"
done <cases

refused() { # SENTENCE COMMAND...
    sentence=$1
    shift
    if rwkv "$@" -q >out 2>&1; then complain "$*: done"; fi
    grep -qF -- "$sentence" out || complain "$*: $(cat out), expected $sentence"
    [ ! -e none.safetensors ] || complain "$*: an output"
    rm -f none.safetensors
}
refused 'rwkv7-pairs.pth: has low-rank pairs already, of rank 4' compress svd -m rwkv7-pairs.pth -o none.safetensors
refused 'no low-rank pairs, no records, no hierarchical head and no bytes' compress dense -m rwkv7 -o none.safetensors
refused 'pairs are enhanced' compress dense -m rwkv5-enhanced -o none.safetensors
refused 'head.safetensors: has a hierarchical head already' compress head -m head.safetensors --data text.txt -o none.safetensors
refused 'hierarchical head do not grow' grow -m head.safetensors --tokens +8 -o none.safetensors
# shellcheck disable=SC2086
refused 'head is in clusters, which losses are not computed with' train --init-from both.safetensors $data --steps 1 --out no
refused 'head is in clusters' reach -m head.safetensors --data text.txt --ctx 16
refused 'expected at least one for each' compress head -m rwkv7 --data text.txt --tokens 5 --clusters 6 -o none.safetensors
refused 'expected 2 to n_vocab, 256' compress head -m rwkv7 --data text.txt --clusters 300 -o none.safetensors
refused 'llama.cpp has no hierarchical head' compress head -m rwkv7 --data text.txt -o none.gguf
refused 'mix.safetensors: its channel mix is in records already' compress predictor -m mix.safetensors --data text.txt -o none.safetensors
refused 'llama.cpp has no channel mix in records' compress predictor -m rwkv7 --data text.txt -o none.gguf
refused 'expected 0, 1, 2 or 4' compress predictor -m rwkv7 --data text.txt --bits 3 -o none.safetensors
refused 'expected a predictor of at least one' compress predictor -m rwkv7 --data text.txt --bits 0 --hidden 0 -o none.safetensors
refused 'numbers from 0 to 1' compress predictor -m rwkv7 --data text.txt --p 0.9,1.1 -o none.safetensors
refused 'numbers from 0 to 1' compress predictor -m rwkv7 --data text.txt --p 0.9x -o none.safetensors
refused 'expected one of them' compress predictor -m rwkv7 --data text.txt --p 0.9 --share 0.3 -o none.safetensors
refused '--theta' compress predictor -m rwkv7 --data text.txt --theta 1.5 -o none.safetensors
printf 'abc' >short.txt
refused 'a text of 3 tokens, expected 5 at least' compress predictor -m rwkv7 --data short.txt -o none.safetensors
refused "cannot hold the model's channel mix in records" convert mix.safetensors none.gguf
refused "cannot hold the model's channel mix in records" quantize rwkv5-mix.pth none.gguf --type q8_0
refused 'in records do not grow' grow -m mix.safetensors --tokens +8 -o none.safetensors
refused 'in records do not grow' grow -m meta7-mix.pth --tokens +8 -o none.safetensors
# shellcheck disable=SC2086
rwkv train --arch meta7 $small --route-k 2 --route-block 32 --steps 1 --out routed
refused 'that are routed (route_k) cannot be in records' compress predictor -m routed --data text.txt -o none.safetensors
# shellcheck disable=SC2086
refused 'in records, which have no gradient' train --init-from mix.safetensors $data --steps 1 --out no
refused 'llama.cpp has no such parts' compress all -m rwkv7 --data text.txt -o none.gguf
refused 'is the model that is read' compress all -m mix.safetensors --data text.txt -o mix.safetensors --force
refused 'expected --train-steps' compress all -m rwkv7 --data text.txt --rank 1/4 -o none.safetensors
refused 'expected 40 at least' compress all -m rwkv7 --data short.txt -o none.safetensors
refused 'records already' compress all -m mix.safetensors --data text.txt -o none.safetensors
[ "$(echo none.*)" = 'none.*' ] || complain 'a folder of parts is left'
refused "--rank '1/0'" compress svd -m rwkv7 --rank 1/0 -o none.safetensors
refused "--rank '0'" compress svd -m rwkv7 --rank 0 -o none.safetensors
refused "--rank 'x'" compress svd -m rwkv7 --rank x -o none.safetensors
refused 'expected n_embd, 32, at most' compress svd -m rwkv7 --rank 33 -o none.safetensors
refused 'expected one of them' compress svd -m rwkv7 --rank 4 --energy 0.5 -o none.safetensors
refused '--energy' compress svd -m rwkv7 --energy 1.5 -o none.safetensors
refused 'is the model that is read' compress svd -m rwkv7-pairs.pth -o rwkv7-pairs.pth --force
# shellcheck disable=SC2086
refused 'low_rank is 33, expected n_embd 32 at most' train --arch rwkv7 $small --low-rank 33 --steps 1 --out no
# shellcheck disable=SC2086
refused 'low_rank' train --init-from rwkv7 $data --low-rank 4 --steps 1 --out no

# A run that was stopped goes on to the same bits.
go_on="--init-from rwkv5-pairs.pth $data --lr 1e-3 --lr-final 1e-3 --warmup 0"
# shellcheck disable=SC2086
rwkv train $go_on --steps 6 --out once
# shellcheck disable=SC2086
rwkv train $go_on --steps 3 --out twice
# shellcheck disable=SC2086
rwkv train $go_on --steps 6 --out twice --resume -t 2
cmp -s once/model.safetensors twice/model.safetensors || complain 'a resumed run has other bits'

[ $failures = 0 ]
