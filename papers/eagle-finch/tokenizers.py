"""The World vocabulary: bytes of text that a token stands for, by language, and speed beside packages.

Text in 28 languages is that of chatterbot-corpus (PyPI, BSD-3); the packages are those that a user of
RWKV would take. All are downloaded with pip, which the small run leaves out.
"""

import glob
import json
import os
import subprocess
import sys

from harness import ROOT, Cell, fetched, table

TEXTS = "chatterbot-corpus==1.3.3"
ENOUGH = 4000  # bytes; languages with less text are left out
ROUNDS = 5

# How each package encodes a file; it prints the seconds of the fastest round and the number of ids.
TIMED = """
import json, sys, time
text = open(sys.argv[1], encoding="utf-8").read()
{setup}
best = 1e9
for _ in range({rounds}):
    began = time.perf_counter()
    ids = {encode}
    best = min(best, time.perf_counter() - began)
print(json.dumps([best, len(ids)]))
"""
PACKAGES = {
    "pyrwkv-tokenizer==0.9.1": ("from pyrwkv_tokenizer import RWKVTokenizer\nt = RWKVTokenizer()",
                                "t.encode(text)"),
    "rwkv==0.8.32": ("import importlib.util, os\n"
                     "where = next(p for p in sys.path if os.path.isdir(p + '/rwkv')) + '/rwkv/'\n"
                     "spec = importlib.util.spec_from_file_location('t', where + 'rwkv_tokenizer.py')\n"
                     "m = importlib.util.module_from_spec(spec); spec.loader.exec_module(m)\n"
                     "t = m.TRIE_TOKENIZER(where + 'rwkv_vocab_v20230424.txt')", "t.encode(text)"),
}
OURS = ("import rwkv_c\nt = rwkv_c.Tokenizer('world')", "t.encode(text)")


def texts(paper):
    """{language: text}, the sentences of its dialogues; of the small run, one made up here."""
    folder = None if paper.small else fetched(paper, TEXTS)
    if folder is None:
        return {"english": "The state is as large after a million tokens as after one. " * 80}
    found = {}
    for home in sorted(glob.glob(folder + "/chatterbot_corpus/data/*")):
        lines = []
        for path in sorted(glob.glob(home + "/*.yml")):
            with open(path, encoding="utf-8") as f:
                lines += [line.strip("- \n\"'") for line in f if line.lstrip().startswith("-")]
        text = "\n".join(lines) + "\n"
        if len(text.encode()) >= ENOUGH:
            found[os.path.basename(home)] = text
    return found


def timed(setup, encode, text_path, **environment):
    code = TIMED.format(setup=setup, encode=encode, rounds=ROUNDS)
    out = subprocess.run([sys.executable, "-c", code, text_path], capture_output=True, text=True,
                         env=dict(os.environ, **environment), check=False)
    return json.loads(out.stdout) if out.returncode == 0 else None


def compression_cell(paper):
    def work(folder):
        sizes = {}
        for language, text in texts(paper).items():
            path = os.path.join(folder, language + ".txt")
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)
            ids = paper.program.json("tokenize", "--vocab", "world", "-f", path)["tokens"]
            sizes[language] = [len(text.encode()), len(text), len(ids)]
        return {"sizes": sizes}

    return Cell("compression", {"vocabulary": "world"}, work)


def speed_cell(paper):
    def work(folder):
        path = os.path.join(folder, "all.txt")
        with open(path, "w", encoding="utf-8") as f:
            f.write("".join(texts(paper).values()))
        ours = timed(*OURS, path, PYTHONPATH=os.path.join(ROOT, "bindings", "python"),
                     RWKV_C_LIBRARY=os.path.join(os.path.dirname(paper.program.path), "librk.so"))
        found = {"rwkv.c": ours}
        for package, (setup, encode) in {} if paper.small else PACKAGES.items():
            home = fetched(paper, package)
            found[package] = home and timed(setup, encode, path, PYTHONPATH=home)
        return {"bytes": os.path.getsize(path), "seconds_and_ids": found}

    return Cell("tokenizer speed", {}, work)


def cells(paper):
    return [compression_cell(paper), speed_cell(paper)]


def report(paper):
    text = ("## The World vocabulary\n\nBytes and characters of text that a token stands for; with a "
            "byte vocabulary the first is 1.\n\n")
    for _, r in paper.results("compression"):
        rows = [[language, n_bytes, f"{n_bytes / n_ids:.2f}", f"{n_chars / n_ids:.2f}"]
                for language, (n_bytes, n_chars, n_ids) in
                sorted(r["sizes"].items(), key=lambda i: -i[1][0] / i[1][2])]
        text += table(["language", "bytes", "bytes a token", "characters a token"], rows)
    for _, r in paper.results("tokenizer speed"):
        ours = r["seconds_and_ids"]["rwkv.c"]
        rows = []
        for name, found in r["seconds_and_ids"].items():
            same = found and ours and found[1] == ours[1]
            rows.append([name, f"{found[0] / ours[0]:.1f}" if found else "not to be had",
                         ("yes" if same else "no") if found else "-"])
        text += (f"\nTime to encode these {r['bytes']} bytes from Python, against rwkv.c, the fastest of "
                 f"{ROUNDS} rounds each.\n\n" + table(["package", "time", "as many tokens"], rows))
    return text
