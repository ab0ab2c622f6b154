#!/usr/bin/env python3
"""A stack of two linear layers adapted by every method that `peft` has: what it computes, the
gradients of the adapters, and three steps of AdamW.

Run by hand, with PyTorch and peft from PyPI, once for each of two versions: 0.18.1 is the last with
Bone, 0.21.2 has LoRA-GA, whose file holds its start alone.

    python3 tests/oracle/peft_stack.py            # writes tests/data/oracle/peft.safetensors
    python3 tests/oracle/peft_stack.py --lora-ga  # writes tests/data/oracle/peft-lora-ga.safetensors

tests/tune/test_peft.c computes the same. Its table of cases is this one.
"""
import argparse
import os

import torch
from peft import LoraConfig, MissConfig, get_peft_model
from safetensors.torch import save_file

OUT = os.path.join(os.path.dirname(__file__), "..", "data", "oracle")
IN, MID, END, TOKENS = 12, 20, 8, 9
RANK = 4
LAYERS = ("down", "up")
ADAMW = {"lr": 1e-2, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.1}
STEPS = 3


class Stack(torch.nn.Module):
    def __init__(self, w):
        super().__init__()
        self.down = torch.nn.Linear(IN, MID, bias=False)
        self.up = torch.nn.Linear(MID, END, bias=False)
        for name, weight in zip(LAYERS, w):
            getattr(self, name).weight.data = weight.clone()

    def forward(self, x):
        return self.up(self.down(x))


class BatStack(Stack):
    """Bat with a block for each r inputs, which peft does not have: W_ab + W_ab B_b + B_b."""

    def __init__(self, w):
        super().__init__(w)
        for name in LAYERS:
            weight = getattr(self, name).weight
            weight.requires_grad = False
            blocks = torch.zeros(weight.shape[1] // RANK, RANK, RANK)
            self.register_parameter(f"bat_{name}", torch.nn.Parameter(blocks))

    def matrix(self, name):
        w, b = getattr(self, name).weight, getattr(self, f"bat_{name}")
        blocks = w.reshape(w.shape[0] // RANK, RANK, -1, RANK).permute(2, 0, 1, 3)  # b, a, r, r
        blocks = blocks + blocks @ b[:, None] + b[:, None]
        return blocks.permute(1, 2, 0, 3).reshape(w.shape)

    def forward(self, x):
        for name in LAYERS:
            x = x @ self.matrix(name).T
        return x

    def merge_and_unload(self):
        for name in LAYERS:
            getattr(self, name).weight.data = self.matrix(name)
        return self


def lora(**more):
    return LoraConfig(r=RANK, lora_alpha=6, target_modules=list(LAYERS), **more)


def cases():
    from peft import BoneConfig

    targets = list(LAYERS)
    return {
        "lora": lora(),
        "rslora": lora(use_rslora=True),
        "dora": lora(use_dora=True),
        "pissa": lora(init_lora_weights="pissa"),
        "olora": lora(init_lora_weights="olora"),
        "bone": BoneConfig(r=RANK, target_modules=targets),
        "bone-odd": BoneConfig(r=5, target_modules=targets),
        "bone-bat": BoneConfig(r=RANK, target_modules=targets, init_weights="bat"),
        "miss": MissConfig(r=RANK, target_modules=targets),
        "miss-odd": MissConfig(r=7, target_modules=targets),
        "miss-bat": MissConfig(r=RANK, target_modules=targets, init_weights="bat"),
        "miss-mini": MissConfig(r=RANK, mini_r=2, target_modules=targets, init_weights="mini"),
        "bat-in": None,
    }


# peft's names of the tensors, and those of src/tune/adapter_set.c.
NAMES = {
    "lora_A": "lora_A",
    "lora_B": "lora_B",
    "lora_magnitude_vector": "magnitude",
    "bone_block": "miss",
    "miss_block": "miss",
    "bat": "bat",
}


def tensors(model):
    """The trained ones as "down.lora_A"."""
    found = {}
    for name, p in model.named_parameters():
        if not p.requires_grad:
            continue
        parts = name.replace("_down", ".down").replace("_up", ".up").split(".")
        layer = next(part for part in parts if part in LAYERS)
        kind = NAMES[next(part for part in parts if part in NAMES)]
        found[f"{layer}.{'bat' if p.dim() == 3 else kind}"] = p
    return found


def put(out, case, what, named):
    for name, x in named.items():
        out[f"{case}.{what}.{name}"] = x.detach().clone().contiguous()


def run_case(out, case, config, weights, x, target):
    torch.manual_seed(7)
    model = get_peft_model(Stack(weights), config) if config else BatStack(weights)
    trained = tensors(model)
    if case not in ("pissa", "olora"):  # zeros would hide most of what is compared
        for name, p in trained.items():
            noise = 0.2 * torch.randn_like(p)
            p.data = p.data * (1 + noise) if name.endswith("magnitude") else noise
    put(out, case, "begin", trained)
    x = x.clone().requires_grad_()
    optimizer = torch.optim.AdamW(trained.values(), **ADAMW)
    for step in range(STEPS):
        optimizer.zero_grad()
        x.grad = None
        y = model(x)
        (0.5 * (y - target).square().sum()).backward()
        if step == 0:
            out[f"{case}.y"] = y.detach().clone()
            out[f"{case}.dx"] = x.grad.clone()
            put(out, case, "grad", {name: p.grad for name, p in trained.items()})
        optimizer.step()
        put(out, case, f"step{step + 1}", trained)
    merged = model.merge_and_unload()
    for name in LAYERS:
        out[f"{case}.merged.{name}"] = getattr(merged, name).weight.detach().clone()


def inputs():
    torch.manual_seed(1)
    weights = [torch.randn(MID, IN) / IN**0.5, torch.randn(END, MID) / MID**0.5]
    x, target = torch.randn(TOKENS, IN), torch.randn(TOKENS, END)
    return weights, x, target


def write(name, out):
    path = os.path.join(OUT, name)
    save_file(out, path)
    print(path, os.path.getsize(path), "bytes")


def stack():
    weights, x, target = inputs()
    out = {"x": x, "target": target, "down": weights[0], "up": weights[1]}
    for case, config in cases().items():
        run_case(out, case, config, weights, x, target)
    write("peft.safetensors", out)


def lora_ga():
    from peft import LoraGAConfig
    from peft.tuners.lora.loraga import preprocess_loraga

    rank = 2  # 4 times that is fewer than any dimension: what the random sketch leaves out is small
    weights, x, target = inputs()
    out = {}
    for direction in ("ArB2r", "ArBr", "A2rBr"):
        torch.manual_seed(7)
        model = Stack(weights)
        config = LoraConfig(
            r=rank,
            lora_alpha=6,
            target_modules=list(LAYERS),
            init_lora_weights="lora_ga",
            lora_ga_config=LoraGAConfig(direction=direction),
        )

        def step(model=model):
            (0.5 * (model(x) - target).square().sum()).backward()

        preprocess_loraga(model, config, step)
        for name in LAYERS:
            out[f"gradient.{name}"] = getattr(model, name)._peft_loraga_grad.clone()
        model = get_peft_model(model, config)
        put(out, direction, "begin", tensors(model))
        for name in LAYERS:
            base = getattr(model.base_model.model, name).base_layer
            out[f"{direction}.residual.{name}"] = base.weight.detach().clone()
    write("peft-lora-ga.safetensors", out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--lora-ga", action="store_true", help="the start of LoRA-GA alone")
    (lora_ga if parser.parse_args().lora_ga else stack)()
