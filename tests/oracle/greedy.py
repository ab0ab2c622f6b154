#!/usr/bin/env python3
"""Where does the greedy text of a quantised GGUF file part from llama.cpp's, and who is nearer to exact?

    tests/oracle/greedy.py PROGRAM MODEL.gguf WORK_FOLDER [PROMPTS TOKENS]
        (needs llama-cpp-python, gguf, numpy, torch and transformers of PyPI; RWKV_C_LIBRARY is the shared library)

Both programs round activations to 8 bits, each in its way, so the texts part where two tokens are nearly tied. The judge is
transformers with the file's weights widened, in double precision. For each of 20 prompts and 64 tokens that each program
writes freely: the first token that differs, and by how much each prefers its own there. Then, along llama.cpp's text, how far
the scores of both, and ours with activations in f32, lie from the exact ones; and both on a copy of the file in f32.
"""
import os
import subprocess
import sys

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", HF_HUB_DISABLE_PROGRESS_BARS="1", TQDM_DISABLE="1")
try:
    import llama_cpp
    import numpy as np
    import torch
    import transformers
except ImportError as why:
    print("skipped:", why)
    sys.exit(77)
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../bindings/python"))
import rwkv_c

F32 = 0  # ggml's number of the type
PROMPTS = [
    "The capital of France is", "Once upon a time, in a small village by the sea,", "def fibonacci(n):\n",
    "Water boils at a temperature of", "The three primary colours are", "Dear Sir or Madam,\n\nI am writing to",
    "To make a cup of tea, first", "In 1969, Neil Armstrong", "The quick brown fox", "Photosynthesis is the process by which",
    "<|im_start|>user\nName two rivers in Europe.<|im_end|>\n<|im_start|>assistant\n", "Q: What is 17 + 25?\nA:",
    "The main difference between a virus and a bacterium is", "import numpy as np\n\nx = np.", "It was the best of times, it was",
    "The mitochondrion is", "A good night's sleep helps", "Rain fell on the roof all night, and in the morning",
    "List of planets of the solar system:\n1.", "<|im_start|>user\nWhy is the sky blue?<|im_end|>\n<|im_start|>assistant\n"]


class Llama:
    def __init__(self, path, cache=None):
        self.m = llama_cpp.Llama(path, n_ctx=1024, logits_all=True, verbose=False, n_threads=2, n_threads_batch=2,
                                 type_k=cache, type_v=cache, flash_attn=cache is None)

    def tokens(self, text):
        return self.m.tokenize(text.encode(), add_bos=False, special=True)

    def feed(self, tokens):
        self.m.eval(tokens)
        return np.array(self.m.scores[self.m.n_tokens - 1], dtype=np.float64)

    def reset(self):
        self.m.reset()


class Ours:
    def __init__(self, path, act="q8", cache="f16"):
        self.engine = rwkv_c.Engine(n_threads=2, act=act, cache=cache)
        self.model = rwkv_c.Model(path)
        self.session = rwkv_c.Session(self.model, self.engine)

    def feed(self, tokens):
        return np.array(self.session.eval(tokens), dtype=np.float64)

    def reset(self):
        self.session.reset()


def write(program, prompt, n):
    """n greedy tokens, and the scores that chose them."""
    program.reset()
    scores, text = [program.feed(prompt)], []
    while True:
        text.append(int(np.argmax(scores[-1])))
        if len(text) == n:
            return text, scores
        scores.append(program.feed(text[-1:]))


def follow(program, prompt, text):
    """The scores before each token of a text, which is fed token by token."""
    program.reset()
    scores = [program.feed(prompt)]
    for token in text[:-1]:
        scores.append(program.feed([token]))
    return scores


class Exact:
    """The file's weights, widened by another reader, in double precision."""

    def __init__(self, path):
        self.m = transformers.AutoModelForCausalLM.from_pretrained(
            os.path.dirname(path), gguf_file=os.path.basename(path), dtype=torch.float32).double().eval()

    def follow(self, prompt, text):
        with torch.no_grad():
            return self.m(torch.tensor([prompt + text[:-1]])).logits[0, len(prompt) - 1:].numpy()


