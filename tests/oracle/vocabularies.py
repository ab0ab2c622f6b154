#!/usr/bin/env python3
"""Do our tokenizers give the tokens that the packages of PyPI give? And how fast are both?

    tests/oracle/vocabularies.py LIBRK.so world [MEGABYTES]                     (needs `rwkv`)
    tests/oracle/vocabularies.py LIBRK.so bpe TOKENIZER.json [MEGABYTES]        (needs `tokenizers`)
    tests/oracle/vocabularies.py golden                                         (needs both)

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
        self.tokenizer = tokenizers.Tokenizer.from_file(path)

    def encode(self, text):
        text = text.decode("utf-8", errors="replace")
        begin = time.thread_time()
        ids = self.tokenizer.encode(text).ids
        return ids, time.thread_time() - begin


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
    for name, theirs, more in (("world", World(), [rng.randbytes(50) for _ in range(10)]), ("small", Bpe(str(small)), [])):
        with open(folder / (name + ".txt"), "w") as f:
            for text in texts + more:
                f.write(text.hex() + " " + ",".join(map(str, theirs.encode(text)[0])) + "\n")


def main():
    if sys.argv[1:] == ["golden"]:
        golden()
    elif len(sys.argv) > 2 and sys.argv[2] == "world":
        compare(Ours(sys.argv[1], "world"), World(), mixed(int((sys.argv[3:] or ["100"])[0]), True))
    elif len(sys.argv) > 3 and sys.argv[2] == "bpe":
        compare(Ours(sys.argv[1], sys.argv[3]), Bpe(sys.argv[3]), mixed(int((sys.argv[4:] or ["10"])[0]), False))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
