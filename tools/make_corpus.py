#!/usr/bin/env python3
"""Write the training text of the bundled model; run by make_corpus.sh.

    bible -l79 gen1:1-rev22:21 | python3 tools/make_corpus.py Rdata.rdb corpus.txt

Rdata.rdb holds six R character vectors, one novel each, one string a printed line. A chapter of a
novel or of the Bible is one document: a heading line ("Emma, Chapter 3", "Genesis 3"), then its
paragraphs, one a line, with an empty line after each. A line of verse or of a letter's head, which
print indents, is a line of its own. Verse numbers, marks of italics, footnotes, title pages and the
editors' notes go; what is left is ASCII.

The works (six novels, 66 books) run side by side: a document comes where its middle lies within
its work. So every stretch of the text is a mixture of all long works, each in its own order, and
the last hundredths, held out to measure the model, are the ends of them all.
"""
import hashlib
import re
import struct
import sys
import zlib

R_HEAD = bytes.fromhex("580a 00000003 00040201 00030500 00000005") + b"UTF-8"  # written by R 4.2.1
R_STRINGS = 16
N_NOVELS, N_CHAPTERS = 6, 269
N_BOOKS, N_BIBLE_CHAPTERS, N_VERSES = 66, 1189, 31102

CHAPTER = re.compile(r"chapter [ivxl0-9]+$", re.I)
ENDING = re.compile(r"(finis|the end|volume [ivx]+)$", re.I)
VERSE = re.compile(r"  (\d+) (.*)")
BIBLE_HEADING = re.compile(r"((?:[123] )?[A-Z][A-Za-z ]*) \d+")


def expect(found, wanted, what):
    if found != wanted:
        sys.exit(f"make_corpus.py: {found} {what}, expected {wanted}")


def r_strings(data):
    """The strings of a serialised R character vector (XDR, version 3)."""
    expect(data[:len(R_HEAD)], R_HEAD, "starts the R data")
    kind, n = struct.unpack_from(">II", data, len(R_HEAD))
    expect(kind, R_STRINGS, "is the R type")
    at = len(R_HEAD) + 8
    strings = []
    for _ in range(n):
        _, n_bytes = struct.unpack_from(">II", data, at)
        strings.append(data[at + 8:at + 8 + n_bytes].decode())
        at += 8 + n_bytes
    expect(at, len(data), "bytes of R data read")
    return strings


def read_novels(path):
    """Lists of printed lines. A block is its unpacked size in 4 bytes, then a zlib stream."""
    with open(path, "rb") as f:
        rest = f.read()
    novels = []
    while rest:
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(rest[4:])
        expect(len(data), int.from_bytes(rest[:4], "big"), "bytes in a block")
        novels.append(r_strings(data))
        rest = unpacker.unused_data
    expect(len(novels), N_NOVELS, "novels")
    return novels


def plain(text):
    """Without marks of italics and footnotes, one space between words, ASCII."""
    text = re.sub(r"£([\d,]*\d)", r"\1 pounds", text)
    text = re.sub(r"[_*]", "", text)
    return " ".join(text.split())


def joined(lines):
    """A paragraph's lines as one; an indented line stays alone."""
    out = []
    joins = False
    for line in lines:
        indented = line.startswith("  ")
        if joins and not indented:
            out[-1] += " " + line
        else:
            out.append(line)
        joins = not indented
    return "\n".join(filter(None, map(plain, out)))


def paragraphs(lines):
    """The paragraphs of a chapter, which empty lines part."""
    text = "\n".join(line.rstrip() for line in lines)
    text = re.sub(r"^ *\[[^]]*\]$|^\*.*$", "", text, flags=re.M)  # editors' notes, a footnote
    blocks = (joined(block.split("\n")) for block in re.split(r"\n\n+", text))
    return [block for block in blocks if block]


def novel_chapters(lines):
    """Documents of a novel; chapters are counted through, whatever its volumes do."""
    title = lines[0].title().replace(" And ", " and ")
    starts = [i for i, line in enumerate(lines) if CHAPTER.match(line.strip())]
    ends = starts[1:] + [len(lines)]
    documents = []
    for number, (start, end) in enumerate(zip(starts, ends), 1):
        body = lines[start + 1:end]
        if "A NOTE ON THE TEXT" in body:
            body = body[:body.index("A NOTE ON THE TEXT")]
        body = [line for line in body if not ENDING.match(line.strip())]
        documents.append([f"{title}, Chapter {number}", *paragraphs(body)])
    return documents


def bible_books(lines):
    """Books as lists of documents; the verses of a chapter are joined to one paragraph."""
    books = {}
    document = ["", []]
    n_verses = 0
    for line in filter(None, map(str.rstrip, lines)):
        heading, verse = BIBLE_HEADING.fullmatch(line), VERSE.match(line)
        if verse:
            n_verses += 1
            document[1].append(verse[2])
        elif heading:
            document = [line, []]
            books.setdefault(heading[1], []).append(document)
        else:
            document[1].append(line)
    expect(n_verses, N_VERSES, "verses")
    return [[[head, plain(" ".join(text))] for head, text in book] for book in books.values()]


def interleave(works):
    """All documents as text, ordered by where the middle of each lies in its work, 0 to 1."""
    placed = []
    for number, work in enumerate(works):
        texts = ["\n\n".join(document) + "\n\n" for document in work]
        total = sum(map(len, texts))
        before = 0
        for text in texts:
            placed.append(((2 * before + len(text)) / (2 * total), number, text))
            before += len(text)
    return "".join(text for _, _, text in sorted(placed))


def main(novels_path, output):
    try:
        novels = [novel_chapters(lines) for lines in read_novels(novels_path)]
    except (zlib.error, struct.error, UnicodeDecodeError) as error:
        sys.exit(f"make_corpus.py: {novels_path} is not the file of janeaustenr: {error}")
    bible = bible_books(sys.stdin)
    expect(sum(map(len, novels)), N_CHAPTERS, "chapters in the novels")
    expect(len(bible), N_BOOKS, "books in the Bible")
    expect(sum(map(len, bible)), N_BIBLE_CHAPTERS, "chapters in the Bible")
    corpus = interleave(novels + bible).encode("ascii")
    with open(output, "wb") as f:
        f.write(corpus)
    print(f"{output}: {len(corpus)} bytes, SHA-256 {hashlib.sha256(corpus).hexdigest()}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: make_corpus.py Rdata.rdb OUTPUT < Bible")
    main(*sys.argv[1:])
