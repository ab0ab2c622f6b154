#!/usr/bin/env python3
"""Does llama.cpp write the same text with adapters that `rwkv adapter convert` and `rwkv merge` make for it?

    tests/oracle/llama_adapters.py PROGRAM WORK_FOLDER [PROMPTS TOKENS]    (needs llama-cpp-python and numpy of PyPI)

Tunes the bundled model (rwkv7) and small models of rwkv6, llama and qwen2 that are trained here, one adapter of each kind, and lets both
programs go on greedily after 20 prompts: llama.cpp with the adapter's GGUF beside the model, `rwkv run` with the
folder that `rwkv tune` left; and both with the merged model. Prints a table, fails where a token differs.
"""
import json
import os
import subprocess
import sys

import llama_cpp
import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUNDLED = os.path.join(ROOT, "models/rwkv7-byte-5.4m.safetensors")
METHODS = {"lora": ["--rank", "8"], "miss": ["--rank", "8"]}
TRAINED = {"rwkv6": ["--head-size", "64"], "llama": ["--n-head", "4", "--n-kv-head", "2"], "qwen2": ["--n-head", "4", "--n-kv-head", "2"]}
TEXT = "docs/tuning.md", "docs/training.md", "docs/design.md"


class Work:
    def __init__(self, program, folder, n_prompts, n_tokens):
        self.program, self.folder, self.n_prompts, self.n_tokens = program, folder, n_prompts, n_tokens
        os.makedirs(folder, exist_ok=True)
        text = "".join(open(os.path.join(ROOT, name)).read() for name in TEXT)
        with open(self.path("text.txt"), "w") as f:
            f.write(text)
        words = text.encode("ascii", "ignore").decode().split()
        self.prompts = [" ".join(words[i * 97:i * 97 + 4 + i % 7]) for i in range(n_prompts)]

    def path(self, name):
        return os.path.join(self.folder, name)

    def rwkv(self, *words):
        done = subprocess.run([self.program, *words, "-q"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit("rwkv %s: %s" % (" ".join(words), done.stderr))
        return done.stdout

    def ours(self, model, *words):
        out = []
        for prompt in self.prompts:
            said = json.loads(self.rwkv("run", "-m", model, "-p", prompt, "-n", str(self.n_tokens), "--temp", "0",
                                        "--ignore-eos", "--json", *words))
            out.append(said["tokens"][-self.n_tokens:])
        return out

    def theirs(self, model, lora=None):
        m = llama_cpp.Llama(model, lora_path=lora, n_ctx=512, logits_all=True, verbose=False, n_threads=1, n_threads_batch=1)
        out = []
        for prompt in self.prompts:
            m.reset()
            tokens = list(prompt.encode())
            n = len(tokens)
            m.eval(tokens)
            for i in range(self.n_tokens):
                tokens.append(int(np.argmax(m.scores[n + i - 1])))
                m.eval(tokens[-1:])
            out.append(tokens[n:])
        m.close()
        return out


def same(a, b):
    return sum(x == y for p, q in zip(a, b) for x, y in zip(p, q))


def compare(w, name, base):
    """Rows of the table; how many tokens differ between the programs."""
    gguf, wrong = w.path(name + ".gguf"), 0
    w.rwkv("convert", base, gguf, "--type", "f32", "--force")
    plain = w.ours(gguf)
    for method, options in METHODS.items():
        folder, lora, merged = (w.path("%s-%s%s" % (name, method, end)) for end in ("", ".gguf", "-merged"))
        w.rwkv("tune", "-m", base, "--data", w.path("text.txt"), "--method", method, *options, "--steps", "20",
               "--ctx-len", "64", "--batch", "4", "--val-frac", "0", "--seed", "3", "--out", folder)
        w.rwkv("adapter", "convert", folder, "-o", lora, "-m", base, "--force")
        w.rwkv("merge", "-m", base, "--adapter", folder, "-o", merged + ".safetensors", "--force")
        w.rwkv("convert", merged + ".safetensors", merged + ".gguf", "--type", "f32", "--force")
        ours, total = w.ours(gguf, "--adapter", folder), w.n_prompts * w.n_tokens
        counts = [same(ours, w.theirs(gguf, lora)), same(w.ours(merged + ".gguf"), w.theirs(merged + ".gguf")),
                  same(ours, w.ours(gguf, "--adapter", lora)), same(ours, plain)]
        print("| %s | %s | %s |" % (name, method, " | ".join("%d of %d" % (c, total) for c in counts)), flush=True)
        wrong += 3 * total - sum(counts[:3]) + (counts[3] == total)
    return wrong


def main():
    program, folder = sys.argv[1:3]
    w = Work(program, folder, *(map(int, sys.argv[3:5]) if len(sys.argv) > 3 else (20, 32)))
    print("| model | method | llama.cpp with the adapter | merged, in llama.cpp | rwkv with the GGUF | without the adapter |")
    print("|---|---|---|---|---|---|")
    wrong = compare(w, "rwkv7", BUNDLED)
    for arch, sizes in TRAINED.items():
        out = w.path(arch)
        w.rwkv("train", "--data", w.path("text.txt"), "--tokenizer", "byte", "--out", out, "--arch", arch, "--n-layer", "3", "--n-embd",
               "128", *sizes, "--ctx-len", "64", "--batch", "8", "--steps", "60", "--lr", "3e-3", "--seed", "1")
        wrong += compare(w, arch, os.path.join(out, "model.safetensors"))
    sys.exit(1 if wrong else 0)


main()
