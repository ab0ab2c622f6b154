"""Every call of the Python binding once: python_smoke.py FOLDER, with rwkv_c on PYTHONPATH."""

import json
import os
import re
import struct
import sys

import rwkv_c as rk

folder = sys.argv[1]
model_path = os.path.join(folder, "model.safetensors")
state_path = os.path.join(folder, "state.safetensors")

# The binding names every function of the header and no other, and structures have their members in order.
with open(os.path.join(os.environ["RK_SOURCE_DIR"], "include", "rk.h")) as f:
    header_text = f.read()
declared = set(re.findall(r"^RK_API .*?\b(rk_\w+)\(", header_text, re.M))
assert declared == set(rk._SIGNATURES), declared ^ set(rk._SIGNATURES)


def members(name_of):
    """Names of a struct's members, as the header has them."""
    plain = re.sub(r"/\*.*?\*/", "", header_text, flags=re.S)
    body = re.search(r"typedef struct \w+ \{([^}]*)\} " + name_of + ";", plain).group(1)
    return [re.search(r"(\w+)\s*$", m).group(1) for line in body.split(";") for m in line.split(",") if m.strip()]


for name_of, fields in (("rk_train_params", rk._TrainParams), ("rk_step_info", rk.StepInfo),
                       ("rk_sampler_params", rk._SamplerParams), ("rk_engine_params", rk._EngineParams),
                       ("rk_speculator_info", rk.SpeculatorInfo), ("rk_adapter_source", rk._AdapterSource),
                       ("rk_model_info", rk.ModelInfo)):
    assert members(name_of) == [name.lstrip("_") for name, _ in fields._fields_], name_of
assert re.match(r"\d+\.\d+\.\d+$", rk.version())

lines = []
engine = rk.Engine(n_threads=2, log=lambda level, line: lines.append(line))
assert engine.n_threads == 2 and engine.path and any("2 threads" in line for line in lines)
tokenizer = rk.Tokenizer("byte")
text = "to be, or not to be: that is the question. " * 4
trainer = rk.Trainer(engine, n_vocab=256, n_layer=1, n_embd=32, head_size=16, rank_w=8, ctx_len=16,
                     batch=2, steps=3, lr=1e-2)
rows = tokenizer.encode(text[:34])
first = trainer.loss(rows)
steps = [trainer.step(rows) for _ in range(3)]
assert [s.step for s in steps] == [1, 2, 3] and trainer.loss(rows) < first
trainer.save_model(model_path)
tuned = rk.Trainer(engine, init_from=model_path, ctx_len=16, batch=2, steps=3, optimizer="sgd",
                   train_only="head,ln_out")
assert tuned.loss(rows) == trainer.loss(rows) and tuned.step(rows).step == 1
refused_size = None
try:
    rk.Trainer(engine, init_from=model_path, n_layer=2)
except rk.Error as e:
    refused_size = str(e)
assert "n_layer is 2" in refused_size

model = rk.Model(model_path)
assert (model.info.arch, model.info.n_vocab, model.info.n_embd) == ("rwkv7", 256, 32)
assert model.sizes["n_layer"] == 1 and model.sizes["rank_w"] == 8 and model.sizes["ln_eps"] == 1e-5
with open(model_path, "rb") as f:
    same = rk.Model(f.read())
assert same.info.fingerprint == model.info.fingerprint

a = rk.Session(model, engine)
logits = a.eval(tokenizer.encode("to be"))
every = rk.Session(same, engine).eval_all(tokenizer.encode("to be"))
assert list(every[-256:]) == list(logits) and rk.logprob(logits, 32) < 0
b = a.clone()
together = rk.Session.eval_batch([a, b], [44, 44])
assert list(together[:256]) == list(together[256:])
assert a.state == b.state
a.save_state(state_path)
b.reset()
assert a.state != b.state
b.load_state(state_path)
assert a.state == b.state

# A LoRA of zeros in RWKV-PEFT's names, but for one number: at scale 0 nothing changes.
adapter_path = os.path.join(folder, "lora.safetensors")
tensors = {"blocks.0.att.key.lora_A": (1, 32), "blocks.0.att.key.lora_B": (32, 1)}
header, at = {}, 0
for name, shape in tensors.items():
    header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + 128]}
    at += 128
text_header = json.dumps(header).encode()
with open(adapter_path, "wb") as f:
    f.write(struct.pack("<Q", len(text_header)) + text_header + struct.pack("<64f", *[1.0] * 64))
adapted = {}
for scale in (None, 0.0, 1.0):
    s = rk.Session(model, engine)
    if scale is not None:
        s.adapt(rk.Adapters(model, (adapter_path, scale, 1.0)))
    s = s.clone()  # what it computes with goes along
    adapted[scale] = list(s.eval([44, 45]))
assert adapted[None] == adapted[0.0] != adapted[1.0]

tuned_path = os.path.join(folder, "tuned.safetensors")
n_head, n = 2, 16
values = [[[h + v / 10 + k / 100 for k in range(n)] for v in range(n)] for h in range(n_head)]
header = json.dumps({"blocks.0.att.time_state": {
    "dtype": "F32", "shape": [n_head, n, n], "data_offsets": [0, 4 * n_head * n * n]}}).encode()
with open(tuned_path, "wb") as f:
    f.write(struct.pack("<Q", len(header)) + header)
    f.write(struct.pack(f"<{n_head * n * n}f", *(x for h in values for v in h for x in v)))
