#!/usr/bin/env python3
"""Does llama.cpp give GGUF files of transformers and their recurrent relatives the scores that they have here?

    tests/oracle/llama_transformers.py PROGRAM [FILE.gguf...]     (needs llama-cpp-python and numpy of PyPI)

A prompt of 24 tokens and 32 that llama.cpp writes greedily; keys and values in f32 on both sides. Prints the largest
difference of any score over the root mean square, and how many of the greedy tokens are the same. Without files, small
models of qwen2, llama, arwkv7 and rwkv6qwen2 are trained here; and the vocabularies of tests/data/tokens, which `rwkv
convert` puts into files, are asked for the tokens of texts there. Fails where anything differs.
"""
import os
import subprocess
import sys
import tempfile
import unicodedata

try:
    import llama_cpp
    import numpy as np
except ImportError as why:
    print("skipped:", why)
    sys.exit(77)

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
PROMPT, GREEDY, F32, LIMIT = 24, 32, 0, 1e-3
HEADS = ["--n-head", "4", "--n-kv-head", "2"]
# llama.cpp's wkv7 for AVX2 leaves out what is beyond a multiple of 32 in a head.
MODELS = [("qwen2", HEADS), ("qwen2", [*HEADS, "--tied", "1"]), ("llama", HEADS),
          ("arwkv7", ["--head-size", "32", "--gate-mode", "0"]), ("arwkv7", ["--head-size", "32", "--gate-mode", "1"]),
          ("arwkv7", ["--head-size", "32", "--gate-mode", "1", "--group-norm", "1"]), ("rwkv6qwen2", HEADS)]
VOCABULARIES = ["qwen2", "llama-bpe", "smollm"]


def scores(path, tokens):
    """Those of the prompt and of what is written behind it, which is appended."""
    model = llama_cpp.Llama(path, n_ctx=512, logits_all=True, verbose=False, type_k=F32, type_v=F32, flash_attn=False)
    model.eval(tokens)
    for _ in range(GREEDY):
        tokens.append(int(np.argmax(model.scores[len(tokens) - 1])))
        model.eval(tokens[-1:])
    return np.array(model.scores[:len(tokens)])


def check(program, path, name):
    """Whether both agree."""
    tokens = [int(i) for i in np.random.default_rng(1).integers(0, 256, PROMPT)]
    want = scores(path, tokens)
    with tempfile.TemporaryDirectory() as work:
        out = os.path.join(work, "scores.npy")
        subprocess.run([program, "logits", "-m", path, "--tokens", ",".join(map(str, tokens)), "--all", "-o", out, "-q",
                        "--act", "f32", "--cache-type", "f32"], check=True)
        got = np.load(out)
    same = sum(int(np.argmax(got[i])) == tokens[i + 1] for i in range(PROMPT - 1, len(tokens) - 1))
    off = np.abs(want - got).max() / np.sqrt((want ** 2).mean())
    print(f"{name}: {same} of {GREEDY} tokens the same, largest difference {off:.1e}", flush=True)
    return same == GREEDY and off < LIMIT


def train(program, work, *words):
    """A model that has learned a little, so that nothing is zero; its file."""
    out = os.path.join(work, "run")
    subprocess.run(["rm", "-rf", out], check=True)
    subprocess.run([program, "train", "--data", os.path.join(work, "text.txt"), "--out", out, "--n-layer", "2", "--n-embd", "64",
                    "--ctx-len", "64", "--batch", "4", "--steps", "30", "--lr", "3e-3", "--val-frac", "0", "--seed", "1",
                    "-q", *words], check=True)
    return os.path.join(out, "model.safetensors")


def models(program, work):
    wrong = 0
    for arch, words in MODELS:
        path = os.path.join(work, "model.gguf")
        subprocess.run([program, "convert", train(program, work, "--arch", arch, "--tokenizer", "byte", *words), path,
                        "--force", "-q"], check=True)
        wrong += not check(program, path, " ".join([arch, *words]))
    return wrong


def texts(name):
    """Texts of a vocabulary's test and their tokens, less those that llama.cpp reads in another way: what is no UTF-8, or
    would be composed, as tokenizer.json asks."""
    with open(os.path.join(ROOT, "tests/data/tokens", name + ".txt")) as f:
        for line in f:
            text, ids = line.split(" ")
            text = bytes.fromhex(text)
            try:
                if unicodedata.is_normalized("NFC", text.decode()):
                    yield text, [int(i) for i in ids.split(",") if i.strip()]
            except UnicodeDecodeError:
                pass


def vocabularies(program, work):
    wrong = 0
    for name in VOCABULARIES:
        vocabulary, path = os.path.join(ROOT, "tests/data/tokens", name + ".json"), os.path.join(work, "model.gguf")
        model = train(program, work, "--arch", "llama", "--tokenizer", vocabulary, *HEADS)
        subprocess.run([program, "convert", model, path, "--vocab", vocabulary, "--force", "-q"], check=True)
        theirs = llama_cpp.Llama(path, vocab_only=True, verbose=False)
        cases = list(texts(name))
        same = sum(theirs.tokenize(text, add_bos=False, special=True) == ids for text, ids in cases)
        print(f"vocabulary {name}: {same} of {len(cases)} texts have the same tokens", flush=True)
        wrong += same != len(cases)
    return wrong


def main(program, *files):
    if files:
        return sum(not check(program, file, os.path.basename(file)) for file in files)
    with tempfile.TemporaryDirectory() as work:
        with open(os.path.join(work, "text.txt"), "w") as f:
            f.write(open(os.path.join(ROOT, "docs/reference.md")).read())
        return models(program, work) + vocabularies(program, work)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) > 0)
