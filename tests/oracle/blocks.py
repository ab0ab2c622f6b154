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
