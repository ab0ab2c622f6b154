#!/bin/sh
# rwkv compress int8: bytes with ranges of every architecture, beside other parts, and floats again; the same bits for any
# number of threads, cut of a prompt and limit of memory; what is refused, and files whose parts do not fit.
# shellcheck source=tests/script.sh
. "$RK_SOURCE_DIR/tests/script.sh"
write_lines text.txt
head -c 1200 text.txt >some.txt
data="--data text.txt --tokenizer byte --ctx-len 32 --batch 4 --val-frac 0.2 -q -t 1"
for arch in rwkv4 rwkv5 rwkv6 rwkv7; do
    # shellcheck disable=SC2086
    rwkv train --arch $arch $data --n-layer 2 --n-embd 40 --head-size 8 --lr 3e-3 --steps 10 --out $arch
    rwkv compress int8 -m $arch -o $arch.safetensors -q -t 1
    rwkv compress int8 -m $arch -o again.safetensors -q -t 3 --force
    cmp $arch.safetensors again.safetensors || complain "$arch: other bits with three threads"
    rwkv compress dense -m $arch.safetensors -o $arch-whole.safetensors -q
    rwkv info $arch.safetensors | grep -q 'matrices are bytes with ranges' || complain "$arch: info does not tell"
    rwkv eval $arch --ppl some.txt --json -q >ppl-$arch-a
    rwkv eval $arch.safetensors --ppl some.txt --json -q -t 1 >ppl-$arch-b
    rwkv run -m $arch.safetensors -f some.txt -n 8 --seed 1 -q -t 1 >one
    rwkv run -m $arch.safetensors -f some.txt -n 8 --seed 1 -q -t 3 >three
    cmp -s one three || complain "$arch: another text with three threads"
done

rwkv compress svd -m rwkv5 --rank 8 -o pairs.safetensors -q
rwkv compress predictor -m pairs.safetensors --data text.txt --tokens 60 --hidden 4 --steps 2 --p 0.5 -o records.safetensors -q
rwkv compress head -m records.safetensors --clusters 6 --data text.txt --tokens 300 --steps 20 -o lite.safetensors -q
rwkv compress int8 -m lite.safetensors -o lite8.safetensors -q
rwkv eval lite.safetensors --ppl some.txt --json -q >ppl-lite-a
rwkv eval lite8.safetensors --ppl some.txt --json -q >ppl-lite-b
rwkv compress dense -m lite8.safetensors -o lite-whole.safetensors -q
rwkv info lite-whole.safetensors | grep -q 'bytes with ranges' && complain 'dense: bytes stay'
# Bytes first, then the other parts, of what the bytes are.
rwkv compress svd -m rwkv5.safetensors --rank 8 -o pairs-of-bytes.safetensors -q
rwkv compress predictor -m rwkv7.safetensors --data text.txt --tokens 60 --hidden 4 --steps 2 --p 0.5 -o mix8.safetensors -q
rwkv compress head -m mix8.safetensors --clusters 6 --data text.txt --tokens 300 --steps 2 -o head8.safetensors -q
rwkv compress int8 -m pairs-of-bytes.safetensors -o more.safetensors -q || complain 'what is no bytes yet'
for m in pairs-of-bytes mix8 head8 more lite8; do
    rwkv run -m $m.safetensors -p line -n 3 -q >one || complain "$m: does not run"
done

# What passes, comes through caches, or is cut changes no bit.
for m in rwkv7 lite8; do
    rwkv run -m $m.safetensors -p 'line 5' -n 12 --seed 2 -q -t 1 >free
    if ! rwkv run -m $m.safetensors -p 'line 5' -n 12 --seed 2 -q -t 1 --mem-max 1K >out 2>&1; then
        least=$(sed -n 's/.*least that works is \([0-9.]*\) MB.*/\1/p' out)
        rwkv run -m $m.safetensors -p 'line 5' -n 12 --seed 2 -q -t 1 --mem-max "$(echo "$least" | awk '{print $1 + 0.3}')M" >limited ||
            complain "$m: does not run under a limit"
        cmp -s free limited || complain "$m: another text under a limit"
    else
        complain "$m: runs in nothing"
    fi
