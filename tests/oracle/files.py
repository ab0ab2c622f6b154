#!/usr/bin/env python3
"""Do PyTorch, the package safetensors and the package `rwkv` read what `rwkv convert` writes, and the
other way round?

    tests/oracle/files.py PROGRAM WORK_FOLDER    (needs torch >= 1.13, safetensors and rwkv of PyPI)

For every model of make_logits.py in f32, bf16 and f16: torch.save -> convert -> safetensors, and
safetensors -> convert -> torch.load(weights_only=True); each tensor must have the name, type, shape
and bytes that it began with. Then `rwkv` computes scores with the .pth file that we wrote, which
are compared with ours. Prints a table.
"""
import os
import subprocess
import sys

import numpy as np
import safetensors.torch
import torch

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import make_logits


def raw(t):
    return t.contiguous().view(torch.int32 if t.dtype == torch.float32 else torch.int16).numpy().tobytes()


def same(a, b):
    return a.keys() == b.keys() and all(
        a[k].dtype == b[k].dtype and a[k].shape == b[k].shape and raw(a[k]) == raw(b[k]) for k in a)


def convert(program, source, target):
    subprocess.run([program, "convert", source, target, "--force"], check=True)


def scores(program, folder, name, version, v, pth):
    """Largest difference between the package's scores and ours, over the root mean square."""
    subprocess.run([sys.executable, make_logits.__file__, "--run", pth, version, str(v)], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    out = os.path.join(folder, "ours.npy")
    subprocess.run([program, "logits", "-m", pth, "--tokens", ",".join(map(str, make_logits.tokens(v))), "--all",
                    "-o", out, "--force"], check=True)
    theirs, ours = np.load(pth + ".npy"), np.load(out)
    return np.abs(theirs - ours).max() / np.sqrt((theirs ** 2).mean())


def main():
    program, folder = sys.argv[1:]
    os.makedirs(folder, exist_ok=True)
    print("torch %s, safetensors %s" % (torch.__version__, safetensors.__version__))
    print("| model | type | tensors | to safetensors | to torch.load(weights_only=True) | `rwkv` against ours |")
    print("|---|---|---|---|---|---|")
    failed = False
    for name, version, c, n, n_layer, f, v, ranks, _ in make_logits.MODELS:
        for dtype in ("f32", "bf16", "f16"):
            w = make_logits.checkpoint(version, c, n, n_layer, f, v, ranks, dtype)
            a, b, d, e = [os.path.join(folder, x) for x in ("a.pth", "b.safetensors", "d.safetensors", "e.pth")]
            torch.save(w, a)
            convert(program, a, b)
            there = same(w, safetensors.torch.load_file(b))
            safetensors.torch.save_file(w, d)
            convert(program, d, e)
            back = same(w, torch.load(e, weights_only=True))
            worst = scores(program, folder, name, version, v, e) if dtype == "f32" else None
            failed = failed or not there or not back or (worst is not None and not worst < 1e-4)
            print("| %s | %s | %d | %s | %s | %s |" % (name, dtype, len(w), "same bytes" if there else "DIFFERS",
                                                     "same bytes" if back else "DIFFERS",
                                                     "" if worst is None else "%.1e" % worst), flush=True)
    return int(failed)


sys.exit(main())
