#!/usr/bin/env python3
"""Do GGUF files that `rwkv convert` and `rwkv quantize` write give llama.cpp the scores and the text
that they give us?

    tests/oracle/llama.py PROGRAM WORK_FOLDER      (needs llama-cpp-python and numpy of PyPI)

Converts random rwkv6 and rwkv7 checkpoints of the 0.1B shape and the bundled model, and compares the
scores after every token of a prompt and of 64 tokens that llama.cpp writes greedily. Prints a table.
"""
import os
import subprocess
import sys

import llama_cpp
import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import weights

C, N, L, F6, F7, V = 768, 64, 12, 2688, 3072, 65536
SHAPES = {"rwkv6": ("6", F6, {"m": 32, "w": 64}), "rwkv7": ("7", F7, {"w": 64, "a": 64, "v": 32, "g": 128})}
FORMATS = ["f32", "f16", "bf16", "q8_0"]
BUNDLED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../models/rwkv7-byte-5.4m.safetensors")
MORE = ["q6_k", "q5_k", "q4_k", "q5_1", "q5_0", "q4_1", "q4_0", "rk8", "rk5", "rk4"]
PROMPT = [33155, 45, 37576, 34, 24281, 59, 4571, 261, 5585, 41693, 59, 6699, 304, 25740, 109, 39990]
GREEDY = 64


def random_model(version, ffn, ranks, path):
    made = {}
    for name, shape in weights.shapes(version, C, N, L, ffn, V, ranks).items():
        made[name] = weights.values(name, shape)
        if name.endswith("1"):  # ranges that are meant for small widths saturate every tanh here
            made[name] /= 16
    weights.write_safetensors(path, made)


def ours(program, path, tokens, out):
    subprocess.run([program, "logits", "-m", path, "--tokens", ",".join(map(str, tokens)), "--all", "-o", out,
                    "--force", "-q", "--act", "f32"], check=True)
    return np.load(out)


def theirs(path, prompt):
    """64 tokens behind the prompt, and the scores after every token but the last."""
    m = llama_cpp.Llama(path, n_ctx=512, logits_all=True, verbose=False, n_threads=2)
    m.eval(prompt)
    text = [int(np.argmax(m.scores[len(prompt) - 1]))]
    while len(text) < GREEDY:
        m.eval(text[-1:])
        text.append(int(np.argmax(m.scores[len(prompt) + len(text) - 1])))
    return text, np.array(m.scores[:len(prompt) + GREEDY - 1])


def row(program, folder, name, model, kind, prompt):
    path = os.path.join(folder, "%s-%s.gguf" % (name, kind))
    command = "convert" if kind in ("f32", "f16", "bf16") else "quantize"
    subprocess.run([program, command, model, path, "--type", kind, "--force", "-q"], check=True)
    text, scores = theirs(path, prompt)
    mine = ours(program, path, prompt + text[:-1], os.path.join(folder, "scores.npy"))
    same = int((np.argmax(mine[len(prompt) - 1:], axis=1) == np.array(text)).sum())
    plain = ours(program, model, prompt + text[:-1], os.path.join(folder, "plain.npy"))
    rms = np.sqrt((mine ** 2).mean())
    figures = ["%.1e" % (x / rms) for d in (mine - scores, mine - plain)
               for x in (np.sqrt((d ** 2).mean()), np.abs(d).max())]
    print("| %s | %s | %d of %d | %s |" % (name, kind, same, GREEDY, " | ".join(figures)), flush=True)
    os.remove(path)


def main():
    program, folder = sys.argv[1:]
    os.makedirs(folder, exist_ok=True)
    print("| model | format | greedy tokens the same | rms difference / rms of scores | largest | our f32 from our "
          "format, rms | largest |")
    print("|---|---|---|---|---|---|---|")
    for name, shape in SHAPES.items():
        model = os.path.join(folder, name + ".safetensors")
        random_model(*shape, model)
        for kind in FORMATS:
            row(program, folder, name, model, kind, PROMPT)
    for kind in FORMATS + MORE:
        row(program, folder, "bundled", BUNDLED, kind, list(b"It is a truth universally acknowledged, that "))


main()
