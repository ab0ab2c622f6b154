#!/usr/bin/env python3
"""Do PyTorch and Hugging Face's peft read the adapters that `rwkv adapter convert` writes, and the other way round?

    tests/oracle/adapters.py PROGRAM WORK_FOLDER    (needs torch, safetensors and peft < 0.19 of PyPI)

Files of torch.save, with other types and with strides that are not the usual ones; folders of peft of every kind
that has values of its own to write. Each goes through `convert` and back into PyTorch or peft: the same tensors,
the same scales. Prints a table.
"""
import os
import subprocess
import sys
import warnings

import torch
from peft import BoneConfig, LoraConfig, MissConfig, PeftModel, get_peft_model
from safetensors.torch import load_file

warnings.filterwarnings("ignore")

CONFIGS = {
    "LORA, modules_to_save": LoraConfig(r=4, lora_alpha=9, target_modules=["key", "value"], modules_to_save=["ln1"]),
    "LORA, rsLoRA, patterns": LoraConfig(r=4, use_rslora=True, target_modules=["key"],
                                         rank_pattern={"blocks.1.att.key": 2}, alpha_pattern={"blocks.0.att.key": 3}),
    "LORA, DoRA": LoraConfig(r=4, use_dora=True, target_modules=["key"]),
    "MISS": MissConfig(r=4, target_modules=["key", "value"]),
    "MISS, bat": MissConfig(r=4, init_weights="bat", target_modules=["key"]),
    "MISS, mini": MissConfig(r=4, init_weights="mini", mini_r=2, target_modules=["key"]),
    "BONE": BoneConfig(r=4, target_modules=["key", "value"]),
}


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.att = torch.nn.Module()
        self.att.key = torch.nn.Linear(12, 8, bias=False)
        self.att.value = torch.nn.Linear(8, 8, bias=False)
        self.ln1 = torch.nn.LayerNorm(8)


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = torch.nn.ModuleList([Block(), Block()])

    def forward(self, x):
        return x


def convert(program, source, target, *options):
    subprocess.run([program, "adapter", "convert", source, "-o", target, "--force", *options], check=True)
    return target


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k].float(), b[k].float()) for k in a)


def scales(model):
    return {n: m.scaling["default"] for n, m in model.named_modules() if hasattr(m, "scaling")}


def through_torch(program, folder):
    tensors = {"blocks.0.att.key.lora_A": torch.randn(6, 4).t(), "blocks.0.att.key.lora_B": torch.randn(8, 4).half(),
               "blocks.0.ln1.weight": torch.randn(6).bfloat16(),
               "blocks.1.att.time_state": torch.randn(2, 3, 3).transpose(1, 2)}
    torch.save(tensors, os.path.join(folder, "a.pth"))
    st = convert(program, os.path.join(folder, "a.pth"), os.path.join(folder, "a.safetensors"), "--alpha", "8")
    pth = convert(program, st, os.path.join(folder, "b.pth"))
    return same(tensors, load_file(st)) and same(tensors, torch.load(pth, weights_only=True))


def through_peft(program, folder, config):
    model = get_peft_model(Model(), config)
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.copy_(torch.randn_like(p))
    theirs, ours = os.path.join(folder, "theirs"), os.path.join(folder, "ours")
    model.save_pretrained(theirs)
    convert(program, theirs, ours)
    back = PeftModel.from_pretrained(Model(), ours)
    want, got = model.state_dict(), back.state_dict()
    kept = {k: v for k, v in want.items() if any(s in k for s in ("lora_", "miss_", "bone_", "modules_to_save"))}
    return kept and same(kept, {k: got.get(k, torch.zeros(1)) for k in kept}) and scales(model) == scales(back)


def main():
    program, folder = sys.argv[1:]
    torch.manual_seed(1)
    results = {}
    for i, (name, config) in enumerate(CONFIGS.items()):
        results[name] = through_peft(program, os.path.join(folder, str(i)), config)
    results["torch.save"] = through_torch(program, folder)
    print("| adapter | read and written |\n|---|---|")
    for name, ok in results.items():
        print("| %s | %s |" % (name, "same" if ok else "DIFFERS"))
    return int(not all(results.values()))


sys.exit(main())
