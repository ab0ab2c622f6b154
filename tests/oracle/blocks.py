#!/usr/bin/env python3
"""Our rounding to blocks beside that of ggml's own library (needs gguf, llama-cpp-python of PyPI, and cc).

    tests/oracle/blocks.py [MODEL.safetensors...]   numbers of many kinds and the models' matrices: the same bits
                                                    in blocks of 32, no larger error in blocks of 256; seconds
    tests/oracle/blocks.py --goldens                print the tables of tests/kernels/test_blocks.c
"""
import ctypes
import glob
import importlib.util
import json
import os
import platform
import struct
import subprocess
import sys
import tempfile
import time

import gguf
import numpy as np
from gguf import quants

SCALES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82],
          "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}
SHOWN = [0, 1, 15, 16, 17, 31, 32, 63, 64, 100, 127, 128, 160, 200, 255]
OURS = {name: 7 + i for i, name in enumerate(SCALES)}  # rk_dtype of base/dtype.h
WRITTEN = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"]
DRAWN = ["product", "sum", "tailed", "constant", "zero", "tiny", "large"]


def drawn(kind):
    """The numbers of tests/kernels/test_blocks.c: of two draws of a linear generator each."""
    state, out = 12345, np.empty(8192, np.float32)
    for i in range(len(out)):
        a, b = np.float32(0), np.float32(0)
        for _ in range(2):
            state = (1664525 * state + 1013904223) % 2 ** 32
            a, b = b, np.float32((state >> 8) / 2.0 ** 23 - 1)
        p = a * b
        out[i] = {"product": p, "sum": a + b, "tailed": p * p * p * np.float32(8), "constant": np.float32(0.375),
                  "zero": np.float32(0), "tiny": p * np.float32(1e-6), "large": p * np.float32(30000)}[kind]
    return out


def fnv(data):
    h = 0xCBF29CE484222325
    for byte in data:
        h = (h ^ byte) * 0x100000001B3 % 2 ** 64
    return h


def pointer(a):
    return a.ctypes.data_as(ctypes.c_void_p)


def peer():
    folder = os.path.join(os.path.dirname(importlib.util.find_spec("llama_cpp").origin), "lib")
    library = ctypes.CDLL(glob.glob(os.path.join(folder, "libggml-base.so*"))[0])
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    return library