matrices = {}
for layout in ("vk", "kv"):
    b.load_tuned(tuned_path, layout)
    state = struct.unpack(f"<{len(b.state) // 4}f", b.state)
    matrices[layout] = state[32:-32]
b.reset()
b.load_state(tuned_path)
assert struct.unpack(f"<{len(b.state) // 4}f", b.state)[32:-32] == matrices["vk"]
assert matrices["kv"] == tuple(matrices["vk"][(h * n + k) * n + v]
                               for h in range(n_head) for v in range(n) for k in range(n))
assert matrices["kv"] != matrices["vk"]
b.reset()
b.state = a.state
assert a.state == b.state

sampler = rk.Sampler(256, tokenizer, temp=0, seed=3)
sampler.bias(65, 1e9)
assert sampler.next(logits) == 65
sampler.reset()
assert "".join(rk.generate(a, sampler, tokenizer, "to be", 5)) == "AAAAA"

greedy, logits, plain = rk.Sampler(256, temp=0), a.eval([32]), a.clone()
fast = rk.Speculator(a, greedy, model, n_max=3)
fast.read(tokenizer.encode("to be"))
tokens = []
for _ in range(20):
    tokens.append(fast.next(logits))
    logits = fast.feed(tokens[-1])
fast.settle()
for token in tokens:
    plain.eval([token])
assert a.state == plain.state and fast.info.n_tokens == 20
fast.close()
assert tokenizer.decode(tokenizer.encode("h\u00e4tte")) == "h\u00e4tte" and tokenizer.n_vocab == 256

for code, call in [(rk.IO, lambda: rk.Model(folder + "/nowhere")),
                   (rk.ARG, lambda: a.eval([256])),
                   (rk.ARG, lambda: rk.Engine(path="mmx"))]:
    try:
        call()
    except rk.Error as e:
        assert e.code == code and str(e), e
    else:
        raise AssertionError("an error was expected")

def refused(call, word):
    try:
        call()
    except ValueError as e:
        assert word in str(e), e
    else:
        raise AssertionError(f"expected a refusal with '{word}'")


# Arrays of a wrong length and ids that C would cut off are refused.
refused(lambda: sampler.next(logits[:255]), "255 scores, expected 256")
refused(lambda: rk.logprob(logits, 256), "256 is none of 256 tokens")
refused(lambda: rk.logprob(logits, -1), "-1 is none")
refused(lambda: a.eval([1 << 32]), "is no token")
refused(lambda: a.eval([-1]), "is no token")
refused(lambda: trainer.step(rows[:-1]), "33 tokens, expected 2 rows of 17")
refused(lambda: rk.Session.eval_batch([a, b], [44]), "as many tokens as sessions")
assert greedy.next(list(logits)) == greedy.next(logits)
fast = rk.Speculator(a, greedy, model, n_max=3)
refused(lambda: fast.next(logits[:10]), "10 scores, expected 256")
fast.close()

# What is closed raises; what was made from it goes on, and frees it at last.
engine_2, model_2, tokenizer_2 = rk.Engine(n_threads=1), rk.Model(model_path), rk.Tokenizer("byte")
session_2, sampler_2 = rk.Session(model_2, engine_2), rk.Sampler(256, tokenizer_2)
decoder_2, clone_2 = rk.Decoder(tokenizer_2), session_2.clone()
fast_2 = rk.Speculator(session_2, rk.Sampler(256, temp=0), model_2)
trainer_2 = rk.Trainer(engine_2, n_vocab=256, n_layer=1, n_embd=32, head_size=16, ctx_len=16, batch=2,
                       steps=3)
for closed in (engine_2, model_2, tokenizer_2, session_2):
    closed.close()
    closed.close()
clone_2.eval([1])
decoder_2.push(65)
sampler_2.next(logits)
fast_2.feed(fast_2.next(logits))
trainer_2.step(rows)
for closed in (sampler_2, decoder_2, clone_2, fast_2, trainer_2):
    closed.close()
for call, name in [(lambda: engine_2.n_threads, "Engine"), (lambda: engine_2.abort(), "Engine"),
                   (lambda: model_2.info, "Model"), (lambda: rk.Session(model, engine_2), "Engine"),
                   (lambda: rk.Session(model_2, engine), "Model"),
                   (lambda: session_2.eval([1]), "Session"), (lambda: session_2.state, "Session"),
                   (lambda: session_2.clone(), "Session"), (lambda: session_2.reset(), "Session"),
                   (lambda: rk.Session.eval_batch([a, session_2], [1, 1]), "Session"),
                   (lambda: tokenizer_2.encode("x"), "Tokenizer"),
                   (lambda: tokenizer_2.bytes(1), "Tokenizer"), (lambda: tokenizer_2.n_vocab, "Tokenizer"),
                   (lambda: rk.Decoder(tokenizer_2), "Tokenizer"),
                   (lambda: decoder_2.push(1), "Decoder"), (lambda: sampler_2.next(logits), "Sampler"),
                   (lambda: sampler_2.reset(), "Sampler"), (lambda: fast_2.settle(), "Speculator"),
                   (lambda: fast_2.info, "Speculator"), (lambda: trainer_2.step(rows), "Trainer"),
                   (lambda: trainer_2.save_model("x"), "Trainer")]:
    refused(call, f"this {name} is closed")
with rk.Tokenizer("byte") as inside:
    assert inside.n_vocab == 256
refused(lambda: inside.n_vocab, "this Tokenizer is closed")

engine.abort()
try:
    a.eval([1])
except rk.Error as e:
    assert e.code == rk.ABORTED
engine.clear_abort()
print("python binding: all calls answered")