done

# Frozen it has adapters and states beside it.
# shellcheck disable=SC2086
rwkv tune -m rwkv7.safetensors --method lora --rank 4 --data text.txt --vocab byte --ctx-len 32 --batch 2 --val-frac 0 --steps 3 \
    -q -t 1 --out lora || complain 'an adapter beside bytes is not trained'
rwkv run -m rwkv7.safetensors --adapter lora -p line -n 3 -q >one || complain 'an adapter beside bytes does not run'

rwkv compress all -m rwkv7 --data text.txt --rho 0.5 --clusters 6 --int8 -o all.safetensors -q >out || complain 'all parts are not made'
[ "$(grep -c '^ppl' out)" = 4 ] || complain "all parts: $(cat out)"

cat >check.py <<'EOF'
import json, math, struct
from safetensors_parts import read, write

def floats(file, name):
    t = file[0][name]
    a, b = t["data_offsets"]
    return struct.unpack("<%d%s" % ((b - a) // (2 if t["dtype"] == "F16" else 4), "e" if t["dtype"] == "F16" else "f"), file[1][a:b])

def loss(name):
    with open(name) as f:
        return json.load(f)["loss"]

for arch in ("rwkv4", "rwkv5", "rwkv6", "rwkv7"):
    dense, small, whole = read(arch + "/model.safetensors"), read(arch + ".safetensors"), read(arch + "-whole.safetensors")
    large = [n for n, t in dense[0].items() if n == "head.weight" or n.startswith("blocks.") and n.endswith(
        tuple("%s.%s.weight" % (m, k) for m in ("att", "ffn") for k in ("receptance", "key", "value", "gate", "output")))]
    assert len(large) > 10, arch
    assert not [n for n in set(dense[0]) - set(large) - {"__metadata__"} if small[0][n]["dtype"] != dense[0][n]["dtype"]], arch
    for name in large:
        out, columns = dense[0][name]["shape"]
        assert small[0][name]["dtype"] == "U8" and small[0][name]["shape"] == [out, columns], name
        a, b = small[0][name]["data_offsets"]
        q, (mx, rx, my, ry) = small[1][a:b], (floats(small, name + e) for e in ("_mx", "_rx", "_my", "_ry"))
        assert len(mx) == len(rx) == out and len(my) == len(ry) == columns, name
        w, back = floats(dense, name), floats(whole, name)
        bound = 256 * max(rx) * max(ry) / 512 * (1 + 1e-3) + 1e-7
        for i, x in enumerate(w):
            y = (q[i] + 0.5) * rx[i // columns] * ry[i % columns] + mx[i // columns] + my[i % columns]
            assert abs(x - y) <= bound and abs(y - back[i]) <= 1e-3 * abs(y) + 1e-6, (arch, name, i, x, y, back[i])
    assert abs(loss("ppl-%s-a" % arch) - loss("ppl-%s-b" % arch)) < 0.01, arch
assert abs(loss("ppl-lite-a") - loss("ppl-lite-b")) < 0.02
head = read("lite8.safetensors")[0]
assert head["blocks.0.att.key1.weight"]["dtype"] == "U8" and head["blocks.0.ffn.records"]["dtype"] != "U8"
assert head["head_l2.weight"]["dtype"] == "U8" and head["emb.weight"]["dtype"] != "U8"

key = "blocks.1.att.key.weight"
def renamed(head, a, b):
    head[b] = head.pop(a)
def shaped(head, name, shape):
    head[name]["shape"] = shape
def typed(head, name, dtype, shape):
    head[name].update(dtype=dtype, shape=shape)
def number(name, x):
    def change(head, data):
        a, _ = head[name]["data_offsets"]
        return data[:a] + struct.pack("<f", x) + data[a + 4:]
    return change
CASES = (
    ("no-mx", lambda h, d: renamed(h, key + "_mx", "x"), "is u8, and there is no '%s_mx' beside it" % key),
    ("no-ry", lambda h, d: renamed(h, "head.weight_ry", "x"), "there is no 'head.weight_ry' beside it"),
    ("other", lambda h, d: renamed(h, key + "_rx", "blocks.1.att.kex.weight_rx"), "there is no '%s_rx'" % key),
    ("length", lambda h, d: typed(h, key + "_my", "F16", [80]), "tensor '%s_my' is f16 (80), expected (40) of a float type" % key),
    ("whole", lambda h, d: typed(h, key + "_mx", "I32", [40]), "tensor '%s_mx' is i32 (40), expected (40)" % key),
    ("bits", lambda h, d: typed(h, key + "_rx", "U8", [160]), "tensor '%s_rx' is u8 (160)" % key),
    ("nan", number(key + "_rx", math.nan), "tensor '%s_rx' holds a number that is not finite" % key),
    ("inf", number(key + "_my", -math.inf), "tensor '%s_my' holds a number that is not finite" % key),
    ("shape", lambda h, d: shaped(h, key, [80, 20]), "tensor '%s' is u8 (80,20), expected (40,40)" % key),
    ("float", lambda h, d: typed(h, key, "F16", [40, 20]), "tensor '%s' is f16" % key),
    ("vector", lambda h, d: typed(h, "blocks.1.ln1.weight", "U8", [160]), "tensor 'blocks.1.ln1.weight' is u8"),
    ("table", lambda h, d: typed(h, "emb.weight", "U8", [1024, 40]), "tensor 'emb.weight' is u8"),
    ("low-rank", lambda h, d: typed(h, "blocks.1.att.w1", "U8", [40, 128]), "tensor 'blocks.1.att.w1' is u8"),
    ("alone", lambda h, d: renamed(h, "blocks.1.ln1.bias", "blocks.1.ln1.weight_mx"), "blocks.1.ln1.bias"),
)
with open("cases", "w") as out:
    for name, change, sentence in CASES:
        head, data = read("rwkv7.safetensors")
        data = change(head, data) or data
        write("bad-%s.safetensors" % name, head, data)
        out.write("bad-%s.safetensors %s\n" % (name, sentence))
EOF
python3 check.py || complain 'what was written is not what it should be'
while read -r file sentence; do
    if rwkv info "$file" >out 2>&1 && ! grep -q 'cannot be run' out; then complain "$file: opens"; fi
    if rwkv run -m "$file" -p x -n 1 >out 2>&1; then complain "$file: runs"; fi
    grep -qF -- "$sentence" out || complain "$file: $(cat out), expected $sentence"
done <cases

refused 'written to .safetensors files only' rwkv compress int8 -m rwkv7 -o none.gguf
refused 'written to .safetensors files only' rwkv compress int8 -m rwkv7 -o none.pth
refused 'written to .safetensors files only' rwkv convert rwkv7.safetensors none.gguf
refused 'written to .safetensors files only' rwkv convert rwkv7.safetensors none.pth
refused 'written to .safetensors files only' rwkv quantize rwkv7.safetensors none.gguf --type q8_0
refused 'written to .safetensors files only' rwkv compress all -m rwkv7 --data text.txt --int8 -o none.pth
refused 'rwkv7.safetensors: all matrices that can be bytes with ranges are so already' rwkv compress int8 -m rwkv7.safetensors -o none.safetensors
# shellcheck disable=SC2086
refused 'cannot be trained; freeze it' rwkv train --init-from rwkv7.safetensors $data --steps 1 --out none
refused 'nothing can be added to' rwkv merge rwkv7.safetensors --adapter lora -o none.safetensors
[ "$(echo none*)" = 'none*' ] || complain 'what was refused has left a file'
[ $failures = 0 ]
