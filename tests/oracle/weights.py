"""Random models of every version, in numpy alone: weights are a function of a tensor's name and an
element's place, so that tests in C make the same."""
import json

import numpy as np

# End of a name, base, scale; scale times 1/sqrt(columns) where the flag is set. The first row that
# fits counts; low-rank factors end in a digit.
RANGES = [
    ("emb.weight", 0, 1, False), ("ln_x.weight", 1, 0.3, False), ("ln0.weight", 1, 0.3, False),
    ("ln1.weight", 1, 0.3, False), ("ln2.weight", 1, 0.3, False),
    ("ln_out.weight", 1, 0.3, False), (".bias", 0, 0.2, False), (".weight", 0, 1.5, True),
    ("time_decay", -2, 3, False), ("time_first", -0.5, 1, False), ("time_faaaa", 0.2, 0.5, False),
    ("time_state", 0, 0.5, False), (".w0", -2, 3, False), (".a0", 0, 0.5, False),
    (".v0", 0.5, 0.5, False), (".s0", 1, 0.5, False), ("k_k", 0.7, 0.2, False),
    ("k_a", 1, 0.3, False), ("r_k", 0, 0.3, False), ("1", 0, 0.5, False), ("2", 0, 0.5, False),
    ("", 0.5, 0.5, False),
]


def splitmix(x):
    x = x.copy()
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def values(name, shape):
    seed = 0xCBF29CE484222325  # FNV-1a
    for c in name.encode():
        seed = (seed ^ c) * 0x100000001B3 % 2**64
    n = int(np.prod(shape))
    with np.errstate(over="ignore"):
        at = np.uint64(seed) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        u = (splitmix(at) >> np.uint64(40)).astype(np.float64) / 2**23 - 1
    _, base, scale, by_columns = next(r for r in RANGES if name.endswith(r[0]))
    if by_columns:
        scale = scale / np.sqrt(shape[-1])
    return (base + scale * u).astype(np.float32).reshape(shape)


def norm(name, c):
    return {name + ".weight": (c,), name + ".bias": (c,)}


def matrices(prefix, shape, names):
    return {f"{prefix}{n}.weight": shape for n in names.split()}


def vectors(prefix, c, names):
    return {prefix + n: (1, 1, c) for n in names.split()}


def att_4(b, c, h, n, r, layer):
    return {b + "time_decay": (c,), b + "time_first": (c,),
            **vectors(b, c, "time_mix_k time_mix_v time_mix_r"),
            **matrices(b, (c, c), "key value receptance output")}


def att_5(b, c, h, n, r, layer, gate=True, heads_only=False, bonus="time_faaaa"):
    per = (h,) if heads_only else (h, n)
    return {**vectors(b, c, "time_mix_k time_mix_v time_mix_r" + " time_mix_g" * gate),
            b + "time_decay": per, b + bonus: per,
            **matrices(b, (c, c), "receptance key value output" + " gate" * gate),
            **norm(b + "ln_x", c)}


def att_6(b, c, h, n, r, layer):
    state = {b + "time_state": (h, n, n)} if "state" in r else {}
    return {**vectors(b, c, " ".join("time_maa_" + q for q in "xwkvrg")),
            b + "time_maa_w1": (c, 5 * r["m"]), b + "time_maa_w2": (5, r["m"], c),
            b + "time_decay": (1, 1, c), b + "time_decay_w1": (c, r["w"]),
            b + "time_decay_w2": (r["w"], c), b + "time_faaaa": (h, n),
            **matrices(b, (c, c), "receptance key value output gate"), **norm(b + "ln_x", c),
            **state}


def att_7(b, c, h, n, r, layer):
    ranks = {q: r[q] for q in "wavg"}
    return {**vectors(b, c, " ".join("x_" + q for q in "rwkvag") + " w0 a0 v0 k_k k_a"),
            **{b + q + "1": (c, k) for q, k in ranks.items()},
            **{b + q + "2": (k, c) for q, k in ranks.items()}, b + "r_k": (h, n),
            **matrices(b, (c, c), "receptance key value output"), **norm(b + "ln_x", c)}


def ffn_gated(mix):
    def shapes(b, c, f, v):
        return {**vectors(b, c, f"time_{mix}_k time_{mix}_r"), b + "key.weight": (f, c),
                b + "receptance.weight": (c, c), b + "value.weight": (c, f)}
    return shapes


def ffn_7(b, c, f, v):
    return {b + "x_k": (1, 1, c), b + "key.weight": (f, c), b + "value.weight": (c, f)}


def ffn_7a(b, c, f, v):
    return {**ffn_7(b, c, f, v), b + "s_emb.weight": (v, 1024), b + "s_emb_x.weight": (1024, c),
            b + "s0": (f,), b + "s1": (c, 32), b + "s2": (32, f)}


def form_5(**form):
    return lambda *sizes: att_5(*sizes, **form)


VERSIONS = {
    "4": (att_4, ffn_gated("mix")),
    "5.0-first": (form_5(gate=False, heads_only=True, bonus="time_first"), ffn_gated("mix")),
    "5.0": (form_5(gate=False, heads_only=True), ffn_gated("mix")),
    "5.1": (form_5(heads_only=True), ffn_gated("mix")),
    "5": (att_5, ffn_gated("mix")),
    "6": (att_6, ffn_gated("maa")),
    "7": (att_7, ffn_7),
    "7a": (att_7, ffn_7a),
}


def shapes(version, c, head_size, n_layer, f, v, ranks):
    """The name and shape of every tensor."""
    n = head_size or c
    att, ffn = VERSIONS[version]
    out = {"emb.weight": (v, c), **norm("blocks.0.ln0", c)}
    for layer in range(n_layer):
        b = f"blocks.{layer}."
        out.update({**norm(b + "ln1", c), **norm(b + "ln2", c)})
        out.update(att(b + "att.", c, c // n, n, ranks, layer))
        out.update(ffn(b + "ffn.", c, f, v))
    out.update({**norm("ln_out", c), "head.weight": (v, c)})
    return out


def write_safetensors(path, arrays):
    """Of f32 arrays; the container is simple enough to need no package."""
    header, at = {}, 0
    for name, x in arrays.items():
        header[name] = {"dtype": "F32", "shape": list(x.shape), "data_offsets": [at, at + x.nbytes]}
        at += x.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text + b"".join(x.tobytes() for x in arrays.values()))
