#!/usr/bin/env python3
"""Print the golden blocks of tests/kernels/test_blocks.c: random bytes with small scales, and some of
the floats that the `gguf` package (and numpy) of PyPI makes of them.

    tests/oracle/blocks.py
"""
import gguf
import numpy as np
from gguf import quants

SCALES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82],
          "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}
SHOWN = [0, 1, 15, 16, 17, 31, 32, 63, 64, 100, 127, 128, 160, 200, 255]

random = np.random.default_rng(1)
for name, places in SCALES.items():
    kind = gguf.GGMLQuantizationType[name]
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    raw = random.integers(0, 256, size=(1, size), dtype=np.uint8)
    for i, at in enumerate(places):
        raw[0, at:at + 2] = np.frombuffer(np.float16(0.03125 * (i + 1) + 0.01).tobytes(), np.uint8)
    y = quants.dequantize(raw, kind).astype(np.float64).reshape(-1)
    values = ", ".join("{%d, %.9g}" % (i, y[i]) for i in SHOWN if i < elements)
    print('{RK_%s, "%s", {%s}},' % (name, raw.tobytes().hex(), values))


def draws(n):
    """The numbers of tests/kernels/test_blocks.c: products of two draws of a linear generator."""
    state, out = 12345, np.empty(n, np.float32)
    for i in range(n):
        pair = []
        for _ in range(2):
            state = (1664525 * state + 1013904223) % 2 ** 32
            pair.append(np.float32((state >> 8) / 2.0 ** 23 - 1))
        out[i] = pair[0] * pair[1]
    return out


def fnv(data):
    h = 0xCBF29CE484222325
    for byte in data:
        h = (h ^ byte) * 0x100000001B3 % 2 ** 64
    return h


# Rounding, as ggml's own library does it: blocks where bits are promised, errors where they are not.
import ctypes
import glob
import os
import llama_cpp

library = ctypes.CDLL(glob.glob(os.path.join(os.path.dirname(llama_cpp.__file__), "lib", "libggml-base.so"))[0])
library.ggml_quantize_chunk.restype = ctypes.c_size_t
x = draws(8192)
for name in ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"]:
    kind = gguf.GGMLQuantizationType[name]
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    out = np.zeros(len(x) // elements * size, np.uint8)
    library.ggml_quantize_chunk(ctypes.c_int(kind.value), x.ctypes.data_as(ctypes.c_void_p),
                                out.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(0), ctypes.c_int64(1),
                                ctypes.c_int64(len(x)), None)
    error = quants.dequantize(out.reshape(1, -1), kind).reshape(-1).astype(np.float64) - x
    print("{RK_%s, 0x%016x, %.9g}," % (name, fnv(out.tobytes()), np.mean(error ** 2)))
