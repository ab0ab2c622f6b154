#!/usr/bin/env python3
"""Do GGUF files that `rwkv convert` writes give llama.cpp the scores and the text that they give us?

    tests/oracle/llama.py PROGRAM WORK_FOLDER      (needs torch, gguf, llama-cpp-python of PyPI)

Makes random rwkv6 and rwkv7 checkpoints of the 0.1B shape, converts them, and compares the scores
after every token of a prompt, and 64 tokens written greedily.
"""
import os
import subprocess
import sys

import llama_cpp
import numpy as np
import torch

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import make_logits

C, N, L, F6, F7, V = 768, 64, 12, 2688, 3072, 65536
SHAPES = {"rwkv6": ("6", F6, {"m": 32, "w": 64}), "rwkv7": ("7", F7, {"w": 64, "a": 64, "v": 32, "g": 128})}
PROMPT = [33155, 45, 37576, 34, 24281, 59, 4571, 261, 5585, 41693, 59, 6699, 304, 25740, 109, 39990]
GREEDY = 64


def ours(program, path, tokens, out):
    subprocess.run([program, "logits", "-m", path, "--tokens", ",".join(map(str, tokens)), "--all", "-o", out,
                    "-q"], check=True)
    scores = np.load(out)
    os.remove(out)
    return scores


def main():
    program, folder = sys.argv[1:]
    os.makedirs(folder, exist_ok=True)
    for name, (version, ffn, ranks) in SHAPES.items():
        pth, path = os.path.join(folder, name + ".pth"), os.path.join(folder, name + ".gguf")
        weights = make_logits.checkpoint(version, C, N, L, ffn, V, ranks, "bf16")
        for key in weights:  # ranges that are meant for small widths saturate every tanh here
            if key.endswith("1"):
                weights[key] = weights[key] / 16
        torch.save(weights, pth)
        subprocess.run([program, "convert", pth, path, "--type", "f32", "--force"], check=True)
        m = llama_cpp.Llama(path, n_ctx=512, logits_all=True, verbose=False, n_threads=2)
        m.eval(PROMPT)
        text = [int(np.argmax(m.scores[len(PROMPT) - 1]))]
        while len(text) < GREEDY:
            m.eval(text[-1:])
            text.append(int(np.argmax(m.scores[len(PROMPT) + len(text) - 1])))
        n = len(PROMPT) + GREEDY - 1
        theirs = np.array(m.scores[:n])
        mine = ours(program, path, PROMPT + text[:-1], os.path.join(folder, "scores.npy"))
        same = int((np.argmax(mine[len(PROMPT) - 1:], axis=1) == np.array(text)).sum())
        print("%s: %d scores a token, %d tokens: largest difference %.4f, rms of scores %.3f; "
              "greedy: %d of %d tokens the same" % (name, V, n, np.abs(mine - theirs).max(),
                                                    np.sqrt((mine ** 2).mean()), same, GREEDY))


main()
