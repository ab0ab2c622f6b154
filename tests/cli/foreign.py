#!/usr/bin/env python3
"""Files as other programs write them, made of a model in float32 under the names of RWKV-LM.

    foreign.py FORM IN.safetensors OUT [OPTION...]
    foreign.py compare A.npy B.npy

Forms: rwkvcpp (option: f32, f16, q4_0, q4_1, q5_0, q5_1, q8_0), fla, hf, transformers (option: plain,
linear, fused, renamed), tied, pth, body, reranker, rwkvx, web, gguf (option: the
layers between rescalings), shards (folders, all of them safetensors but the first and gguf), eps
(the same file with ln_x_eps in its metadata, which is the option, and ln_eps, which may follow), and relative, which takes no
model: a GGUF file of the architecture that is the option. What each program does to names, values
and shapes is described where the rows of src/format/names_*.c are. compare prints the largest
difference over the root mean square of A. Standard library only.
"""
import array
import json
import math
import os
import struct
import sys
import zipfile

import safetensors_parts


class Tensor:
    def __init__(self, shape, values):
        self.shape, self.values = list(shape), values

    def reshaped(self, *shape):
        return Tensor(shape, self.values)

    def squeezed(self):
        return self.reshaped(*([d for d in self.shape if d != 1] or [1]))

    def mapped(self, fn):
        return Tensor(self.shape, [fn(x) for x in self.values])

    def swapped(self):
        """The last two dimensions exchanged."""
        *rest, rows, cols = self.shape
        n, v = math.prod(rest), self.values
        return Tensor(rest + [cols, rows], [v[(i * rows + r) * cols + c] for i in range(n)
                                           for c in range(cols) for r in range(rows)])


def stacked(parts, *shape):
    return Tensor(shape, [x for p in parts for x in p.values])


def read_safetensors(path):
    header, data = safetensors_parts.read(path)
    header.pop("__metadata__", None)
    out = {}
    for name, t in header.items():
        assert t["dtype"] == "F32"
        values = array.array("f", data[slice(*t["data_offsets"])])
        out[name] = Tensor(t["shape"], values)
    return out


def floats(values, half=False):
    return struct.pack("<%d%s" % (len(values), "e" if half else "f"), *values)


def write_safetensors(path, tensors, half=False, metadata=None):
    header, at = {}, 0
    if metadata:
        header["__metadata__"] = metadata
    for name, t in tensors.items():
        size = len(t.values) * (2 if half else 4)
        header[name] = {"dtype": "F16" if half else "F32", "shape": t.shape, "data_offsets": [at, at + size]}
        at += size
    raw = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(raw)) + raw)
        for t in tensors.values():
            f.write(floats(t.values, half))


def version_of(m):
    if "blocks.0.att.r_k" in m:
        return 7
    if "blocks.0.att.time_maa_x" in m:
        return 6
    return 5 if "blocks.0.att.ln_x.weight" in m else 4


def n_layers(m):
    return 1 + max(int(k.split(".")[1]) for k in m if k.startswith("blocks."))


# --------------------------------------------------------------------------------------- rwkv.cpp

CODES = {"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q5_0": 7, "q5_1": 8, "q8_0": 9}
LOW_RANK = [letter + digit for letter in "wavg" for digit in "12"]


def block(x, kind):
    """32 values in a block of ggml's, by plain rounding to nearest."""
    bits, offset = int(kind[1]), kind[-1] == "1"
    half = struct.Struct("<e")
    low, high = min(x), max(x)
    if bits == 8:
        d = half.unpack(half.pack(max(map(abs, x)) / 127))[0] or 1.0
        return half.pack(d) + struct.pack("<32b", *[max(-127, min(127, round(v / d))) for v in x])
    top = (1 << bits) - 1
    if offset:
        d, m = [half.unpack(half.pack(v))[0] for v in ((high - low) / top, low)]
        q = [max(0, min(top, round((v - m) / (d or 1.0)))) for v in x]
        head = half.pack(d) + half.pack(m)
    else:
        d = half.unpack(half.pack(max(x, key=abs) / -(1 << (bits - 1))))[0]
        q = [max(0, min(top, round(v / (d or 1.0)) + (1 << (bits - 1)))) for v in x]
        head = half.pack(d)
    if bits == 5:
        head += struct.pack("<I", sum((q[j] >> 4) << j for j in range(32)))
    return head + bytes((q[j] & 15) | ((q[j + 16] & 15) << 4) for j in range(16))


