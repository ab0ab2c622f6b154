#!/usr/bin/env python3
"""Write src/text/world_vocab.c, the built-in form of the RWKV World vocabulary.

    python3 tools/make_world_vocab.py rwkv_vocab_v20230424.txt src/text/world_vocab.c
    python3 tools/make_world_vocab.py --check rwkv_vocab_v20230424.txt src/text/world_vocab.c

The text file lists `<id> <Python literal> <length>`. Ids follow the order (length, bytes) from 1
on, so they need not be stored: the tokens are sorted as byte strings and front-coded, each as one
byte for the length it shares with the token before it, one byte for the length of the rest, and
the rest. The bytes are packed into 64-bit words, lowest byte first, because compilers read long
lists of words much faster than lists of bytes, and string literals of this size are not C11.

--check decodes the C file again and compares it with the text, token by token.
"""
import ast
import hashlib
import re
import sys

SHA256 = "e6dee3d4e31b4d5c40ac99508ac6c701ceef4bed681bf2167ce9a908552bca89"  # with LF line ends


def read_text(path):
    """Tokens in the order of their ids 1, 2, ..."""
    with open(path, "rb") as f:
        text = f.read().replace(b"\r\n", b"\n")
    found = hashlib.sha256(text).hexdigest()
    if found != SHA256:
        sys.exit(f"{path}: its SHA-256 is {found}, expected {SHA256}")
    tokens = []
    for line in text.decode().split("\n")[:-1]:
        number, rest = line.split(" ", 1)
        literal, length = rest.rsplit(" ", 1)
        token = ast.literal_eval(literal)
        token = token.encode() if isinstance(token, str) else token
        assert int(number) == len(tokens) + 1 and int(length) == len(token)
        tokens.append(token)
    assert tokens == sorted(tokens, key=lambda t: (len(t), t))
    return tokens


def common_prefix(a, b):
    n = 0
    while n < len(a) and n < len(b) and a[n] == b[n]:
        n += 1
    return n


def encode(tokens):
    out, previous = bytearray(), b""
    for token in sorted(tokens):
        shared = common_prefix(previous, token)
        out += bytes([shared, len(token) - shared]) + token[shared:]
        previous = token
    return bytes(out)


def decode(packed):
    tokens, previous, at = [], b"", 0
    while at < len(packed):
        shared, rest = packed[at], packed[at + 1]
        previous = previous[:shared] + packed[at + 2 : at + 2 + rest]
        tokens.append(previous)
        at += 2 + rest
    return sorted(tokens, key=lambda t: (len(t), t))


def listing_sha256(tokens):
    """Of lines `<id> <bytes in hex>`: what the tests compute from the built-in form."""
    lines = "".join(f"{i} {t.hex()}\n" for i, t in enumerate(tokens, 1))
    return hashlib.sha256(lines.encode()).hexdigest()


def write_c(path, tokens):
    packed = encode(tokens)
    padded = packed + bytes(-len(packed) % 8)
    words = [f"0x{int.from_bytes(padded[i : i + 8], 'little'):016x}" for i in range(0, len(padded), 8)]
    with open(path, "w") as f:
        f.write(f"""/* world_vocab.c: the RWKV World vocabulary, made by tools/make_world_vocab.py from
 * rwkv_vocab_v20230424.txt; origin and licence (Apache-2.0): world_vocab.md.
 * SHA-256 of that text: {SHA256}
 * SHA-256 of lines "<id> <bytes in hex>": {listing_sha256(tokens)} */
#include "text/world_vocab.h"

const rk_packed_vocab rk_world_vocab = {{
    .n_tokens = {len(tokens)},
    .token_bytes = {sum(map(len, tokens))},
    .packed_bytes = {len(packed)},
    .words = (const uint64_t[]){{
        /* clang-format off */
""")
        for i in range(0, len(words), 5):
            f.write(",".join(words[i : i + 5]) + ",\n")
        f.write("        /* clang-format on */\n    },\n};\n")


def check_c(path, tokens):
    with open(path) as f:
        source = f.read()
    n_bytes = int(re.search(r"\.packed_bytes = (\d+)", source).group(1))
    words = re.findall(r"0x([0-9a-f]{16})\b", source)
    packed = b"".join(int(w, 16).to_bytes(8, "little") for w in words)[:n_bytes]
    if decode(packed) != tokens:
        sys.exit(f"{path}: does not hold the tokens of the text")
    print(f"{path}: {len(tokens)} tokens agree, {n_bytes} bytes packed, listing "
          f"{listing_sha256(tokens)}")


def main():
    args = sys.argv[1:]
    check = args[:1] == ["--check"]
    if len(args) != 2 + check:
        sys.exit(__doc__)
    tokens = read_text(args[-2])
    (check_c if check else write_c)(args[-1], tokens)


main()
