#!/usr/bin/env python3
"""Does llama.cpp give GGUF files of qwen2 and llama that are made here the scores that they have here?

    tests/oracle/llama_transformers.py PROGRAM FILE.gguf...     (needs llama-cpp-python and numpy of PyPI)

A prompt of 24 tokens and 32 that llama.cpp writes greedily; keys and values in f32 on both sides. Prints the largest
difference of any score over the root mean square, and how many of the greedy tokens are the same.
"""
import os
import subprocess
import sys
import tempfile

import llama_cpp
import numpy as np

PROMPT, GREEDY, F32 = 24, 32, 0


def check(program, path):
    model = llama_cpp.Llama(path, n_ctx=512, logits_all=True, verbose=False, type_k=F32, type_v=F32, flash_attn=False)
    tokens = [int(i) for i in np.random.default_rng(1).integers(0, 256, PROMPT)]
    model.eval(tokens)
    for _ in range(GREEDY):
        tokens.append(int(np.argmax(model.scores[len(tokens) - 1])))
        model.eval(tokens[-1:])
    want = np.array(model.scores[:len(tokens)])
    with tempfile.TemporaryDirectory() as work:
        out = os.path.join(work, "scores.npy")
        subprocess.run([program, "logits", "-m", path, "--tokens", ",".join(map(str, tokens)), "--all", "-o", out, "-q",
                        "--act", "f32", "--cache-type", "f32"], check=True)
        got = np.load(out)
    same = sum(int(np.argmax(got[i])) == tokens[i + 1] for i in range(PROMPT - 1, len(tokens) - 1))
    off = np.abs(want - got).max() / np.sqrt((want ** 2).mean())
    print(f"{os.path.basename(path)}: {same} of {GREEDY} tokens the same, largest difference {off:.1e}", flush=True)


for file in sys.argv[2:]:
    check(sys.argv[1], file)
