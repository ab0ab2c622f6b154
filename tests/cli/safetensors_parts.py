"""The header and the data of a .safetensors file, as the scripts of this folder read and write them."""

import json
import struct


def read(path):
    """(header, bytes behind it)"""
    with open(path, "rb") as f:
        n, = struct.unpack("<Q", f.read(8))
        return json.loads(f.read(n)), f.read()


def write(path, head, data):
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)
