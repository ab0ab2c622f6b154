#!/usr/bin/env python3
"""Write the vocabulary files of this folder and expected.tsv: a file and, behind a tab, what its
reader must say after the file's name, or "accepted".

    cd tests/data/vocab && python3 make.py
"""

BYTES = [f"{b + 1} {repr(chr(b)) if b < 128 else repr(bytes([b]))} 1" for b in range(256)]


def text(*lines, end="\n"):
    return "".join(line + end for line in lines).encode("utf-8", "surrogateescape")


def whole(*lines, end="\n"):
    """All single bytes, and lines 257 and following."""
    return text(*BYTES, *lines, end=end)


CASES = [
    # Accepted.
    ("bytes-only", whole(), "accepted"),
    ("crlf", whole("257 'the' 3", end="\r\n"), "accepted"),
    ("no-final-newline", whole("257 'the' 3")[:-1], "accepted"),
    ("escapes", whole(r"257 '\\\'\"\n\r\t\x7f' 7", r"258 '\xe9\u4f60\U0001f600' 9",
                      r"259 b'\xff\\\'\"\n' 5", "260 \"it's\" 4", "261 b\"'\\x80\" 2"), "accepted"),
    ("spaces", whole("257 '   ' 3", "258 ' a b ' 5"), "accepted"),
    ("any-order", whole("1048575 'zz' 2", "300 'aa' 2"), "accepted"),
    ("longest-token", whole("257 '" + 1024 * "a" + "' 1024"), "accepted"),
    # The frame of a line.
    ("no-spaces", text("1"), "line 1: expected an id, a literal and a length, separated by spaces"),
    ("one-space", text("1 'a'"), "line 1: expected an id, a literal and a length, separated by spaces"),
    ("blank-line", text(BYTES[0], "", BYTES[1]), "line 2: expected an id, a literal and a length, separated by spaces"),
    ("only-newlines", b"\n\n\n", "line 1: expected an id, a literal and a length, separated by spaces"),
    ("two-returns", b"1 'a' 1\r\r\n", "line 1: the length is no number in 1 .. 1024"),
    ("byte-order-mark", b"\xef\xbb\xbf" + text("1 'a' 1"), "line 1: the text ends without a token for the single byte 0x00"),
    ("nul-bytes", b"\0\0\0\0 \0\0 \0", "line 1: the id is no number in 1 .. 1048575"),
    # Ids.
    ("id-zero", text("0 'a' 1"), "line 1: the id is no number in 1 .. 1048575"),
    ("id-negative", text("-1 'a' 1"), "line 1: the id is no number in 1 .. 1048575"),
    ("id-leading-zero", text("01 'a' 1"), "line 1: the id is no number in 1 .. 1048575"),
    ("id-too-high", text("1048576 'a' 1"), "line 1: the id is no number in 1 .. 1048575"),
    ("id-of-64-bits", text("18446744073709551617 'a' 1"), "line 1: the id is no number in 1 .. 1048575"),
    ("id-missing", text(" 'a' 1"), "line 1: the id is no number in 1 .. 1048575"),
    ("id-hex", text("0x10 'a' 1"), "line 1: the id is no number in 1 .. 1048575"),
    ("id-twice", text("1 'a' 1", "2 'b' 1", "1 'c' 1"), "line 3: id 1 was given before"),
    # Lengths.
    ("length-zero", text("1 '' 0"), "line 1: the length is no number in 1 .. 1024"),
    ("length-missing", text("1 'a' "), "line 1: the length is no number in 1 .. 1024"),
    ("length-negative", text("1 'a' -1"), "line 1: the length is no number in 1 .. 1024"),
    ("length-too-high", text("1 '" + 1025 * "a" + "' 1025"), "line 1: the length is no number in 1 .. 1024"),
    ("length-of-characters", text("1 'é' 1"), "line 1: token 1 has 2 bytes, its length field says 1"),
    ("length-wrong", text("1 'a' 1", "2 'bc' 3"), "line 2: token 2 has 2 bytes, its length field says 3"),
    ("empty-token", text("1 '' 1"), "line 1: token 1 has 0 bytes, its length field says 1"),
    # Literals.
    ("no-quotes", text("1 a 1"), "line 1: token 1: no literal in quotes"),
    ("one-quote", text("1 ' 1"), "line 1: token 1: no literal in quotes"),
    ("one-quote-bytes", text("1 b' 1"), "line 1: token 1: no literal in quotes"),
    ("quotes-differ", text("1 'a\" 1"), "line 1: token 1: no literal in quotes"),
    ("empty-literal", text("1  1"), "line 1: token 1: no literal in quotes"),
    ("raw-prefix", text("1 r'a' 1"), "line 1: token 1: no literal in quotes"),
    ("format-prefix", text("1 f'{1}' 1"), "line 1: token 1: no literal in quotes"),
    ("triple-quotes", text("1 '''a''' 1"), "line 1: token 1: an unescaped quote inside"),
    ("two-literals", text("1 'a' 'b' 2"), "line 1: token 1: an unescaped quote inside"),
    ("expression", text("1 'a'*9999999+'a' 2"), "line 1: token 1: an unescaped quote inside"),
    ("call", text("1 __import__('os') 1"), "line 1: token 1: no literal in quotes"),
    ("ends-in-escape", text("1 '\\' 1"), "line 1: token 1: it ends inside an escape"),
    ("unknown-escape", text(r"1 '\a' 1"), "line 1: token 1: an unknown escape"),
    ("octal-escape", text(r"1 '\101' 1"), "line 1: token 1: an unknown escape"),
    ("named-escape", text(r"1 '\N{BULLET}' 3"), "line 1: token 1: an unknown escape"),
    ("u-in-bytes", text(r"1 b'\u0041' 1"), "line 1: token 1: an unknown escape"),
    ("short-x", text(r"1 '\x4' 1"), "line 1: token 1: an escape lacks hexadecimal digits"),
    ("bad-x", text(r"1 '\x4g' 1"), "line 1: token 1: an escape lacks hexadecimal digits"),
    ("short-u", text(r"1 '\u004' 1"), "line 1: token 1: an escape lacks hexadecimal digits"),
    ("short-U", text(r"1 '\U0001f60' 4"), "line 1: token 1: an escape lacks hexadecimal digits"),
    ("surrogate", text(r"1 '\ud800' 3"), "line 1: token 1: an escape names a surrogate or a code point above U+10FFFF"),
    ("above-unicode", text(r"1 '\U00110000' 4"), "line 1: token 1: an escape names a surrogate or a code point above U+10FFFF"),
    ("huge-U", text(r"1 '\Uffffffff' 4"), "line 1: token 1: an escape names a surrogate or a code point above U+10FFFF"),
    ("control", b"1 'a\tb' 3\n", "line 1: token 1: an unescaped control character"),
    ("nul-inside", b"1 'a\0b' 3\n", "line 1: token 1: an unescaped control character"),
    ("not-utf8", b"1 '\xff' 1\n", "line 1: token 1: bytes that are not UTF-8"),
    ("overlong", b"1 '\xc0\x80' 2\n", "line 1: token 1: bytes that are not UTF-8"),
    ("raw-surrogate", b"1 '\xed\xa0\x80' 3\n", "line 1: token 1: bytes that are not UTF-8"),
    ("cut-utf8", b"1 '\xe4\xbd' 2\n", "line 1: token 1: bytes that are not UTF-8"),
    ("raw-in-bytes", b"1 b'\xc3\xa9' 2\n", "line 1: token 1: an unescaped byte above 127 in a bytes literal"),
    # The whole.
    ("bytes-twice", whole("257 'ab' 2", "258 'cd' 2", r"259 b'\x61b' 2"),
     "line 259: token 259 has the same bytes as token 257 in line 257"),
    ("byte-missing", text(*BYTES[:255]), "line 255: the text ends without a token for the single byte 0xff"),
    ("cut", whole("257 'the' 3")[:-3], "line 257: expected an id, a literal and a length, separated by spaces"),
]


def main():
    with open("expected.tsv", "w") as table:
        for name, data, expected in CASES:
            with open(name + ".txt", "wb") as f:
                f.write(data)
            table.write(f"{name}.txt\t{expected}\n")


main()
