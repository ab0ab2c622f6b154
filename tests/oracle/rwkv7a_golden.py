#!/usr/bin/env python3
"""What the golden model of RWKV-7a computes, from the equations alone, in double.

Prints the numbers of its row in src/selftest/golden.c: run it by hand (numpy is all it needs) when the
row is in doubt. Weights come from the generator described in golden.c, in the order of the
parameter table; gradients are fourth-order central differences.
"""
import numpy as np

C, H, N, L, V, F = 8, 2, 4, 2, 11, 32
RANK_W, RANK_A, RANK_V, RANK_G, RANK_S = 3, 3, 2, 4, 3
TOKENS, TARGETS = [3, 1, 4, 1, 5], [1, 4, 1, 5, 9]


def shapes():
    """Name, shape, base and scale of the uniform values, in the order of the draws."""
    def norm(name):
        return [(name + ".weight", (C,), 1, 0.1), (name + ".bias", (C,), 0, 0.1)]

    rows = [("emb.weight", (V, C), 0, 1)] + norm("blocks.0.ln0")
    for layer in range(L):
        b = f"blocks.{layer}."
        rows += norm(b + "ln1") + norm(b + "ln2")
        rows += [(b + "att.x_" + q, (C,), 0.5, 0.5) for q in "rwkvag"]
        rows += [(b + "att.w0", (C,), -1, 1.5), (b + "att.w1", (C, RANK_W), 0, 0.5),
                 (b + "att.w2", (RANK_W, C), 0, 0.5), (b + "att.a0", (C,), 0, 0.5),
                 (b + "att.a1", (C, RANK_A), 0, 0.5), (b + "att.a2", (RANK_A, C), 0, 0.5)]
        if layer:
            rows += [(b + "att.v0", (C,), 0, 0.5), (b + "att.v1", (C, RANK_V), 0, 0.5),
                     (b + "att.v2", (RANK_V, C), 0, 0.5)]
        rows += [(b + "att.g1", (C, RANK_G), 0, 0.5), (b + "att.g2", (RANK_G, C), 0, 0.5),
                 (b + "att.k_k", (C,), 0.8, 0.2), (b + "att.k_a", (C,), 1, 0.2),
                 (b + "att.r_k", (H, N), 0, 0.3)]
        rows += [(b + "att." + m + ".weight", (C, C), 0, 0.5)
                 for m in ("receptance", "key", "value", "output")]
        rows += norm(b + "att.ln_x")
        rows += [(b + "ffn.x_k", (C,), 0.5, 0.5), (b + "ffn.key.weight", (F, C), 0, 0.5),
                 (b + "ffn.value.weight", (C, F), 0, 0.5),
                 (b + "ffn.s_emb.weight", (V, RANK_S * RANK_S), 0, 1),
                 (b + "ffn.s_emb_x.weight", (RANK_S * RANK_S, C), 0, 0.5),
                 (b + "ffn.s0", (F,), 1, 0.5), (b + "ffn.s1", (C, RANK_S), 0, 0.5),
                 (b + "ffn.s2", (RANK_S, F), 0, 0.5)]
    return rows + norm("ln_out") + [("head.weight", (V, C), 0, 1)]


def weights():
    s, out = 12345, {}
    for name, shape, base, scale in shapes():
        x = np.empty(int(np.prod(shape)))
        for i in range(x.size):
            s = (1664525 * s + 1013904223) % 2**32
            x[i] = base + scale * ((s >> 8) / 2**23 - 1)
        out[name] = x.reshape(shape)
    return out


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def norm(x, w, b, eps, groups=1):
    g = x.reshape(groups, -1)
    g = (g - g.mean(1, keepdims=True)) / np.sqrt(g.var(1, keepdims=True) + eps)
    return g.reshape(-1) * w + b


def time_mix(p, x, prev, S, v_first):
    mixed = {q: x + (prev - x) * p["x_" + q] for q in "rwkvag"}
    r, k = p["receptance.weight"] @ mixed["r"], p["key.weight"] @ mixed["k"]
    v = p["value.weight"] @ mixed["v"]
    if v_first is None:
        v_first = v
    else:
        v = v + (v_first - v) * sigmoid(p["v0"] + mixed["v"] @ p["v1"] @ p["v2"])
    d = np.exp(-np.exp(-0.5) * sigmoid(p["w0"] + np.tanh(mixed["w"] @ p["w1"]) @ p["w2"]))
    a = sigmoid(p["a0"] + mixed["a"] @ p["a1"] @ p["a2"])
    g = sigmoid(mixed["g"] @ p["g1"]) @ p["g2"]
    kk = (k * p["k_k"]).reshape(H, N)
    kk = kk / np.maximum(np.linalg.norm(kk, axis=1, keepdims=True), 1e-12)
    k = k * (1 + (a - 1) * p["k_a"])
    r, k, v_, d, a = (z.reshape(H, N) for z in (r, k, v, d, a))
    after, y = np.empty_like(S), np.empty((H, N))
    for h in range(H):
        after[h] = (S[h] * d[h] + np.outer(S[h] @ -kk[h], kk[h] * a[h]) + np.outer(v_[h], k[h]))
        y[h] = after[h] @ r[h]
    z = norm(y.reshape(-1), p["ln_x.weight"], p["ln_x.bias"], 64e-5, H)
    z = z + ((r * k * p["r_k"]).sum(1, keepdims=True) * v_).reshape(-1)
    return p["output.weight"] @ (z * g), after, v_first


