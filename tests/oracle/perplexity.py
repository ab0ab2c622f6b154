#!/usr/bin/env python3
"""Is the perplexity that `rwkv eval` finds that of llama.cpp, on the same tokens?

    tests/oracle/perplexity.py PROGRAM MODEL.gguf TEXT [CTX [BYTES]]      (needs llama-cpp-python and numpy of PyPI)

The first 50,000 bytes of a text in windows of 512 tokens. llama.cpp's windows are made here as its own `llama-perplexity`
makes them: where the file asks for a token that begins texts, that stands before the text and in the place of each window's
first token. All tokens but the first of a window are scored (that program scores the second half of them). Prints both and ours
with `--act f32`, and fails where they are more than 0.5 % apart.
"""
import json
import os
import subprocess
import sys
import tempfile

try:
    import llama_cpp
    import numpy as np
except ImportError as why:
    print("skipped:", why)
    sys.exit(77)

LIMIT = 0.005


def theirs(path, text, ctx):
    """Loss a token, and the number of tokens."""
    m = llama_cpp.Llama(path, n_ctx=ctx, n_batch=ctx, logits_all=True, verbose=False)
    vocab = llama_cpp.llama_model_get_vocab(m.model)
    begins = llama_cpp.llama_vocab_get_add_bos(vocab)
    ids = m.tokenize(text, add_bos=begins, special=False)
    nats = n = 0
    for at in range(0, len(ids) - 1, ctx):
        window = ids[at:at + ctx]
        if begins:
            window[0] = llama_cpp.llama_vocab_bos(vocab)
        m.reset()
        m.eval(window)
        scores = np.array(m.scores[:len(window) - 1], dtype=np.float64)
        nats += (np.logaddexp.reduce(scores, axis=1) - scores[np.arange(len(window) - 1), window[1:]]).sum()
        n += len(window) - 1
    return nats / n, n, begins


def ours(program, path, text, ctx, *words):
    with tempfile.TemporaryDirectory() as folder:
        name = os.path.join(folder, "text.txt")
        with open(name, "wb") as f:
            f.write(text)
        said = subprocess.run([program, "eval", "-m", path, "--ppl", name, "--ctx", str(ctx), "--json", "-q", *words],
                              check=True, capture_output=True, text=True).stdout
    return json.loads(said)["loss"], json.loads(said)["n_tokens"]


def main(program, path, name, ctx=512, n_bytes=50000):
    with open(name, "rb") as f:
        text = f.read(int(n_bytes))
    want, n, begins = theirs(path, text, int(ctx))
    print("%s: %d bytes, %d tokens in windows of %s, %s" % (os.path.basename(path), len(text), n, ctx,
                                                        "each begun" if begins else "not begun"))
    print("llama.cpp       %.3f" % np.exp(want))
    wrong = 0
    for words in [], ["--act", "f32"]:
        loss, n_ours = ours(program, path, text, ctx, *words)
        if n_ours != n:
            sys.exit("%d tokens here" % n_ours)
        print("ours %-10s %.3f, %+.2f %%" % (" ".join(words), np.exp(loss), 100 * (np.exp(loss - want) - 1)), flush=True)
        wrong += abs(np.exp(loss - want) - 1) > LIMIT
    return int(wrong > 0)


if __name__ == "__main__":
    if not 4 <= len(sys.argv) <= 6:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
