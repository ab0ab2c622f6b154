#!/usr/bin/env python3
"""Adapters exchanged with peft as folders, in both directions: what one writes and the other merges into
a model gives the same matrices, to a part in a million.

Run by hand, with PyTorch and peft 0.18.1 from PyPI; it stores nothing:

    python3 tests/oracle/peft_folders.py build/rwkv models/rwkv7-byte-5.4m.safetensors
"""
import os
import subprocess
import sys
import tempfile

import torch
from peft import BoneConfig, LoraConfig, MissConfig, PeftModel, get_peft_model
from safetensors.torch import load_file

PROGRAM, MODEL = sys.argv[1:3]
TARGETS = ["blocks.0.att.receptance", "blocks.1.att.value", "blocks.0.ffn.key", "blocks.1.ffn.value"]
OURS = {
    "miss": ["--method", "miss"],
    "bone": ["--method", "bone"],
    "bat": ["--method", "bat", "--bat-blocks", "out"],
    "lora": ["--method", "lora"],
    "rslora": ["--method", "rslora"],
    "dora": ["--method", "dora"],
    "pissa": ["--method", "pissa"],
    "olora": ["--method", "olora"],
}
THEIRS = {
    "lora": LoraConfig(r=4, lora_alpha=6, target_modules=TARGETS),
    "rslora": LoraConfig(r=4, lora_alpha=6, use_rslora=True, target_modules=TARGETS),
    "dora": LoraConfig(r=4, lora_alpha=6, use_dora=True, target_modules=TARGETS),
    "miss": MissConfig(r=8, target_modules=TARGETS),
    "miss mini": MissConfig(r=8, mini_r=4, init_weights="mini", target_modules=TARGETS),
    "miss bat": MissConfig(r=8, init_weights="bat", target_modules=TARGETS),
    "bone": BoneConfig(r=8, target_modules=TARGETS),
    "bone bat": BoneConfig(r=8, init_weights="bat", target_modules=TARGETS),
}
BASE = load_file(MODEL)


def modules():
    """The model's matrices as linear layers under their names."""
    root = torch.nn.Module()
    for name, w in BASE.items():
        if not name.endswith(".weight") or w.dim() != 2:
            continue
        *folders, last = name.split(".")[:-1]
        at = root
        for part in folders:
            if not hasattr(at, part):
                at.add_module(part, torch.nn.Module())
            at = getattr(at, part)
        layer = torch.nn.Linear(w.shape[1], w.shape[0], bias=False)
        layer.weight.data = w.float().clone()
        at.add_module(last, layer)
    root.config = {"model_type": "custom"}
    return root


def run(*words):
    subprocess.run([PROGRAM, *words, "-q"], check=True, stdout=subprocess.DEVNULL)


def compare(what, merged, folder):
    run("merge", "-m", MODEL, "--adapter", folder, "-o", folder + ".safetensors", "--type", "f32")
    ours = load_file(folder + ".safetensors")
    worst = changed = 0
    for name, theirs in merged.named_parameters():
        if name in ours:
            worst = max(worst, ((theirs - ours[name]).abs().max() / ours[name].abs().max()).item())
            changed += not torch.equal(ours[name], BASE[name].float())
    print(f"{what}: {changed} matrices changed, largest difference {worst:.1e}")
    assert changed > 0 and worst < 1e-6


def from_us(folder):
    text = os.path.join(folder, "text.txt")
    with open(text, "w", encoding="utf-8") as f:
        f.write("To be, or not to be, that is the question.\n" * 40)
    for name, options in OURS.items():
        out = os.path.join(folder, "ours-" + name)
        run("tune", "-m", MODEL, "--data", text, "--rank", "8", "--steps", "2", "--ctx-len", "32",
            "--batch", "2", "--lr", "1e-3", "--out", out, *options)
        compare("ours, " + name, PeftModel.from_pretrained(modules(), out).merge_and_unload(), out)


def from_peft(folder):
    for name, config in THEIRS.items():
        model = get_peft_model(modules(), config)
        torch.manual_seed(3)
        for key, p in model.named_parameters():
            if p.requires_grad:
                noise = torch.randn_like(p)
                p.data = p.data * (1 + 0.1 * noise) if "magnitude" in key else 0.02 * noise
        out = os.path.join(folder, "theirs-" + name.replace(" ", "-"))
        model.save_pretrained(out)
        compare("theirs, " + name, model.merge_and_unload(), out)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as work:
        with torch.no_grad():
            from_us(work)
            from_peft(work)
