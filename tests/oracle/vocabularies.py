#!/usr/bin/env python3
"""Do our tokenizers give the tokens that the packages of PyPI give? And how fast are both?

    tests/oracle/vocabularies.py LIBRK.so world [MEGABYTES]                     (needs `rwkv`)
    tests/oracle/vocabularies.py LIBRK.so bpe TOKENIZER.json [MEGABYTES]        (needs `tokenizers`)
    tests/oracle/vocabularies.py LIBRK.so trained FOLDER [MEGABYTES]            (needs `tokenizers`)
    tests/oracle/vocabularies.py LIBRK.so llama.cpp FOLDER
    tests/oracle/vocabularies.py LIBRK.so gguf FILE.gguf [MEGABYTES]            (needs `tokenizers`, `gguf`)
    tests/oracle/vocabularies.py golden                                         (needs both)

`trained` makes a vocabulary of each known pattern in FOLDER, unless it lies there, and compares it. `llama.cpp`
takes the cases of llama.cpp's own vocabularies, ggml-vocab-*.gguf.inp and .out in vendor/llama.cpp/models/ of
the source package of llama-cpp-python. `gguf` builds a tokenizer of `tokenizers` of what the file holds.
The text is mixed: what Debian has under /usr/share/doc and in python3.11-doc, perl-doc, fortunes-zh;
made-up Chinese, Japanese, Korean, emoji, marks, code; and for World random bytes. `golden` writes
tests/data/tokens: a small vocabulary trained by `tokenizers` on this project's pages, and texts with the
tokens that the packages make of them, one a line in hexadecimal. 20B_tokenizer.json, which RWKV-4 Pile models
use, comes with them.
"""
import ctypes
import gzip
import importlib.util
import os
import pathlib
import random
import sys
import time
from array import array

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DOCS = ["/usr/share/doc", "/usr/share/perl", "/usr/share/games/fortunes", "/usr/share/common-licenses"]
PIECE = 200_000  # bytes or characters that are compared at once


class Ours:
    def __init__(self, library, name):
        self.lib = ctypes.CDLL(os.path.abspath(library))
        self.lib.rk_tokenizer_encode.restype = ctypes.c_int64
        self.lib.rk_tokenizer_encode.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t,
                                                 ctypes.c_void_p, ctypes.c_int64]
        self.handle, err = ctypes.c_void_p(), ctypes.create_string_buffer(512)
        if self.lib.rk_tokenizer_new(ctypes.byref(self.handle), name.encode(), err):
            sys.exit(err.raw[4:].split(b"\0")[0].decode())
        self.room = array("i", bytes(4 * 16 * PIECE))

    def encode(self, text):
        """The tokens of bytes, and the seconds it took."""
        at, max = self.room.buffer_info()
        begin = time.thread_time()
        n = self.lib.rk_tokenizer_encode(self.handle, text, len(text), at, max)
        return self.room[:n].tolist(), time.thread_time() - begin