def gap(row):
    best = np.partition(row, -2)[-2:]
    return best[1] - best[0]


def parting(number, texts, scores, exact, n):
    """A row of the table; True where the texts part."""
    at = next((i for i in range(n) if texts[0][i] != texts[1][i]), None)
    if at is None:
        print("| %d | the same | | | | |" % number, flush=True)
        return False
    theirs, mine = texts[0][at], texts[1][at]
    row = exact[at]
    best = int(np.argmax(row))
    print("| %d | %d | %.3f | %.3f | %.3f | %s |" % (number, at, gap(scores[0][at]), gap(scores[1][at]), abs(row[theirs] - row[mine]),
          "llama.cpp" if best == theirs else "ours" if best == mine else "neither"), flush=True)
    return True


class Distance:
    """From the exact scores, over all places of all prompts."""

    def __init__(self, name):
        self.name, self.square, self.most, self.n, self.same, self.places, self.kl = name, 0.0, 0.0, 0, 0, 0, 0.0

    def add(self, got, want):
        for a, b in zip(got, want):
            off = (a - a.mean()) - (b - b.mean())  # what all scores have in common chooses nothing
            self.square, self.n, self.most = self.square + (off ** 2).sum(), self.n + off.size, max(self.most, np.abs(off).max())
            self.same, self.places = self.same + (np.argmax(a) == np.argmax(b)), self.places + 1
            p, q = (x - np.logaddexp.reduce(x) for x in (b, a))
            self.kl += (np.exp(p) * (p - q)).sum()

    def show(self):
        print("| %s | %.4f | %.2f | %.2e | %d of %d |" % (self.name, (self.square / self.n) ** 0.5, self.most, self.kl / self.places,
                                                     self.same, self.places), flush=True)


def pair(title, llama, others, exact, prompts, n):
    """llama.cpp beside the first of the others; all of them along llama.cpp's text."""
    print("\n%s\n\n| prompt | parts at | llama.cpp's gap | our gap | exact gap of the two tokens | exact prefers |\n"
          "|---|---|---|---|---|---|" % title)
    far, parted = [Distance(name) for name in ["llama.cpp", *others]], 0
    for number, prompt in enumerate(prompts):
        theirs, scores = write(llama, prompt, n)
        mine, my_scores = write(next(iter(others.values())), prompt, n)
        want = exact.follow(prompt, theirs)
        parted += parting(number + 1, (theirs, mine), (scores, my_scores), want, n)
        far[0].add(scores, want)
        for d, program in zip(far[1:], others.values()):
            d.add(follow(program, prompt, theirs), want)
    print("\n%d of %d texts are the same.\n\n| scores of | rms distance from exact | largest | KL | same best token |\n|---|---|---|---|---|" %
          (len(prompts) - parted, len(prompts)))
    for d in far:
        d.show()


def main(program, path, work, n_prompts=20, n=64):
    os.makedirs(work, exist_ok=True)
    plain = os.path.join(work, "f32.gguf")
    subprocess.run([program, "convert", path, plain, "--type", "f32", "--force", "-q"], check=True)
    llama, exact = Llama(path), Exact(os.path.abspath(path))
    prompts = [llama.tokens(p) for p in PROMPTS[:int(n_prompts)]]
    pair("%s, both as they are" % os.path.basename(path), llama,
         {"ours": Ours(path), "ours, `--act f32`": Ours(path, "f32", "f32")}, exact, prompts, int(n))
    pair("Its copy in f32, cache in f32", Llama(plain, F32), {"ours": Ours(plain, "f32", "f32")}, exact, prompts, int(n))
    os.remove(plain)


if __name__ == "__main__":
    if len(sys.argv) not in (4, 6):
        sys.exit(__doc__)
    main(*sys.argv[1:])
