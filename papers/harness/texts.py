"""What runs read: the text of the bundled model (tools/make_corpus.sh), and parts of it."""

import os
import re
import subprocess

from .paper import ROOT
from .program import Failed

NOVEL = re.compile(rb"[A-Z][A-Za-z ]*, (?:Volume [IVX0-9]+, )?Chapter \d+$")
BIBLE = re.compile(rb"(?:[123] )?[A-Z][A-Za-z ]* \d+$")


def corpus(paper):
    """The path of novels and a Bible; of a small run, of the README some times over."""

    def make(path):
        if not paper.small:
            return subprocess.call(["sh", os.path.join(ROOT, "tools", "make_corpus.sh"), path], stdout=2) == 0
        with open(os.path.join(ROOT, "README.md"), "rb") as f, open(path, "wb") as out:
            out.write(f.read() * 4)
        return True

    path = paper.shared("corpus.txt", make)
    if path is None:
        raise Failed("the text is made of the Debian packages named above")
    return path


def parts(paper, cut):
    """The path of a folder of texts. cut(): {name: bytes} of all of them, called where they are not there yet."""

    def make(folder):
        found = cut()
        os.makedirs(folder)
        for name, part in found.items():
            with open(os.path.join(folder, name), "wb") as f:
                f.write(part)

    return paper.shared("texts", make)


def read_and_held_out(paper, n_held_out):
    """The paths of what all runs read, and of the last bytes of the text, which none of them does."""

    def cut():
        with open(corpus(paper), "rb") as f:
            text = f.read()
        return {"read.txt": text[:-n_held_out], "held-out.txt": text[-n_held_out:]}

    folder = parts(paper, cut)
    return os.path.join(folder, "read.txt"), os.path.join(folder, "held-out.txt")


def novels_and_bible(paper):
    """Both as bytes: a document is a heading and what follows it, and documents of both run side by side in the text.
    In a small run both are the README."""
    path, found, at = corpus(paper), {"novel": [], "bible": []}, None
    with open(path, "rb") as f:
        if paper.small:
            return [f.read()] * 2
        for line in f:
            bare = line.rstrip(b"\n")
            at = "novel" if NOVEL.match(bare) else "bible" if BIBLE.match(bare) else at
            if at is None:
                raise Failed(f"{path}: begins with no heading")
            found[at].append(line)
    return b"".join(found["novel"]), b"".join(found["bible"])
