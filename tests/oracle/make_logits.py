#!/usr/bin/env python3
"""Logits of random models of every version, computed by the package `rwkv` of the original authors.

Run by hand, with PyTorch and `rwkv` from PyPI (numpy comes along):

    python3 tests/oracle/make_logits.py            # writes tests/data/oracle
    python3 tests/oracle/make_logits.py --models DIR   # keeps every checkpoint in DIR as .pth too

The weights are a function of a tensor's name and an element's place, so tests/infer/test_oracle.c
makes the same models and only logits are stored; its table of models is this one. Two checkpoints
are stored as PyTorch writes them.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch

TOKENS = 24
STORED = ("rwkv6-tuned", "rwkv7")  # as checkpoints

# name, version, n_embd, head_size, n_layer, dim_ffn, n_vocab, ranks, dtype
MODELS = [
    ("rwkv4", "4", 40, 0, 2, 160, 41, {}, "f32"),
    ("rwkv4-bf16", "4", 72, 0, 3, 200, 37, {}, "bf16"),
    ("rwkv5.0-first", "5.0-first", 48, 16, 2, 96, 41, {}, "f32"),
    ("rwkv5.0", "5.0", 63, 21, 2, 100, 41, {}, "bf16"),
    ("rwkv5.1", "5.1", 48, 24, 2, 160, 37, {}, "f32"),
    ("rwkv5", "5", 96, 48, 3, 320, 41, {}, "bf16"),
    ("rwkv5-odd", "5", 66, 33, 2, 90, 43, {}, "f32"),
    ("rwkv6-tuned", "6", 32, 16, 2, 96, 41, {"m": 6, "w": 5, "state": 1}, "bf16"),
    ("rwkv6", "6", 128, 64, 2, 448, 37, {"m": 8, "w": 16}, "bf16"),
    ("rwkv6-odd", "6", 57, 19, 3, 101, 43, {"m": 3, "w": 7}, "f32"),
    ("rwkv7", "7", 32, 16, 2, 128, 41, {"w": 6, "a": 5, "v": 3, "g": 7}, "f32"),
    ("rwkv7-bf16", "7", 128, 64, 3, 512, 37, {"w": 8, "a": 8, "v": 8, "g": 16}, "bf16"),
    ("rwkv7-odd", "7", 63, 21, 3, 131, 43, {"w": 5, "a": 3, "v": 4, "g": 9}, "f32"),
    ("rwkv7a", "7a", 40, 20, 2, 160, 37, {"w": 6, "a": 5, "v": 3, "g": 7}, "f32"),
    ("rwkv7a-bf16", "7a", 64, 32, 3, 256, 41, {"w": 6, "a": 5, "v": 3, "g": 7}, "bf16"),
]

# End of a name, base, scale; scale times 1/sqrt(columns) where the flag is set. The first row that
# fits counts; low-rank factors end in a digit.
RANGES = [
    ("emb.weight", 0, 1, False), ("ln_x.weight", 1, 0.3, False), ("ln0.weight", 1, 0.3, False),
    ("ln1.weight", 1, 0.3, False), ("ln2.weight", 1, 0.3, False),
    ("ln_out.weight", 1, 0.3, False), (".bias", 0, 0.2, False), (".weight", 0, 1.5, True),
    ("time_decay", -2, 3, False), ("time_first", -0.5, 1, False), ("time_faaaa", 0.2, 0.5, False),
    ("time_state", 0, 0.5, False), (".w0", -2, 3, False), (".a0", 0, 0.5, False),
    (".v0", 0.5, 0.5, False), (".s0", 1, 0.5, False), ("k_k", 0.7, 0.2, False),
    ("k_a", 1, 0.3, False), ("r_k", 0, 0.3, False), ("1", 0, 0.5, False), ("2", 0, 0.5, False),
    ("", 0.5, 0.5, False),
]


def splitmix(x):
    x = x.copy()
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def values(name, shape):
    seed = 0xCBF29CE484222325  # FNV-1a
    for c in name.encode():
        seed = (seed ^ c) * 0x100000001B3 % 2**64
    n = int(np.prod(shape))
    with np.errstate(over="ignore"):
        at = np.uint64(seed) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        u = (splitmix(at) >> np.uint64(40)).astype(np.float64) / 2**23 - 1
    _, base, scale, by_columns = next(r for r in RANGES if name.endswith(r[0]))
    if by_columns:
        scale = scale / np.sqrt(shape[-1])
    return (base + scale * u).astype(np.float32).reshape(shape)


def norm(name, c):
    return {name + ".weight": (c,), name + ".bias": (c,)}


def matrices(prefix, shape, names):
    return {f"{prefix}{n}.weight": shape for n in names.split()}


def vectors(prefix, c, names):
    return {prefix + n: (1, 1, c) for n in names.split()}


def att_4(b, c, h, n, r, layer):
    return {b + "time_decay": (c,), b + "time_first": (c,),
            **vectors(b, c, "time_mix_k time_mix_v time_mix_r"),
            **matrices(b, (c, c), "key value receptance output")}


def att_5(b, c, h, n, r, layer, gate=True, heads_only=False, bonus="time_faaaa"):
    per = (h,) if heads_only else (h, n)
    return {**vectors(b, c, "time_mix_k time_mix_v time_mix_r" + " time_mix_g" * gate),
            b + "time_decay": per, b + bonus: per,
            **matrices(b, (c, c), "receptance key value output" + " gate" * gate),
            **norm(b + "ln_x", c)}


def att_6(b, c, h, n, r, layer):
    state = {b + "time_state": (h, n, n)} if "state" in r else {}
    return {**vectors(b, c, " ".join("time_maa_" + q for q in "xwkvrg")),
            b + "time_maa_w1": (c, 5 * r["m"]), b + "time_maa_w2": (5, r["m"], c),
            b + "time_decay": (1, 1, c), b + "time_decay_w1": (c, r["w"]),
            b + "time_decay_w2": (r["w"], c), b + "time_faaaa": (h, n),
            **matrices(b, (c, c), "receptance key value output gate"), **norm(b + "ln_x", c),
            **state}


def att_7(b, c, h, n, r, layer):
    ranks = {q: r[q] for q in "wavg"}
    return {**vectors(b, c, " ".join("x_" + q for q in "rwkvag") + " w0 a0 v0 k_k k_a"),
            **{b + q + "1": (c, k) for q, k in ranks.items()},
            **{b + q + "2": (k, c) for q, k in ranks.items()}, b + "r_k": (h, n),
            **matrices(b, (c, c), "receptance key value output"), **norm(b + "ln_x", c)}


def ffn_gated(mix):
    def shapes(b, c, f, v):
        return {**vectors(b, c, f"time_{mix}_k time_{mix}_r"), b + "key.weight": (f, c),
                b + "receptance.weight": (c, c), b + "value.weight": (c, f)}
    return shapes


def ffn_7(b, c, f, v):
    return {b + "x_k": (1, 1, c), b + "key.weight": (f, c), b + "value.weight": (c, f)}


def ffn_7a(b, c, f, v):
    return {**ffn_7(b, c, f, v), b + "s_emb.weight": (v, 1024), b + "s_emb_x.weight": (1024, c),
            b + "s0": (f,), b + "s1": (c, 32), b + "s2": (32, f)}


def form_5(**form):
    return lambda *sizes: att_5(*sizes, **form)


VERSIONS = {
    "4": (att_4, ffn_gated("mix")),
    "5.0-first": (form_5(gate=False, heads_only=True, bonus="time_first"), ffn_gated("mix")),
    "5.0": (form_5(gate=False, heads_only=True), ffn_gated("mix")),
    "5.1": (form_5(heads_only=True), ffn_gated("mix")),
    "5": (att_5, ffn_gated("mix")),
    "6": (att_6, ffn_gated("maa")),
    "7": (att_7, ffn_7),
    "7a": (att_7, ffn_7a),
}


def checkpoint(version, c, head_size, n_layer, f, v, ranks, dtype):
    n = head_size or c
    att, ffn = VERSIONS[version]
    shapes = {"emb.weight": (v, c), **norm("blocks.0.ln0", c)}
    for layer in range(n_layer):
        b = f"blocks.{layer}."
        shapes.update({**norm(b + "ln1", c), **norm(b + "ln2", c)})
        shapes.update(att(b + "att.", c, c // n, n, ranks, layer))
        shapes.update(ffn(b + "ffn.", c, f, v))
    shapes.update({**norm("ln_out", c), "head.weight": (v, c)})
    to = {"f32": torch.float32, "bf16": torch.bfloat16}[dtype]
    return {name: torch.from_numpy(values(name, s)).to(to) for name, s in shapes.items()}


def tokens(v):
    return [(7 * i * i + 3 * i + 1) % v for i in range(TOKENS)]


def run(path, version, v):
    """In a process of its own, because the package chooses its code when it is imported. Without
    `mmap` in torch.load, as before PyTorch 2.1, the package needs it taken away."""
    load = torch.load
    torch.load = lambda *a, mmap=None, **k: load(*a, **k)
    for key, value in (("RWKV_JIT_ON", "0"), ("RWKV_CUDA_ON", "0"),
                       ("RWKV_V7_ON", "1" if version.startswith("7") else "0"),
                       ("RWKV_DE_VERSION", "1" if version == "7a" else "0")):
        os.environ[key] = value
    from rwkv.model import RWKV
    model = RWKV(model=path[:-len(".pth")], strategy="cpu fp32")
    with torch.no_grad():
        whole, _ = model.forward(tokens(v), None, full_output=True)
        state, one = None, []
        for token in tokens(v):
            out, state = model.forward([token], state)
            one.append(out.float().numpy())
    whole, one = whole.float().numpy(), np.array(one)
    rms = np.sqrt((one**2).mean())
    print(f"rms {rms:.3f}, sequence against single tokens {abs(whole - one).max() / rms:.1e} of it")
    assert abs(whole - one).max() < 1e-4 * rms
    np.save(path + ".npy", one.astype(np.float32))


def write_safetensors(path, arrays):
    """Of f32 arrays; the container is simple enough to need no package."""
    header, at = {}, 0
    for name, x in arrays.items():
        header[name] = {"dtype": "F32", "shape": list(x.shape), "data_offsets": [at, at + x.nbytes]}
        at += x.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text + b"".join(x.tobytes() for x in arrays.values()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", metavar="DIR")
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        return run(args.run[0], args.run[1], int(args.run[2]))
    out = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "oracle")
    os.makedirs(out, exist_ok=True)
    logits = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, version, c, n, n_layer, f, v, ranks, dtype in MODELS:
            path = os.path.join(args.models or scratch, name + ".pth")
            os.makedirs(os.path.dirname(path), exist_ok=True)
            w = checkpoint(version, c, n, n_layer, f, v, ranks, dtype)
            torch.save(w, path)
            if name in STORED:
                torch.save(w, os.path.join(out, name + ".pth"))
            print(name, flush=True)
            # Widened, because up to version 6 the package applies ln0 to the embedding in the
            # file's type: in bf16 that alone moves the logits by 1e-2 of their rms.
            wide = os.path.join(scratch, "wide.pth")
            torch.save({key: x.float() for key, x in w.items()}, wide)
            subprocess.run([sys.executable, __file__, "--run", wide, version, str(v)], check=True)
            logits[name] = np.load(wide + ".npy")
    write_safetensors(os.path.join(out, "logits.safetensors"), logits)
    return 0


if __name__ == "__main__":
    sys.exit(main())
