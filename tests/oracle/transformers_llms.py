#!/usr/bin/env python3
"""Do random Qwen2 and Llama models give the scores here that they give transformers?

    tests/oracle/transformers_llms.py PROGRAM WORK_FOLDER     (needs torch and transformers of PyPI)

Folders are written by transformers, some of them in several files, some with the members that version 4 had.
Scores of a sequence at once and token by token, of the folder, of a GGUF file made of it, and of the folder
that is made of that; the last one is also opened by transformers, and its tensors are the same bits. An adapter
that `rwkv tune` makes is opened by peft where that is there. RWKV_C_LIBRARY is the shared library.
"""
import json
import os
import subprocess
import sys

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", HF_HUB_DISABLE_PROGRESS_BARS="1", TOKENIZERS_PARALLELISM="false")
try:
    import numpy as np
    import torch
    import transformers
    from safetensors import safe_open
except ImportError as why:
    print("skipped:", why)
    sys.exit(77)
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../bindings/python"))
import rwkv_c

LIMIT = 1e-4  # of the scores' root mean square
T = 40
#        class, heads, of keys, head size, tied, shards, members of version 4, rope_theta
SHAPES = [("qwen2", 2, 2, 64, False, False, False, 1e6), ("qwen2", 4, 2, 64, True, False, True, 1e4),
          ("qwen2", 7, 1, 128, False, True, False, 1e6), ("llama", 3, 3, 64, False, True, False, 1e4),
          ("llama", 4, 2, 128, True, False, True, 5e5), ("llama", 7, 1, 64, True, False, False, 1e5)]


def make(folder, kind, heads, groups, size, tied, shards, old, theta, n_embd=None):
    n_embd = n_embd or heads * size
    torch.manual_seed(heads * 100 + size)
    sizes = dict(vocab_size=260, hidden_size=n_embd, intermediate_size=3 * n_embd // 2, num_hidden_layers=3,
                 num_attention_heads=heads, num_key_value_heads=groups, rms_norm_eps=1e-5 if old else 1e-6,
                 tie_word_embeddings=tied, max_position_embeddings=512, rope_theta=theta)
    config = (transformers.Qwen2Config if kind == "qwen2" else transformers.LlamaConfig)(**sizes)
    if hasattr(config, "rope_parameters"):
        config.rope_parameters = {"rope_type": "default", "rope_theta": theta}
    model = transformers.AutoModelForCausalLM.from_config(config).float().eval()
    with torch.no_grad():
        for name, p in model.named_parameters():  # norms and biases that do something, sharp attention
            p.copy_(torch.randn_like(p) * (0.3 if p.dim() == 1 else 2.0 / p.shape[-1] ** 0.5) + (p.dim() == 1 and "norm" in name))
    model.save_pretrained(folder, max_shard_size="1MB" if shards else "5GB")
    if old:  # as version 4 wrote it
        path = os.path.join(folder, "config.json")
        read = json.load(open(path))
        read.pop("rope_parameters", None)
        read.pop("layer_types", None)
        read.update(rope_theta=theta, rope_scaling=None, torch_dtype="float32", use_sliding_window=False)
        read.pop("dtype", None)
        json.dump(read, open(path, "w"))
    return model


def scores(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].double().numpy()


def at_once(path, ids):
    with rwkv_c.Engine(n_threads=2, act="f32", cache="f32") as engine, rwkv_c.Model(path) as model:
        return np.array(rwkv_c.Session(model, engine).eval_all(ids), dtype=np.float64).reshape(len(ids), -1)


def one_by_one(path, ids):
    with rwkv_c.Engine(n_threads=2, act="f32", cache="f32") as engine, rwkv_c.Model(path) as model:
        session = rwkv_c.Session(model, engine)
        return np.array([np.array(session.eval([i])) for i in ids], dtype=np.float64)


failures = 0


def near(what, want, got):
    global failures
    off = np.abs(want - got).max() / np.sqrt((want ** 2).mean())
    bad = not off <= LIMIT
    failures += bad
    print(f"{what:44} {off:.2e}{'   TOO FAR' if bad else ''}", flush=True)


