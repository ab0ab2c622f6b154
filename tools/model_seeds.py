#!/usr/bin/env python3
"""Pages of model files for fuzz/fuzz_model.c: a line for each tensor and each pair of metadata.

usage: model_seeds.py PROGRAM FOLDER

makes a model of every architecture and form, as small as they go, and writes the page of each into the folder.
Places (lists of heads, clusters, generations) keep their values; weights need none.
"""

import json
import os
import struct
import subprocess
import sys
import tempfile

SIZES = ["--n-layer", 2, "--n-embd", 8]
HEADS = [*SIZES, "--head-size", 4]
ATTENTION = [*SIZES, "--n-head", 2, "--dim-ffn", 16]
MODELS = {
    "rwkv4": ["--arch", "rwkv4", *SIZES],
    "rwkv5.0": ["--arch", "rwkv5.0", *HEADS],
    "rwkv5.1": ["--arch", "rwkv5.1", *HEADS],
    "rwkv5": ["--arch", "rwkv5", *HEADS, "--low-rank", 2, "--low-rank-form", "enhanced"],
    "rwkv6": ["--arch", "rwkv6", *HEADS, "--low-rank", 3],
    "rwkv7": ["--arch", "rwkv7", *HEADS],
    "rwkv7a": ["--arch", "rwkv7a", *HEADS],
    "arwkv7": ["--arch", "arwkv7", *HEADS, "--dim-ffn", 16, "--group-norm", 1],
    "rwkv6qwen2": ["--arch", "rwkv6qwen2", *HEADS, "--dim-ffn", 16],
    "rwkv7qwen2": ["--arch", "rwkv7qwen2", *HEADS, "--dim-ffn", 16, "--n-kv-head", 1],
    "qwen2": ["--arch", "qwen2", *ATTENTION, "--n-kv-head", 1],
    "llama": ["--arch", "llama", *ATTENTION],
    "wuneng": ["--arch", "wuneng", *ATTENTION, "--state-heads", 1, "--state-head-size", 4, "--middle-heads", 1],
    "rrwkv": ["--arch", "rrwkv", *SIZES, "--medium-interval", 3],
    "meta7": ["--arch", "meta7", *HEADS, "--route-k", 1, "--route-block", 8],
}
LISTS = ("meta_heads", "meta_generations", "head_clusters", "middle_pairs", "ffn.limits")


def page(path):
    with open(path, "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        data = f.read()
    lines = [f"@{k} {v}" for k, v in header.pop("__metadata__", {}).items()]
    for name, t in header.items():
        line = " ".join([name, t["dtype"].lower(), *map(str, t["shape"])])
        if name.endswith(LISTS):
            begin, end = t["data_offsets"]
            line += " = " + " ".join(f"{x:g}" for x in struct.unpack(f"<{(end - begin) // 4}f", data[begin:end]))
        lines.append(line)
    return "\n".join(lines) + "\n"


def main(program, folder):
    os.makedirs(folder, exist_ok=True)

    def write(name, model):
        with open(os.path.join(folder, name + ".txt"), "w", encoding="utf-8") as f:
            f.write(page(model))

    with tempfile.TemporaryDirectory() as work:
        text = os.path.join(work, "text.txt")
        with open(text, "w", encoding="utf-8") as f:
            f.write("a cat and a dog\n" * 40)

        def run(*words):
            subprocess.run([program, *map(str, words), "-q"], check=True, stdout=subprocess.DEVNULL)

        for name, options in MODELS.items():
            out = os.path.join(work, name)
            run("train", "--task", "parity", "--seq-len", 4, *options, "--batch", 1, "--steps", 1, "--out", out)
            write(name, os.path.join(out, "model.safetensors"))

        made = os.path.join(work, "made.safetensors")
        run("grow", os.path.join(work, "meta7", "model.safetensors"), "--tokens", 8, "--heads", 1, "--meta-heads", 1, "-o", made)
        write("meta7-grown", made)
        bytes_model = os.path.join(work, "bytes")
        run("train", "--data", text, *HEADS, "--ctx-len", 8, "--batch", 1, "--steps", 1, "--out", bytes_model)
        run("compress", "head", "-m", os.path.join(bytes_model, "model.safetensors"), "--clusters", 4, "--data", text, "--tokens", 64,
            "--steps", 2, "-o", made, "--force")
        write("rwkv7-head", made)
        run("compress", "predictor", "-m", os.path.join(bytes_model, "model.safetensors"), "--data", text, "-o", made, "--tokens", 64, "--steps", 2, "--force")
        write("rwkv7-sparse", made)
        for arch, name in (("rwkv5", "rwkv5-int8"), ("bytes", "rwkv7-int8")):
            run("compress", "int8", "-m", os.path.join(work, arch, "model.safetensors"), "-o", made, "--force")
            write(name, made)
        teacher, hybrid = os.path.join(work, "teacher"), os.path.join(work, "hybrid")
        run("train", "--data", text, "--arch", "qwen2", *ATTENTION, "--ctx-len", 8, "--batch", 1, "--steps", 1, "--out", teacher)
        run("distill", "--teacher", os.path.join(teacher, "model.safetensors"), "--arch", "arwkv7", "--head-size", 4, "--layers", 0,
            "--data", text, "--ctx-len", 8, "--batch", 1, "--steps", 1, "--out", hybrid)
        write("arwkv7-hybrid", os.path.join(hybrid, "model.safetensors"))


if __name__ == "__main__":
    main(*sys.argv[1:])
