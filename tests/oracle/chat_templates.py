#!/usr/bin/env python3
"""Are a talk's tokens, and those of a talk that is trained on, those of transformers' apply_chat_template?

    tests/oracle/chat_templates.py RWKV LLAMA.CPP/models [FILE.gguf...]      (needs transformers, tokenizers, gguf)

The folder holds ggml-vocab-qwen2.gguf and templates/ (vendor/llama.cpp/models/ of the source package of
llama-cpp-python); further GGUF files have a vocabulary and a template each, such as SmolLM2's. Of each a folder as
Hugging Face's is made, with what a vocabulary lacks of a template's tokens added, and talks with and without system
texts, tools, their calls and outputs go through both.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

from gguf import GGUFReader
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

from vocabularies import of_gguf

R1 = ["<\uff5cbegin\u2581of\u2581sentence\uff5c>", "<\uff5cend\u2581of\u2581sentence\uff5c>", "<\uff5cUser\uff5c>",
      "<\uff5cAssistant\uff5c>", "<think>", "</think>"]
TOOL = {"type": "function", "function": {"name": "get_weather", "description": "The weather \u2014 of a place.", "parameters": {
    "type": "object", "properties": {"place": {"type": "string", "enum": ["K\u00f6ln", "x"]}, "n": {"type": "number", "default": 1.5}},
    "required": ["place"]}}}
CALL = {"type": "function", "function": {"name": "get_weather", "arguments": {"place": "K\u00f6ln", "n": 2}}}
ASK = {"role": "user", "content": "Who's there?  \n\n  12 \u4f60\u597d e\u0301"}
SAID = {"role": "assistant", "content": "Nobody.\n"}
SYSTEM = {"role": "system", "content": " Be brief. "}
PLAIN = [[ASK], [SYSTEM, ASK], [ASK, SAID, ASK], [SYSTEM, ASK, SAID, ASK, SAID, ASK], [SYSTEM, ASK, SAID]]
THOUGHT = [[ASK, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nYes."}, ASK]]
OUTPUT = {"role": "tool", "content": "{\"sun\": true}"}
CALLED = {"role": "assistant", "content": "", "tool_calls": [CALL, CALL]}
WITH_TOOLS = [[ASK], [SYSTEM, ASK], [ASK, CALLED, OUTPUT, OUTPUT], [ASK, CALLED, OUTPUT, OUTPUT, SAID, ASK],
              [ASK, dict(CALLED, content="Let me see."), OUTPUT, SAID, ASK]]


def folder_of(path, gguf, template, tokens):
    t = of_gguf(str(gguf))
    t.add_tokens([AddedToken(x, normalized=False, special=x.startswith("<\uff5c")) for x in tokens])
    t.save(str(path / "tokenizer.json"))
    names = {} if not tokens else {"bos_token": tokens[0], "eos_token": tokens[1]}
    (path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast",
                                                            "chat_template": template, **names}))


def packed(rwkv, folder, talk):
    """The tokens that a talk is in training."""
    line, out = folder / "talk.jsonl", folder / "talk.bin"
    line.write_text(json.dumps({"messages": talk}) + "\n")
    subprocess.run([rwkv, "data", "pack", line, "-o", out, "--tokenizer", folder, "--doc-boundary", "none", "--force", "-q"],
                   check=True)
    size = 2 if out.with_suffix(".idx").read_bytes()[17] == 8 else 4  # the number that Megatron has for uint16
    data = out.read_bytes()
    return [int.from_bytes(data[i:i + size], "little") for i in range(0, len(data), size)]


def check(rwkv, name, gguf, template, talks, tools=None, tokens=()):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        folder_of(folder, gguf, template, tokens)
        theirs = PreTrainedTokenizerFast.from_pretrained(folder)
        for talk in talks:
            asks = talk[-1]["role"] in ("user", "tool")
            more = {"enable_thinking": True} if tokens else {}
            want = theirs.apply_chat_template(talk, tools=tools, add_generation_prompt=asks, return_dict=False, **more)
            page = folder / "talk.json"
            page.write_text(json.dumps({"messages": talk, "tools": tools}))
            got = subprocess.run([rwkv, "tokenize", "--vocab", folder, "--messages", page], check=True,
                                 capture_output=True, text=True).stdout
            got = [int(x) for x in got.split(",")]
            if got != want:
                sys.exit(f"{name}: {talk}:\n{theirs.decode(got)!r}\nexpected\n{theirs.decode(want)!r}\n{got}\n{want}")
            want = theirs.apply_chat_template(talk, tools=tools, add_generation_prompt=False, return_dict=False)
            got = want if tools else packed(rwkv, folder, talk)
            if got != want:
                sys.exit(f"{name}, trained on: {talk}:\n{theirs.decode(got)!r}\nexpected\n{theirs.decode(want)!r}")
        print(f"{name}{' with tools' if tools else ''}: {len(talks)} talks, identical")


def template_of(gguf):
    return GGUFReader(gguf).fields["tokenizer.chat_template"].contents()


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    rwkv, models = sys.argv[1], pathlib.Path(sys.argv[2])
    qwen2 = models / "ggml-vocab-qwen2.gguf"
    jinja = lambda name: (models / "templates" / (name + ".jinja")).read_text()
    check(rwkv, "Qwen2", qwen2, template_of(qwen2), PLAIN)
    check(rwkv, "Qwen2.5-Instruct", qwen2, jinja("Qwen-Qwen2.5-7B-Instruct"), PLAIN)
    check(rwkv, "Qwen2.5-Instruct", qwen2, jinja("Qwen-Qwen2.5-7B-Instruct"), WITH_TOOLS, [TOOL, TOOL])
    check(rwkv, "R1", qwen2, jinja("deepseek-ai-DeepSeek-R1-Distill-Qwen-32B"), PLAIN + THOUGHT, None, R1)
    for gguf in sys.argv[3:]:
        check(rwkv, pathlib.Path(gguf).name, gguf, template_of(gguf), PLAIN)


if __name__ == "__main__":
    main()