def rounded_by_ggml(library, kind, x):
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    out = np.zeros(len(x) // elements * size, np.uint8)
    start = time.thread_time()
    library.ggml_quantize_chunk(ctypes.c_int(kind.value), pointer(x), pointer(out), ctypes.c_int64(0), ctypes.c_int64(1),
                                ctypes.c_int64(len(x)), None)
    return out, time.thread_time() - start


def rounded_by_us(library, kind, x):
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    out = np.zeros(len(x) // elements * size, np.uint8)
    start = time.thread_time()
    library.rk_blocks_narrow(ctypes.c_int(OURS[kind.name]), ctypes.c_int64(len(x)), pointer(x), None, pointer(out))
    return out, time.thread_time() - start


def mean_square(blocks, kind, x):
    y = quants.dequantize(blocks.reshape(1, -1), kind).reshape(-1).astype(np.float64)
    return np.mean((y - x) ** 2)


def print_goldens():
    """Random bytes with small scales, and what gguf reads in them; then what ggml rounds drawn numbers to."""
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
    library = peer()
    for numbers in DRAWN:
        x = drawn(numbers)
        for name in WRITTEN:
            kind = gguf.GGMLQuantizationType[name]
            out, _ = rounded_by_ggml(library, kind, x)
            print("{%s, RK_%s, UINT64_C(0x%016x), %.9g}," % (numbers.upper(), name, fnv(out.tobytes()),
                                                             mean_square(out, kind, x)))


def build(folder):
    """The rounding alone, as a library: the program exports only what rk.h declares."""
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "src")
    sources = {"kernels/blocks_narrow.c": [], "base/dtype.c": []}
    if platform.machine() == "x86_64":
        sources["kernels/x86/blocks_narrow_avx2.c"] = ["-mavx2"]
    objects = []
    for i, (name, flags) in enumerate(sources.items()):
        objects.append(os.path.join(folder, "%d.o" % i))
        subprocess.run(["cc", "-std=c11", "-O3", "-ffp-contract=off", "-fPIC", "-I", root, "-c", os.path.join(root, name),
                        "-o", objects[-1]] + flags, check=True)
    out = os.path.join(folder, "blocks.so")
    subprocess.run(["cc", "-shared", "-o", out] + objects + ["-lm"], check=True)
    return ctypes.CDLL(out)


def matrices(path):
    """The matrices of a .safetensors file whose rows are whole blocks of 256, flat."""
    with open(path, "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        data = f.read()
    for name, t in header.items():
        if name == "__metadata__" or len(t["shape"]) != 2 or t["shape"][1] % 256 or t["shape"][0] == 1:
            continue
        raw = data[t["data_offsets"][0]:t["data_offsets"][1]]
        if t["dtype"] == "F32":
            yield name, np.frombuffer(raw, np.float32).copy()
        elif t["dtype"] == "BF16":
            yield name, (np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).view(np.float32)


def tensors(paths):
    random = np.random.default_rng(1)
    n = 1 << 18
    yield "gaussian", random.normal(0, 0.02, n).astype(np.float32)
    yield "heavy-tailed", (random.standard_t(2, n) * 0.02).astype(np.float32)
    yield "uniform", random.uniform(-1, 1, n).astype(np.float32)
    yield "one-sided", np.abs(random.normal(0, 1, n)).astype(np.float32)
    yield "constant", np.full(n, 0.37, np.float32)
    yield "zero", np.zeros(n, np.float32)
    yield "sparse", (random.normal(0, 1, n) * (random.random(n) < 0.02)).astype(np.float32)
    yield "tiny", (random.normal(0, 1, n) * 1e-6).astype(np.float32)
    yield "vanishing", (random.normal(0, 1, n) * 1e-30).astype(np.float32)
    yield "huge", (random.normal(0, 1, n) * 1e4).astype(np.float32)
    for path in paths:
        for name, x in matrices(path):
            yield os.path.basename(path) + " " + name, x


def compare(paths):
    theirs, failures = peer(), 0
    totals = {name: [0.0, 0.0, 0, 0, 0.0, 9e9] for name in WRITTEN}
    with tempfile.TemporaryDirectory() as folder:
        ours = build(folder)
        for label, x in tensors(paths):
            for name in WRITTEN:
                kind, t = gguf.GGMLQuantizationType[name], totals[name]
                (a, a_s), (b, b_s) = rounded_by_us(ours, kind, x), rounded_by_ggml(theirs, kind, x)
                error, limit = mean_square(a, kind, x), mean_square(b, kind, x)
                bad = not np.array_equal(a, b) if not name.endswith("K") else error > limit * (1 + 1e-6)
                if bad:
                    print("%s, %s: mean square error %.9g, ggml's %.9g" % (name, label, error, limit))
                failures += bad
                t[0] += a_s
                t[1] += b_s
                t[2] += len(x)
                t[3] += 1
                if limit > 0:
                    t[4], t[5] = max(t[4], (error / limit) ** 0.5), min(t[5], (error / limit) ** 0.5)
    for name, (a, b, n, count, worst, best) in totals.items():
        print("%s: %d tensors, rmse over ggml's %.4f to %.4f; %.1f ns an element, ggml %.1f" %
              (name, count, best, worst, 1e9 * a / n, 1e9 * b / n))
    return failures


if sys.argv[1:2] == ["--goldens"]:
    print_goldens()
else:
    sys.exit(compare(sys.argv[1:]) > 0)
