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
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch

import weights

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

def checkpoint(version, c, head_size, n_layer, f, v, ranks, dtype):
    to = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}[dtype]
    return {name: torch.from_numpy(weights.values(name, shape)).to(to)
            for name, shape in weights.shapes(version, c, head_size, n_layer, f, v, ranks).items()}


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
    weights.write_safetensors(os.path.join(out, "logits.safetensors"), logits)
    return 0


if __name__ == "__main__":
    sys.exit(main())
