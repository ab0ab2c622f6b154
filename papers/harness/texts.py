"""The text of the bundled model, told apart again: novels and a Bible (tools/make_corpus.py)."""

import os
import re
import subprocess

from .program import Failed

NOVEL = re.compile(rb"[A-Z][A-Za-z ]*, (?:Volume [IVX0-9]+, )?Chapter \d+$")
BIBLE = re.compile(rb"(?:[123] )?[A-Z][A-Za-z ]* \d+$")


def novels_and_bible(root, path):
    """Both as bytes, from the text that tools/make_corpus.sh writes to path: a document is a heading and what follows
    it, and documents of both run side by side there. None: the Debian packages that it is made of are missing."""
    if subprocess.call(["sh", os.path.join(root, "tools", "make_corpus.sh"), path], stdout=2) != 0:
        return None
    parts, at = {"novel": [], "bible": []}, None
    with open(path, "rb") as f:
        for line in f:
            bare = line.rstrip(b"\n")
            at = "novel" if NOVEL.match(bare) else "bible" if BIBLE.match(bare) else at
            if at is None:
                raise Failed(f"{path}: begins with no heading")
            parts[at].append(line)
    return b"".join(parts["novel"]), b"".join(parts["bible"])