class World:
    """The rwkv package's tokenizer; its module is loaded without the package, which needs torch."""

    def __init__(self):
        folder = pathlib.Path(importlib.util.find_spec("rwkv").submodule_search_locations[0])
        spec = importlib.util.spec_from_file_location("rwkv_tokenizer", folder / "rwkv_tokenizer.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.tokenizer = module.TRIE_TOKENIZER(str(folder / "rwkv_vocab_v20230424.txt"))

    def encode(self, text):
        begin = time.thread_time()
        ids = self.tokenizer.encodeBytes(text)
        return ids, time.thread_time() - begin


class Bpe:
    def __init__(self, path):
        import tokenizers
        self.tokenizer = tokenizers.Tokenizer.from_file(path) if isinstance(path, str) else path

    def encode(self, text):
        text = text.decode("utf-8", errors="replace")
        begin = time.thread_time()
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids, time.thread_time() - begin


# ------------------------------------------------------------------------- patterns and trained ones

SHORT = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
PATTERNS = {"qwen2": SHORT + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + REST,
            "llama-bpe": SHORT + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + REST,
            "qwen35": SHORT + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
                      r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"}
NFC = ("qwen2", "deepseek-r1-qwen", "mpt")
LIKE = {"deepseek-r1-qwen": "qwen2", "starcoder": "smollm", "refact": "smollm", "mpt": "gpt-2"}


def untrained(name, model):
    """A tokenizer of `tokenizers` that cuts texts as a row of src/text/pre_tokenizer.c does."""
    import tokenizers
    from tokenizers import decoders, normalizers, pre_tokenizers, processors
    t = tokenizers.Tokenizer(model)
    row = LIKE.get(name, name)
    level = lambda regex: pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=regex)
    if row in PATTERNS:
        steps = [pre_tokenizers.Split(tokenizers.Regex(PATTERNS[row]), "isolated"), level(False)]
    else:
        steps = [pre_tokenizers.Digits(True)] * (row == "smollm") + [level(True)]
    t.pre_tokenizer = pre_tokenizers.Sequence(steps)
    if name in NFC:
        t.normalizer = normalizers.NFC()
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    t.decoder = decoders.ByteLevel()
    return t


def train(name, path, vocab_size, texts):
    """Special tokens come first; of what comes behind, one is found in a text and shown."""
    from tokenizers import AddedToken, models, pre_tokenizers, trainers
    t = untrained(name, models.BPE(ignore_merges=name == "llama-bpe"))
    t.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    t.add_tokens([AddedToken("<tool_call>", normalized=False)])
    t.save(str(path), pretty=False)


def trained(library, folder, megabytes):
    pathlib.Path(folder).mkdir(exist_ok=True)
    for name in ["qwen2", "llama-bpe", "smollm", "gpt-2", "qwen35"]:
        path = pathlib.Path(folder) / (name + ".json")
        if not path.exists():
            train(name, path, 16000, (text.decode(errors="replace") for text in mixed(8, False)))
        print(name, end=": ", flush=True)
        compare(Ours(library, str(path)), Bpe(str(path)), mixed(megabytes, True))


def of_gguf(path):
    """A tokenizer of `tokenizers` with the vocabulary of a GGUF file."""
    from gguf import GGUFReader
    from tokenizers import AddedToken, models
    fields = GGUFReader(path).fields
    get = lambda key: fields["tokenizer.ggml." + key].contents()
    tokens, kinds = get("tokens"), get("token_type")
    highest = max(i for i, kind in enumerate(kinds) if kind == 1)
    vocab = {t: i for i, t in enumerate(tokens) if i <= highest}
    t = untrained(get("pre"), models.BPE(vocab=vocab, merges=[tuple(m.split(" ")) for m in get("merges")],
                                         ignore_merges=get("pre") == "llama-bpe"))
    last = max(i for i, kind in enumerate(kinds) if kind not in (5,))
    t.add_special_tokens([AddedToken(tokens[i], normalized=False, special=True)
                          for i in range(last + 1) if kinds[i] != 1])
    return t


def llama_cpp(library, folder):
    checked = 0
    for cases in sorted(pathlib.Path(folder).glob("ggml-vocab-*.gguf.inp")):
        try:
            ours = Ours(library, str(cases)[:-4])
        except SystemExit as why:
            print("passed over:", why)
            continue
        texts = cases.read_bytes().split(b"\n__ggml_vocab_test__\n")
        wants = pathlib.Path(str(cases)[:-4] + ".out").read_text().split("\n")[:-1]
        texts = texts[:-1] if texts[-1] == b"" and len(texts) > len(wants) else texts
        assert len(texts) == len(wants), (len(texts), len(wants))
        for text, want in zip(texts, wants):
            got = ours.encode(text)[0]
            if got != [int(x) for x in want.split()]:
                sys.exit(f"{cases}: {text!r}: {got}, expected {want}")
            checked += 1
        print(f"{cases.name}: {len(texts)} cases")
    if not checked:
        sys.exit("no cases in " + folder)


# ------------------------------------------------------------------------------------------- texts


RANGES = {"han": (0x4e00, 0x9fff), "kana": (0x3041, 0x30ff), "hangul": (0xac00, 0xd7a3),
          "jamo": (0x1100, 0x11ff), "emoji": (0x1f300, 0x1faff), "latin": (0xa0, 0x24f),
          "marks": (0x300, 0x36f), "greek": (0x370, 0x3ff), "cyrillic": (0x400, 0x4ff),
          "arabic": (0x600, 0x6ff), "indic": (0x900, 0xdff), "spaces": (0x2000, 0x2064),
          "plane0": (0x80, 0xd7ff), "all": (0xe000, 0x10ffff)}
WORDS = "the of and a to in he have it that for they I with as not on she at by this we you do but from or " \
        "which one would all will there say who make when can more if no man out other so what time up go " \
        "about than into could state only new year some take come these know see use get like then first any " \
        "now give day most us don't we'll it's I'm they've you're he'd".split()
JOINTS = [" ", " ", " ", " ", ", ", ". ", "\n", "\n\n", "  ", "    ", "\t", " - ", "...", "'", "\"", "\r\n", "\u00a0",
          " \n ", "                                ", "<|endoftext|>", " 1", "23", "2026", "!?", "_", "/"]


def made_up(rng, n):
    """About n characters of a random kind of text."""
    out = []
    kinds = rng.sample(sorted(RANGES), 2)
    while n > 0:
        how = rng.random()
        if how < 0.4:
            piece = rng.choice(WORDS) + rng.choice(JOINTS)
        elif how < 0.5:
            piece = rng.choice(JOINTS) * rng.randrange(1, 5)
        elif how < 0.6:
            base = rng.choice("aeiounAEOcCsSzZ\u1112\u0915\u05d0") + rng.choice(WORDS)[:1]
            piece = base[:1] + "".join(chr(rng.randrange(*RANGES["marks"])) for _ in range(rng.randrange(4))) + base[1:]
        else:
            low, high = RANGES[rng.choice(kinds)]
            piece = "".join(chr(rng.randrange(low, high + 1)) for _ in range(rng.randrange(1, 12)))
        out.append(piece)
        n -= len(piece)
    return "".join(out)


def documents():
    for folder in DOCS:
        for path in sorted(pathlib.Path(folder).rglob("*")):
            try:
                if not path.is_file() or path.is_symlink():
                    continue
                data = gzip.open(path).read() if path.suffix == ".gz" else path.read_bytes()
            except OSError:
                continue
            if b"\0" not in data[:1000]:
                yield data


def mixed(megabytes, random_bytes):
    """Pieces of text: five sixths documents, the rest made up."""
    rng = random.Random(1)
    left, docs = megabytes * 1_000_000, documents()
    while left > 0:
        pieces = [made_up(rng, PIECE // 8).encode(), rng.randbytes(PIECE // 16) if random_bytes else b""]
        doc = b""
        while len(doc) < PIECE:
            more = next(docs, None)
            if more is None:
                break
            doc += more
        if not doc:
            pieces *= 4
        for piece in [doc[i:i + 2 * PIECE] for i in range(0, len(doc), 2 * PIECE)] + pieces:
            if piece and left > 0:
                yield piece
                left -= len(piece)


def compare(ours, theirs, texts):
    n = tokens = 0
    seconds = [0.0, 0.0]
    for text in texts:
        a, t0 = ours.encode(text)
        b, t1 = theirs.encode(text)
        if a != b:
            at = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
            sys.exit(f"tokens differ after {n} bytes, at token {at} of a piece: {a[at:at + 8]} {b[at:at + 8]}")
        n += len(text)
        tokens += len(a)
        seconds[0] += t0
        seconds[1] += t1
    print(f"{n / 1e6:.1f} MB, {tokens} tokens: identical; ours {n / 1e6 / seconds[0]:.1f} MB/s, "
          f"theirs {n / 1e6 / seconds[1]:.2f} MB/s, in CPU time of one thread")


# ------------------------------------------------------------------------------------------ golden


def train_small(path):
    import tokenizers
    from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers
    t = tokenizers.Tokenizer(models.BPE())
    t.normalizer = normalizers.NFC()
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.post_processor = processors.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel(add_prefix_space=False)
    files = sorted(map(str, [*(ROOT / "docs").glob("*.md"), ROOT / "README.md"]))
    t.train(files, trainers.BpeTrainer(vocab_size=600, special_tokens=["<|endoftext|>", "<|padding|>"],
                                       initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    t.add_tokens([tokenizers.AddedToken(" " * n, normalized=True) for n in range(24, 1, -1)])
    t.save(str(path), pretty=False)


def golden():
    folder = ROOT / "tests" / "data" / "tokens"
    folder.mkdir(exist_ok=True)
    small = folder / "small.json"
    if not small.exists():
        train_small(small)
    rng = random.Random(2)
    texts = [made_up(rng, rng.randrange(1, 150)).encode() for _ in range(60)] + [b" " * n for n in range(60, 0, -9)]
    pages = [path.read_text() for path in sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md"])]
    broken = [rng.randbytes(30) + made_up(rng, 40).encode()[:-1] for _ in range(10)]
    kinds = [("small", Bpe(str(small)), [])]
    if importlib.util.find_spec("rwkv"):
        kinds.append(("world", World(), [rng.randbytes(50) for _ in range(10)]))
    for name in ("qwen2", "llama-bpe", "smollm"):
        path = folder / (name + ".json")
        if not path.exists():
            train(name, path, 600, pages)
        kinds.append((name, Bpe(str(path)), broken + [b"<|im_start|>user\nI'M 12345 <tool_call>\xc5\xbf'\xc5\xbf<|im_end|>\n"]))
    for name, theirs, more in kinds:
        with open(folder / (name + ".txt"), "w") as f:
            for text in texts + more:
                f.write(text.hex() + " " + ",".join(map(str, theirs.encode(text)[0])) + "\n")


def main():
    if sys.argv[1:] == ["golden"]:
        golden()
    elif len(sys.argv) > 2 and sys.argv[2] == "world":
        compare(Ours(sys.argv[1], "world"), World(), mixed(int((sys.argv[3:] or ["100"])[0]), True))
    elif len(sys.argv) > 3 and sys.argv[2] == "trained":
        trained(sys.argv[1], sys.argv[3], int((sys.argv[4:] or ["20"])[0]))
    elif len(sys.argv) > 3 and sys.argv[2] == "llama.cpp":
        llama_cpp(sys.argv[1], sys.argv[3])
    elif len(sys.argv) > 3 and sys.argv[2] == "gguf":
        compare(Ours(sys.argv[1], sys.argv[3]), Bpe(of_gguf(sys.argv[3])), mixed(int((sys.argv[4:] or ["10"])[0]), True))
    elif len(sys.argv) > 3 and sys.argv[2] == "bpe":
        compare(Ours(sys.argv[1], sys.argv[3]), Bpe(sys.argv[3]), mixed(int((sys.argv[4:] or ["10"])[0]), False))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