def tensors(folder):
    found = {}
    for name in sorted(os.listdir(folder)):
        if name.endswith(".safetensors"):
            with safe_open(os.path.join(folder, name), "pt") as f:
                found.update({key: f.get_tensor(key) for key in f.keys()})
    return found


def adapter(program, work, folder, model, ids):
    try:
        import peft
    except ImportError:
        print("no peft: adapters are not compared")
        return
    text = os.path.join(work, "text.txt")
    with open(text, "w") as f:
        f.write("".join(f"{i}: to be, or not to be, that is the question\n" for i in range(40)))
    out = os.path.join(work, "tuned")
    subprocess.run(["rm", "-rf", out], check=True)
    subprocess.run([program, "tune", "-m", folder, "--data", text, "--tokenizer", "byte", "--method", "lora", "--rank", "4",
                    "--targets", "q_proj,k_proj,down_proj", "--steps", "6", "--lr", "1e-2", "--ctx-len", "32", "--batch", "2",
                    "--out", out, "-q"], check=True, stdout=subprocess.DEVNULL)
    theirs = peft.PeftModel.from_pretrained(model, out).eval()
    want = scores(theirs, ids)
    merged = os.path.join(work, "merged.safetensors")  # beside a model, adapters are rounded to bf16
    subprocess.run([program, "merge", "-m", folder, "--adapter", out, "-o", merged, "--force", "-q"], check=True)
    near("adapter through peft", want, at_once(merged, ids))
    assert np.abs(want - scores(theirs.unload(), ids)).max() > 1e-2, "the adapter changes nothing"


def trained(program, work, ids):
    """The folder of a run is one that transformers opens."""
    text, out = os.path.join(work, "run.txt"), os.path.join(work, "run")
    with open(text, "w") as f:
        f.write("".join(f"{i}: to be, or not to be, that is the question\n" for i in range(60)))
    for arch in ("qwen2", "llama"):
        subprocess.run(["rm", "-rf", out], check=True)
        subprocess.run([program, "train", "--arch", arch, "--data", text, "--tokenizer", "byte", "--n-layer", "2", "--n-embd", "64",
                        "--n-head", "4", "--n-kv-head", "2", "--steps", "3", "--ctx-len", "32", "--batch", "2", "--out", out, "-q"],
                       check=True, stdout=subprocess.DEVNULL)
        model = transformers.AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32).eval()
        near(f"{arch}, a run's folder", scores(model, ids), at_once(out, ids))


def main(program, work):
    ids = [int(i) for i in np.random.default_rng(1).integers(0, 256, T)]
    for shape in SHAPES:
        name = f"{shape[0]} {shape[1]}/{shape[2]} heads of {shape[3]}{' tied' if shape[4] else ''}{' shards' if shape[5] else ''}"
        folder, gguf, back = (os.path.join(work, x) for x in ("made", "made.gguf", "back"))
        subprocess.run(["rm", "-rf", folder, gguf, back], check=True)
        model = make(folder, *shape)
        want = scores(model, ids)
        near(name, want, at_once(folder, ids))
        near("  token by token", want, one_by_one(folder, ids))
        subprocess.run([program, "convert", folder, gguf, "-q"], check=True)
        near("  as GGUF", want, at_once(gguf, ids))
        subprocess.run([program, "convert", gguf, back, "--names", "hf", "-q"], check=True)
        reopened = transformers.AutoModelForCausalLM.from_pretrained(back, dtype=torch.float32).eval()
        near("  back, through transformers", want, scores(reopened, ids))
        before, after = tensors(folder), tensors(back)
        if shape[4]:
            before.pop("lm_head.weight", None)
        assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before), "HF -> GGUF -> HF"
        if shape is SHAPES[5]:
            adapter(program, work, folder, model, ids)
    trained(program, work, ids)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(os.path.abspath(sys.argv[1]), sys.argv[2]))