def rwkvcpp_tensors(m):
    version, out = version_of(m), {}
    heads = m["blocks.0.att.r_k"].shape[0] if version == 7 else m.get(
        "blocks.0.att.time_faaaa", m.get("blocks.0.att.time_first")).shape[0]
    for name, t in m.items():
        last = name.split(".")[-1]
        if version == 4 and last == "time_decay":
            t = t.mapped(lambda x: -math.exp(x))
        elif version == 5 and last == "time_decay":
            t = t.mapped(lambda x: math.exp(-math.exp(x))).reshaped(heads, -(-len(t.values) // heads), 1)
        elif version == 5 and last == "time_first":
            t = t.mapped(math.exp).reshaped(heads, len(t.values) // heads, 1)
        elif last == "time_faaaa" or (version == 6 and last == "time_decay"):
            t = t.reshaped(heads, len(t.values) // heads, 1)
        elif version == 6 and last in ("time_maa_w1", "time_maa_w2", "time_decay_w1", "time_decay_w2"):
            t = t.swapped()
        elif version == 7 and last in LOW_RANK:
            t = t.swapped()
        elif version == 7 and ".att.x_" in name:
            if last == "x_r":
                parts = [m[name[:-1] + c] for c in "rwkvag"]
                out[name[:-1] + "rwkvag"] = stacked(parts, 6, 1, len(t.values))
            continue
        else:
            t = t.squeezed()
        out[name] = t
    return out


def keeps_f32(name, t):
    return len(t.shape) == 1 or any(p in name for p in (".time_", ".k_k", ".k_a", ".r_k", ".x_rwkvag", ".x_k",
                                                        ".w0", ".a0", ".v0"))


def is_quantised(name, t):
    return len(t.shape) == 2 and name not in ("emb.weight", "head.weight") and \
        not name.endswith(tuple("." + x for x in LOW_RANK) + (".r_k",))


def write_rwkvcpp(m, path, kind="f32"):
    out = rwkvcpp_tensors(m)
    v, c = m["emb.weight"].shape
    with open(path, "wb") as f:
        f.write(struct.pack("<6i", 0x67676D66, 101, v, c, n_layers(m), CODES[kind]))
        for name, t in out.items():
            own = kind
            if kind != "f32" and keeps_f32(name, t):
                own = "f32"
            elif kind[0] == "q" and not is_quantised(name, t):
                own = "f16"
            if own[0] == "q":
                x = t.values
                data = b"".join(block(x[i:i + 32], own) for i in range(0, len(x), 32))
            else:
                data = floats(t.values, own == "f16")
            f.write(struct.pack("<3i", len(t.shape), len(name), CODES[own]))
            f.write(struct.pack("<%di" % len(t.shape), *reversed(t.shape)) + name.encode() + data)


# ------------------------------------------------------------------------------------ Hugging Face


def replaced(name, pairs):
    for a, b in pairs:
        name = name.replace(a, b)
    return name


HF = [("emb.", "rwkv.embeddings."), ("blocks.", "rwkv.blocks."), ("ln_out.", "rwkv.ln_out."), (".ln0.", ".pre_ln."),
      (".att.", ".attention."), (".ffn.", ".feed_forward."), ("time_mix_k", "time_mix_key"),
      ("time_mix_v", "time_mix_value"), ("time_mix_r", "time_mix_receptance"), ("time_mix_g", "time_mix_gate")]
FLA = [("emb.", "model.embeddings."), ("blocks.", "model.layers."), ("ln_out.", "model.norm."), (".ln0.", ".pre_norm."),
       (".ln1.", ".attn_norm."), (".ln2.", ".ffn_norm."), ("head.", "lm_head."), (".att.", ".attn."), (".ln_x.", ".g_norm."),
       ("attn.receptance.", "attn.r_proj."), ("attn.key.", "attn.k_proj."), ("attn.value.", "attn.v_proj."),
       ("attn.output.", "attn.o_proj."), ("attn.gate.", "attn.g_proj.")]


def write_folder(m, path, tensors, config):
    os.makedirs(path)
    write_safetensors(os.path.join(path, "model.safetensors"), tensors)
    config.update(hidden_size=m["emb.weight"].shape[1], num_hidden_layers=n_layers(m), attn=None,
                  architectures=["AnyForCausalLM"], transformers_version="4.48.0")
    with open(os.path.join(path, "config.json"), "w") as f:
        json.dump(config, f, indent=2)


def write_hf(m, path):
    config = {"layer_norm_epsilon": 1e-05}
    if version_of(m) > 4:
        config["head_size_divisor"] = 8
    write_folder(m, path, {replaced(k, HF): t for k, t in m.items()}, config)


def fla7(m, fused):
    out = {}
    for name, t in m.items():
        last, new = name.split(".")[-1], replaced(name, FLA)
        if last in LOW_RANK or last in ("w0", "a0", "v0"):
            if name.startswith("blocks.0.") and last[0] == "v":
                continue
            part = {"0": "2.bias", "1": "0.weight", "2": "2.weight"}[last[1]]
            out[new[:-2] + last[0] + "_lora.lora." + part] = t.squeezed() if last[1] == "0" else t.swapped()
        elif fused and ".att.x_" in name:
            if last == "x_r":
                out[new[:-1] + "x"] = stacked([m[name[:-1] + c] for c in "rwkvag"], 6, len(t.values))
        elif last in ("k_k", "k_a") or name.endswith("ffn.x_k"):
            out[new] = t.squeezed()
        else:
            out[new] = t
    return out


def fused_table(m):
    """Rows of the embedding after ln0."""
    v, c = m["emb.weight"].shape
    w, b, out = m["blocks.0.ln0.weight"].values, m["blocks.0.ln0.bias"].values, []
    for i in range(v):
        row = m["emb.weight"].values[i * c:(i + 1) * c]
        mean = sum(row) / c
        scale = 1 / math.sqrt(sum((x - mean) ** 2 for x in row) / c + 1e-5)
        out += [(x - mean) * scale * w[j] + b[j] for j, x in enumerate(row)]
    return Tensor([v, c], out)


RENAMED = [("emb.", "model.embed_tokens."), ("blocks.0.ln0.", "model.embedding_norm."), ("blocks.", "model.layers."),
           ("ln_out.", "model.norm."), (".ln1.", ".input_layernorm."), (".ln2.", ".post_attention_layernorm."),
           ("head.", "lm_head."), (".ffn.", ".mlp."), (".att.", ".linear_attn."), (".ln_x.", ".g_norm."),
           ("attn.receptance.", "attn.r_proj."), ("attn.key.", "attn.k_proj."), ("attn.value.", "attn.v_proj."),
           ("attn.output.", "attn.o_proj.")]


def write_transformers(m, path, kind):
    """The classes for RWKV-7 that are to come: the pull request's, and three forms of a fork."""
    out = {}
    for name, t in m.items():
        last = name.split(".")[-1]
        if kind != "plain" and name in ("blocks.0.att.v0", "blocks.0.att.v1", "blocks.0.att.v2"):
            continue
        if kind == "renamed":
            out[replaced(name, RENAMED)] = t.squeezed() if t.shape[:2] == [1, 1] else t
        elif name.startswith("head."):
            out[name] = t
        elif kind == "linear":
            low = last in LOW_RANK
            out["model." + name.replace("emb.", "embeddings.") + (".weight" if low else "")] = t.swapped() if low else t
        elif kind == "plain":
            out["rwkv7." + name] = t
        elif name == "emb.weight":
            out["rwkv7.embeddings.weight"] = fused_table(m)
        elif ".ln0." not in name:
            out["rwkv7." + name] = t
    size = m["blocks.0.att.r_k"].shape[1]
    config = {"model_type": "rwkv7", "vocab_size": m["emb.weight"].shape[0]}
    if kind == "plain":
        config.update(head_dim=size, norm_eps=1e-5)
    else:
        config.update(head_size=size, layer_norm_epsilon=1e-5, group_norm_epsilon=64e-5, rescale_every=0,
                      embedding_layer_norm_fused=kind == "fused")
    write_folder(m, path, out, config)


def write_tied(m, path, kind):
    """A folder of transformers' class without a head, or, to compare with, the model whose head is its table."""
    if kind == "whole":
        return write_safetensors(path, {**m, "head.weight": m["emb.weight"]})
    out = {"rwkv7." + name: t for name, t in m.items() if kind == "both" or name != "head.weight"}
    write_folder(m, path, out, {"model_type": "rwkv7", "tie_word_embeddings": True})


def pickled(x):
    """A value as torch.save writes it; a tensor is (key, numel, offset, shape, strides)."""
    if isinstance(x, dict):
        return b"}(" + b"".join(pickled(k) + pickled(v) for k, v in x.items()) + b"u"
    if isinstance(x, str):
        return b"X" + struct.pack("<I", len(x)) + x.encode()
    if isinstance(x, int):
        return b"J" + struct.pack("<i", x)
    if isinstance(x, list):
        return b"(" + b"".join(map(pickled, x)) + b"t"
    key, numel, offset, shape, strides = x
    return (b"ctorch._utils\n_rebuild_tensor_v2\n((" + pickled("storage") + b"ctorch\nFloatStorage\n" + pickled(key) +
            pickled("cpu") + pickled(numel) + b"tQ" + pickled(offset) + pickled(shape) + pickled(strides) +
            b"\x89ccollections\nOrderedDict\n)RtR")


def dense(shape):
    return [math.prod(shape[d + 1:]) for d in range(len(shape))]


def viewed(name, t):
    """A storage and the offset and strides that make t of it: matrices as columns of wider ones and tables
    transposed, vectors as every third element of longer ones."""
    if name == "emb.weight":
        return t.swapped().values, 0, [1, t.shape[0]]
    if len(t.shape) == 2:
        rows, cols = t.shape
        wide = [x for r in range(rows) for x in [9.0, *t.values[r * cols:(r + 1) * cols], 9.0]]
        return wide, 1, [cols + 2, 1]
    return [x for v in t.values for x in (v, 9.0, 9.0)], 0, [3 * s for s in dense(t.shape)]


def write_pth(m, path):
    """Tensors that are views of others, and beside them what a trainer keeps."""
    weights = {}
    with zipfile.ZipFile(path, "w") as z:
        for i, (name, t) in enumerate(m.items()):
            values, offset, strides = viewed(name, t)
            z.writestr("a/data/%d" % i, floats(values))
            weights[name] = (str(i), len(values), offset, t.shape, strides)
        more = {"step": 3, "rng": weights["ln_out.bias"], "module": weights}
        z.writestr("a/data.pkl", b"\x80\x02" + pickled(more) + b".")


def write_part(m, path, kind):
    """What EmbeddingRWKV and RWKV-X keep under these names beside a model's own."""
    out = {"rwkv." + name: t for name, t in m.items() if kind == "rwkvx" or name != "head.weight"}
    more = {"reranker": "reranker.ranking_head.1.weight", "rwkvx": "moba.0.att.key.weight"}.get(kind)
    if more:
        out[more] = m["blocks.0.att.key.weight"]
    write_safetensors(path, out)


def groups6(t, c, first):
    """The five groups w,k,v,r,g of time_maa_w1 (C,5D) or time_maa_w2 (5,D,C) as (D,C) each."""
    if first:
        t = t.swapped()
    size = len(t.values) // 5
    return [Tensor([size // c, c], t.values[i * size:(i + 1) * size]) for i in range(5)]


def fla6(m):
    out, c = {}, m["emb.weight"].shape[1]
    for name, t in m.items():
        last, new = name.split(".")[-1], replaced(name, FLA)
        at = new.rsplit(".", 1)[0]
        if ".att.time_maa_" in name:
            if last == "time_maa_x":
                out[at + ".x_proj.0.mu"] = t.squeezed()
                out[at + ".x_bias"] = stacked([m[name[:-1] + g] for g in "rwkvg"], 5, c)
            elif last in ("time_maa_w1", "time_maa_w2"):
                w, k, v, r, g = groups6(t, c, last == "time_maa_w1")
                both = stacked([r, w, k, v, g], 5 * r.shape[0], c)
                if last == "time_maa_w1":
                    out[at + ".x_proj.0.linear.weight"] = both
                else:
                    out[at + ".x_proj.2.weight"] = both.swapped()
        elif last in ("time_decay_w1", "time_decay_w2"):
            out[at + ".w_proj.linear.lora.%d.weight" % (0 if last[-1] == "1" else 2)] = t.swapped()
        elif last == "time_decay":
            out[at + ".w_proj.linear.lora.2.bias"] = t.squeezed()
        elif last == "time_faaaa":
            out[at + ".bonus"] = t
        elif ".ffn.time_maa_" in name:
            out[at + (".key.mu" if last[-1] == "k" else ".receptance.mu")] = t.squeezed()
        elif new.endswith(("r_proj.weight", "k_proj.weight", "v_proj.weight", "g_proj.weight", "ffn.key.weight",
                           "ffn.receptance.weight")):
            out[new[:-len("weight")] + "linear.weight"] = t
        else:
            out[new] = t
    return out


def write_fla(m, path, fused=""):
    """The group norm has norm_eps times the size of a head."""
    if version_of(m) == 6:
        return write_folder(m, path, fla6(m), {"model_type": "rwkv6", "norm_eps": 1e-05})
    eps = 64e-5 / m["blocks.0.att.r_k"].shape[1] if fused else 1e-5
    return write_folder(m, path, fla7(m, bool(fused)), {"model_type": "rwkv7", "norm_eps": eps})


def write_shards(m, path):
    os.makedirs(path)
    names = list(m)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, keys in parts.items():
        write_safetensors(os.path.join(path, file), {k: m[k] for k in keys})
    with open(os.path.join(path, "model.safetensors.index.json"), "w") as f:
        json.dump({"metadata": {"total_size": 1}, "weight_map": {k: p for p, keys in parts.items() for k in keys}}, f)


# ---------------------------------------------------------------------------------------- web-rwkv


def write_web(m, path):
    version, out = version_of(m), {}
    for name, t in m.items():
        last = name.split(".")[-1]
        new = name.replace("time_faaaa", "time_first").replace("time_maa", "time_mix")
        low = last in ("time_maa_w1", "time_maa_w2", "time_decay_w1", "time_decay_w2") or (version == 7 and last in LOW_RANK)
        out[new] = t.swapped() if low else t
    write_safetensors(path, out, half=True)


# -------------------------------------------------------------------------------------------- GGUF


def text(s):
    s = s.encode()
    return struct.pack("<Q", len(s)) + s


def pair(key, value):
    if isinstance(value, str):
        return text(key) + struct.pack("<I", 8) + text(value)
    if isinstance(value, float):
        return text(key) + struct.pack("<If", 6, value)
    if isinstance(value, list):
        return text(key) + struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(text, value))
    return text(key) + struct.pack("<II", 4, value)


def write_gguf_file(path, meta, tensors):
    """tensors: name to (shape, ggml's number of the type, bytes)."""
    head = struct.pack("<IIQQ", 0x46554747, 3, len(tensors), len(meta))
    head += b"".join(pair(k, v) for k, v in meta.items())
    at, data = 0, b""
    for name, (shape, kind, raw) in tensors.items():
        head += text(name) + struct.pack("<I%dQ" % len(shape), len(shape), *reversed(shape))
        head += struct.pack("<IQ", kind, at)
        data += raw + bytes(-len(raw) % 32)
        at = len(data)
    with open(path, "wb") as f:
        f.write(head + bytes(-len(head) % 32) + data)


GGUF6 = [("time_maa_x", "time_mix_lerp_x"), ("time_maa_w1", "time_mix_w1"), ("time_maa_w2", "time_mix_w2"),
         ("time_maa_", "time_mix_lerp_"), ("time_faaaa", "time_mix_first"), ("time_decay", "time_mix_decay")]
GGUF = [("blocks.0.ln0", "token_embd_norm"), ("emb.", "token_embd."), ("ln_out.", "output_norm."), ("head.", "output."),
        ("blocks.", "blk."), (".ln1.", ".attn_norm."), (".ln2.", ".attn_norm_2."), (".att.ln_x.", ".time_mix_ln."),
        (".ffn.time_maa_", ".channel_mix_lerp_"), (".ffn.x_k", ".channel_mix_lerp_k"), (".ffn.", ".channel_mix_")]


def gguf_name(name, version):
    name = replaced(name, GGUF)
    if version == 6:
        name = replaced(name, [(".att." + a, "." + b) for a, b in GGUF6])
    name = name.replace(".att.", ".time_mix_")
    return name if name.endswith((".weight", ".bias")) else name + ".weight"


def write_gguf(m, path, every="0"):
    version, every, out = version_of(m), int(every), {}
    c, arch = m["emb.weight"].shape[1], "rwkv%d" % version_of(m)
    for name, t in m.items():
        last, new = name.split(".")[-1], gguf_name(name, version)
        layer = int(name.split(".")[1]) if name.startswith("blocks.") else 0
        if last in LOW_RANK and layer == 0 and last[0] == "v":
            t = m[name[:-2] + "a" + last[1]]
        if last in LOW_RANK or last in ("time_maa_w1", "time_maa_w2", "time_decay_w1", "time_decay_w2"):
            t = t.swapped()
        elif version == 7 and ".att.x_" in name:
            if last != "x_r":
                continue
            new, t = "blk.%d.time_mix_lerp_fused.weight" % layer, stacked([m[name[:-1] + g] for g in "rwkvag"], 6, 1, 1, c)
        elif last == "r_k":
            t = t.reshaped(c)
        elif last != "time_faaaa":
            t = t.squeezed()
        if every and name.endswith(("att.output.weight", "ffn.value.weight")):
            t = t.mapped(lambda x: x / 2 ** (layer // every))
        out[new] = (t.shape, 0, floats(t.values))
    heads = m["blocks.0.att.r_k" if version == 7 else "blocks.0.att.time_faaaa"].shape[0]
    write_gguf_file(path, {"general.architecture": arch, arch + ".wkv.head_size": c // heads,
                           arch + ".rescale_every_n_layers": every,
                           arch + ".attention.layer_norm_epsilon": 1e-5}, out)


def write_relative(path, arch):
    c, f, v, n = 256, 512, 40, 64
    kinds = {"token_embd.weight": (10, 84), "blk.0.ffn_gate.weight": (11, 110)}
    shapes = {"token_embd.weight": (v, c), "output_norm.weight": (c,), "output.weight": (v, c),
              "blk.0.attn_norm.weight": (c,), "blk.0.ffn_gate.weight": (f, c), "blk.0.ffn_up.weight": (f, c),
              "blk.0.ffn_down.weight": (c, f)}
    shapes.update({"blk.0.attn_q.weight": (c, c)} if arch == "qwen2" else {"blk.0.time_mix_key.weight": (c, c)})
    tensors = {}
    for i, (name, shape) in enumerate(shapes.items()):
        kind, size = kinds.get(name, (0, 0))
        count = math.prod(shape)
        raw = bytes((j * 7 + i) % 61 for j in range(count // 256 * size)) if size else floats(
            [math.sin(i + j * 0.37) for j in range(count)])
        tensors[name] = (shape, kind, raw)
    meta = {"general.architecture": arch, "general.name": "small", arch + ".embedding_length": c, arch + ".block_count": 1,
            arch + ".feed_forward_length": f, arch + ".attention.layer_norm_rms_epsilon": 1e-6}
    if arch != "qwen2":
        meta.update({arch + ".wkv.head_size": n, arch + ".token_shift_count": 1})
    meta.update({"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.tokens": ["t%d" % i for i in range(v)]})
    write_gguf_file(path, meta, tensors)


# ------------------------------------------------------------------------------------------------


def read_npy(path):
    with open(path, "rb") as f:
        data = f.read()
    n, = struct.unpack_from("<H", data, 8)
    return array.array("f", data[10 + n:])


def patch_gguf(path, out, key, number):
    """A copy of a GGUF file in which a key of 32 bits, f32 or u32, has another value: a number, or a text of 28
    characters, with which what follows stays aligned."""
    data = bytearray(open(path, "rb").read())
    name = key.encode()
    at = data.index(struct.pack("<Q", len(name)) + name) + 8 + len(name)
    kind, = struct.unpack_from("<I", data, at)
    if number.isalpha() and number != "nan":
        data[at:at + 8] = struct.pack("<IQ", 8, 28) + number.ljust(28, ".").encode()
        return open(out, "wb").write(data)
    struct.pack_into("<f" if kind == 6 else "<I", data, at + 4, float(number) if kind == 6 else int(number))
    open(out, "wb").write(data)


def compare(a, b):
    x, y = read_npy(a), read_npy(b)
    rms = math.sqrt(sum(v * v for v in x) / len(x))
    worst = max(abs(p - q) for p, q in zip(x, y)) if len(x) == len(y) else math.inf
    print("%.3g" % (worst / rms if worst == worst else math.inf))


FORMS = {"rwkvcpp": write_rwkvcpp, "fla": write_fla, "transformers": write_transformers,
         "tied": write_tied, "pth": write_pth,
         "body": lambda m, path: write_part(m, path, "body"),
         "reranker": lambda m, path: write_part(m, path, "reranker"),
         "rwkvx": lambda m, path: write_part(m, path, "rwkvx"), "hf": write_hf, "web": write_web, "gguf": write_gguf,
         "shards": write_shards,
         "eps": lambda m, path, x, ln="1e-5": write_safetensors(path, m, metadata={"ln_x_eps": x, "ln_eps": ln})}

if __name__ == "__main__":
    form, *rest = sys.argv[1:]
    if form == "compare":
        compare(*rest)
    elif form == "patch":
        patch_gguf(*rest)
    elif form == "relative":
        write_relative(*rest)
    else:
        FORMS[form](read_safetensors(rest[0]), *rest[1:])