def channel_mix(p, x, prev, token, emb):
    m = np.maximum(p["key.weight"] @ (x + (prev - x) * p["x_k"]), 0) ** 2
    row = p["s_emb.weight"][token] + p["s_emb_x.weight"] @ emb
    s = (x @ p["s1"]) @ row.reshape(RANK_S, RANK_S)
    return p["value.weight"] @ (m * (s @ p["s2"] + p["s0"]))


def part(w, prefix):
    return {name[len(prefix):]: x for name, x in w.items() if name.startswith(prefix)}


def run(w):
    """Logits of every token and the state of the last layer."""
    blocks = [(part(w, f"blocks.{l}.att."), part(w, f"blocks.{l}.ffn.")) for l in range(L)]
    shift = np.zeros((L, 2, C))
    S = np.zeros((L, H, N, N))
    logits = []
    for token in TOKENS:
        emb = norm(w["emb.weight"][token], w["blocks.0.ln0.weight"], w["blocks.0.ln0.bias"], 1e-5)
        x, v_first = emb, None
        for l, (att, ffn) in enumerate(blocks):
            b = f"blocks.{l}."
            n = norm(x, w[b + "ln1.weight"], w[b + "ln1.bias"], 1e-5)
            y, S[l], v_first = time_mix(att, n, shift[l, 0], S[l], v_first)
            x, shift[l, 0] = x + y, n
            n = norm(x, w[b + "ln2.weight"], w[b + "ln2.bias"], 1e-5)
            x, shift[l, 1] = x + channel_mix(ffn, n, shift[l, 1], token, emb), n
        logits.append(w["head.weight"] @ norm(x, w["ln_out.weight"], w["ln_out.bias"], 1e-5))
    return np.array(logits), S[L - 1]


def loss(w):
    logits, _ = run(w)
    top = logits.max(1)
    log_sum = np.log(np.exp(logits - top[:, None]).sum(1)) + top
    return (log_sum - logits[range(len(TARGETS)), TARGETS]).mean()


def gradient(w, name, i, h=1e-3):
    x, at = w[name].reshape(-1), w[name].reshape(-1)[i]

    def moved(d):
        x[i] = at + d
        out = loss(w)
        x[i] = at
        return out

    return (8 * (moved(h) - moved(-h)) - (moved(2 * h) - moved(-2 * h))) / (12 * h)


def main():
    w = weights()
    logits, S = run(w)
    print("parameters", sum(x.size for x in w.values()))
    print(f"sum {sum(x.sum() for x in w.values()):.9f}")
    print(f"last parameter {w['head.weight'].flat[-1]:.9f}")
    print(f"loss {loss(w):.9f}")
    print("first", ", ".join(f"{x:.6f}" for x in logits[0]))
    print("last ", ", ".join(f"{x:.6f}" for x in logits[-1]))
    print("state", ", ".join(f"{x:.7f}" for x in S[0, :2].flat))
    for name, i in (("blocks.0.ffn.s_emb.weight", 27), ("blocks.1.ffn.s_emb.weight", 36),
                    ("blocks.0.ffn.s_emb_x.weight", 0), ("blocks.1.ffn.s_emb_x.weight", 71),
                    ("blocks.0.ffn.s0", 1), ("blocks.0.ffn.s1", 0), ("blocks.1.ffn.s1", 23),
                    ("blocks.0.ffn.s2", 0), ("blocks.1.ffn.s2", 40),
                    ("blocks.0.ffn.key.weight", 0), ("blocks.1.ffn.value.weight", 5),
                    ("blocks.0.ln2.weight", 0), ("blocks.0.att.w0", 0), ("emb.weight", 24),
                    ("blocks.0.ln0.bias", 0)):
        print(f'{{"{name}", {i}, {gradient(w, name, i):.9f}}},')


if __name__ == "__main__":
    main()
