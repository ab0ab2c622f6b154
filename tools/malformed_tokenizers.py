"""Malformed vocabularies for make_malformed.py: tokenizer.json files, and those within GGUF files.

A good file is small: 243 tokens for the bytes that occur in UTF-8, a few merges, added tokens. Each case
changes one thing in it. Cases are (name, status, part of the sentence, bytes).
"""
import json

from malformed_models import ARCH, gguf_file, gguf_pair, gguf_text, u32, u64


def alphabet():
    """The character that stands for each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in plain]
    return {**{b: chr(b) for b in plain}, **{b: chr(256 + i) for i, b in enumerate(others)}}


CHARS = alphabet()
BYTES = [b for b in range(256) if b not in (0xC0, 0xC1) and b < 0xF5]
MERGES = [("h", "e"), ("l", "l"), ("he", "ll"), (CHARS[32], "a"), (CHARS[0xC3], CHARS[0xA9])]


def added(id, content, **changes):
    return {"id": id, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": False, "special": True, **changes}


def good():
    vocab = {"<|end|>": 0}
    for b in BYTES:
        vocab[CHARS[b]] = len(vocab)
    for a, b in MERGES:
        vocab[a + b] = len(vocab)
    n = len(vocab)
    return {"version": "1.0", "truncation": None, "padding": None,
            "added_tokens": [added(0, "<|end|>"), added(n, "   ", normalized=True, special=False),
                             added(n + 1, "  ", normalized=True, special=False)],
            "normalizer": {"type": "NFC"},
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True},
            "post_processor": {"type": "ByteLevel"}, "decoder": {"type": "ByteLevel"},
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": False, "vocab": vocab,
                      "merges": [a + " " + b for a, b in MERGES]}}


def dump(tree):
    return json.dumps(tree, ensure_ascii=False, separators=(",", ":")).encode()


def changed(path, value):
    """The good file with one member replaced; removed where value is Ellipsis."""
    tree = good()
    at = tree
    *parents, last = path
    for key in parents:
        at = at[key]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return dump(tree)


def raw(old, new):
    text = dump(good())
    assert text.count(old) >= 1, old
    return text.replace(old, new, 1)


QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
         r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}


def split(pattern, **changes):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False, **changes}


def pre_tokenizers():
    put = lambda *steps: changed(["pre_tokenizer"], {"type": "Sequence", "pretokenizers": list(steps)})
    level = {**LEVEL, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    yield "good_qwen2", "OK", "", put(split(QWEN2), LEVEL)
    yield "good_llama3", "OK", "", put(split(QWEN2.replace("|\\p{N}|", "|\\p{N}{1,3}|")), LEVEL)
    yield "good_smollm", "OK", "", put(digits, level)
    yield "good_sequence_of_one", "OK", "", put(level)
    yield "good_null_normalizer", "OK", "", changed(["normalizer"], None)
    yield "sequence_empty", "UNSUPPORTED", "pre_tokenizer ends without ByteLevel", put()
    yield "sequence_no_list", "UNSUPPORTED", "a Sequence without pretokenizers", changed(
        ["pre_tokenizer"], {"type": "Sequence"})
    yield "sequence_within", "UNSUPPORTED", "or within another", put({"type": "Sequence", "pretokenizers": [level]})
    yield "sequence_number", "FORMAT", "expected '{'", put(7)
    yield "sequence_after", "UNSUPPORTED", "goes on after ByteLevel", put(level, digits)
    yield "no_byte_level", "UNSUPPORTED", "ends without ByteLevel", put(split(QWEN2))
    yield "pattern_unknown", "UNSUPPORTED", "a pattern that is not known; those of gpt-2, mpt, smollm", put(
        split("\\w+"), LEVEL)
    yield "pattern_two", "UNSUPPORTED", "a pattern that is not known", put(split(QWEN2), level)
    yield "pattern_three", "UNSUPPORTED", "more than 2 patterns", put(digits, digits, digits, level)
    yield "pattern_hostile", "UNSUPPORTED", "a pattern that is not known", put(split("(a*)*b"), LEVEL)
    yield "pattern_string", "UNSUPPORTED", "is no Regex", put(
        {**split(""), "pattern": {"String": " "}}, LEVEL)
    yield "pattern_number", "FORMAT", "expected a string", put(split(7), LEVEL)
    yield "pattern_none", "FORMAT", "no pattern in pre_tokenizer", put(
        {"type": "Split", "behavior": "Isolated", "invert": False}, LEVEL)
    yield "split_removed", "UNSUPPORTED", "pre_tokenizer has a behavior", put(split(QWEN2, behavior="Removed"), LEVEL)
    yield "split_inverted", "UNSUPPORTED", "pre_tokenizer has a invert", put(split(QWEN2, invert=True), LEVEL)
    yield "digits_together", "UNSUPPORTED", "individual_digits", put(
        {"type": "Digits", "individual_digits": False}, level)
    yield "pre_tokenizer_metaspace", "UNSUPPORTED", "pre_tokenizer is 'Metaspace', expected ByteLevel", put(
        {"type": "Metaspace", "replacement": "_"}, level)


def post_processors():
    token = lambda text: {"SpecialToken": {"id": text, "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    put = lambda *parts: changed(["post_processor"], {"type": "TemplateProcessing", "single": list(parts)})
    yield "good_template", "OK", "", put(token("<|end|>"), text)
    yield "good_template_alone", "OK", "", put(text)
    yield "good_processors", "OK", "", changed(["post_processor"], {"type": "Sequence", "processors": [
        {"type": "ByteLevel"}, {"type": "TemplateProcessing", "single": [token("<|end|>"), text]}]})
    yield "template_behind", "UNSUPPORTED", "puts more around a text than one token in front", put(
        text, token("<|end|>"))
    yield "template_two", "UNSUPPORTED", "puts more around a text", put(token("<|end|>"), token("<|end|>"), text)
    yield "template_unknown", "FORMAT", "puts '<|x|>' in front of a text, which is no added token", put(
        token("<|x|>"), text)
    yield "template_other", "UNSUPPORTED", "puts more around a text", put({"Other": 1}, text)
    yield "template_no_id", "FORMAT", "no id in a template", put({"SpecialToken": {}}, text)
    yield "template_none", "FORMAT", "no single in post_processor", changed(
        ["post_processor"], {"type": "TemplateProcessing"})
    yield "processors_none", "FORMAT", "no processors in post_processor", changed(["post_processor"], {"type": "Sequence"})
    yield "processor_bert", "UNSUPPORTED", "post_processor is 'BertProcessing'", changed(
        ["post_processor"], {"type": "BertProcessing", "sep": ["[SEP]", 1], "cls": ["[CLS]", 0]})
    deep = {"type": "ByteLevel"}
    for _ in range(80):
        deep = {"type": "Sequence", "processors": [deep]}
    yield "processors_deep", "FORMAT", "values nested less deeply", changed(["post_processor"], deep)


def tokenizers():
    whole = dump(good())
    n = len(good()["model"]["vocab"])
    vocab_at, merges_at = whole.index(b'"vocab"'), whole.index(b'"merges"')
    yield "good", "OK", "", whole
    yield "good_spaces", "OK", "", json.dumps(good(), indent=1).encode()
    yield "good_pairs", "OK", "", changed(["model", "merges"], [list(m) for m in MERGES])
    yield "good_no_merges", "OK", "", changed(["model", "merges"], [])
    yield "good_no_added", "OK", "", changed(["added_tokens"], [added(0, "<|end|>")])
    yield "good_no_post_processor", "OK", "", changed(["post_processor"], ...)
    yield "good_empty_affixes", "OK", "", changed(["model", "end_of_word_suffix"], "")
    yield "good_unknown_member", "OK", "", changed(["extra"], {"deep": [[[[1.5e3, None, "x"]]]]})

    for at in (1, 2, 9, 60, 200, vocab_at - 3, vocab_at + 9, vocab_at + 13, (vocab_at + merges_at) // 2,
               merges_at + 4, merges_at + 12, len(whole) - 2, len(whole) - 1):
        yield f"cut_{at}", "FORMAT", f"expected", whole[:at]
    yield "after", "FORMAT", "expected the end", whole + b"{}"
    yield "array", "FORMAT", "line 1", b"[" + whole + b"]"
    yield "empty_object", "FORMAT", "no normalizer, expected a tokenizer.json", b"{}"
    yield "other_json", "FORMAT", "no normalizer", b'{"hidden_size":768}'
    yield "nul", "FORMAT", "byte 1: expected a string", b"{" + bytes(40)
    yield "not_utf8", "FORMAT", "expected UTF-8", raw(b'"he"', b'"h\xe9"')
    yield "overlong", "FORMAT", "expected UTF-8", raw(b'"he"', b'"\xc0\xa1"')
    yield "surrogate", "FORMAT", "expected a low surrogate", raw(b'"he"', b'"\\ud800"')
    yield "control", "FORMAT", "escape for a control character", raw(b'"he"', b'"h\n"')
    yield "utf16", "UNSUPPORTED", "a text in UTF-16LE", whole.decode().encode("utf-16")
    yield "good_bom", "OK", "", b"\xef\xbb\xbf" + whole
    for name, value in (("arrays", b"[" * 100000), ("objects", b'{"":' * 25000)):
        yield f"deep_{name}", "FORMAT", "values nested less deeply", raw(b'"version":"1.0"', b'"version":' + value)
        yield f"deep_vocab_{name}", "FORMAT", "values nested less deeply", raw(b'"vocab":{', b'"vocab":' + value)
        yield f"deep_alone_{name}", "FORMAT", "", value
    yield "comma_last", "FORMAT", "expected a string", whole[:-1] + b",}"
    yield "comma_missing", "FORMAT", "expected", raw(b',"normalizer"', b'"normalizer"')
    for key in ("normalizer", "pre_tokenizer", "model"):
        yield f"no_{key}", "FORMAT", f"no {key}, expected a tokenizer.json", changed([key], ...)
        if key != "normalizer":
            yield f"null_{key}", "FORMAT", "expected '{'", changed([key], None)
        yield f"twice_{key}", "FORMAT", f"'{key}' occurs twice", whole[:-1] + f',"{key}":null}}'.encode()
    for key in ("vocab", "merges"):
        yield f"no_{key}", "FORMAT", f"no {key} in model", changed(["model", key], ...)
        yield f"twice_{key}", "FORMAT", f"'{key}' occurs twice in model", raw(
            f'"{key}":'.encode(), f'"{key}":null,"{key}":'.encode())
        yield f"number_{key}", "FORMAT", "expected", changed(["model", key], 7)
    yield "no_type", "FORMAT", "no type in model, expected BPE", changed(["model", "type"], ...)
    yield "type_number", "FORMAT", "expected a string", changed(["model", "type"], 1)
    for kind in ("Unigram", "WordPiece", "WordLevel", "B\u0007\u001b[2J"):
        yield f"model_{len(kind)}", "UNSUPPORTED", "expected BPE", changed(["model", "type"], kind)
    yield "normalizer_nfkc", "UNSUPPORTED", "normalizer is 'NFKC', expected NFC", changed(
        ["normalizer", "type"], "NFKC")
    yield from pre_tokenizers()
    yield "prefix_space", "UNSUPPORTED", "pre_tokenizer has a add_prefix_space", changed(
        ["pre_tokenizer", "add_prefix_space"], True)
    yield "no_regex", "UNSUPPORTED", "by a pattern that is not known", changed(["pre_tokenizer", "use_regex"], False)
    yield from post_processors()
    for key, value in (("dropout", 0.1), ("continuing_subword_prefix", "##"), ("end_of_word_suffix", "</w>"),
                       ("byte_fallback", True), ("ignore_merges", 1)):
        yield f"model_{key}", "UNSUPPORTED", f"model has a {key} that is not read", changed(["model", key], value)

    token = lambda s, id: raw(b'"he":', json.dumps(s, ensure_ascii=False).encode() + b":%s," % id + b'"he":')
    yield "id_2_63", "FORMAT", "an id of 9223372036854775808, expected at most", token("xyz", b"9223372036854775808")
    yield "id_2_64", "FORMAT", "an integer below 2^64", token("xyz", b"18446744073709551616")
    yield "id_2_20", "FORMAT", "an id of 1048576, expected at most", token("xyz", b"1048576")
    yield "id_negative", "FORMAT", "an unsigned integer", token("xyz", b"-1")
    yield "id_fraction", "FORMAT", "fraction", token("xyz", b"1.0")
    yield "id_exponent", "FORMAT", "fraction", token("xyz", b"1e3")
    yield "id_text", "FORMAT", "an unsigned integer", token("xyz", b'"7"')
    yield "id_null", "FORMAT", "an unsigned integer", token("xyz", b"null")
    yield "id_zero_first", "FORMAT", "expected '}'", token("xyz", b"0300")
    yield "id_twice", "FORMAT", "id 5 was given before", token("xyz", b"5")
    yield "hole", "FORMAT", "no token has the id %d, the highest is 1000" % (n + 2), token("xyz", b"1000")
    yield "id_beyond", "FORMAT", "an id of 1048575, expected at most", token("xyz", b"1048575")
    yield "token_twice", "FORMAT", "has the same bytes as token", token("he", b"%d" % (n + 2))
    yield "token_twice_escaped", "FORMAT", "has the same bytes as token", raw(
        b'"he":', b'"\\u0068e":%d,"he":' % (n + 2))
    yield "token_empty", "FORMAT", "has 0 bytes, expected 1 .. 1024", token("", b"%d" % (n + 2))
    yield "token_long", "FORMAT", "has 1025 bytes, expected 1 .. 1024", token("x" * 1025, b"%d" % (n + 2))
    yield "token_space", "FORMAT", "'a b' has a character that stands for no byte", token("a b", b"%d" % (n + 2))
    yield "token_han", "FORMAT", "'\u4e2d' has a character that stands for no byte", token("\u4e2d", b"%d" % (n + 2))
    yield "token_beyond", "FORMAT", "'\u0144' has a character", token("\u0144", b"%d" % (n + 2))
    yield "token_escape_code", "FORMAT", "'?[2J' has a character", token("\u001b[2J", b"%d" % (n + 2))
    yield "byte_missing", "FORMAT", "no token for the single byte 0x41", raw(b'"A":', b'"zzz":')
    yield "byte_missing_high", "FORMAT", "no token for the single byte 0xf0", raw(
        b'"%s":' % CHARS[0xF0].encode(), b'"zzz":')
    yield "byte_missing_tab", "FORMAT", "no token for the single byte 0x09", raw(
        b'"%s":' % CHARS[9].encode(), b'"zzz":')
    rare = raw(b'"%s":' % CHARS[0xF4].encode(), b'"zzz":')
    yield "good_byte_rare", "OK", "", rare
    yield "good_byte_unknown", "OK", "", rare.replace(b'"unk_token":null', b'"unk_token":"<|end|>"')
    yield "unknown_number", "FORMAT", "expected a string", raw(b'"unk_token":null', b'"unk_token":7')

    merge = lambda value: changed(["model", "merges"], [MERGES[0][0] + " " + MERGES[0][1], value])
    for name, value in (("one", "he"), ("three", "h e l"), ("empty", ""), ("two_spaces", "h  e")):
        yield f"merge_{name}", "FORMAT", "merge 1 is '", merge(value)
    for name, value in (("left", "qq e"), ("right", "h qq"), ("nothing", " e"), ("nothing_right", "h "),
                        ("han", "\u4e2d h")):
        yield f"merge_{name}", "FORMAT", "which is no token", merge(value)
    yield "merge_no_result", "FORMAT", "merge 1 joins tokens", merge("e h")
    yield "merge_twice", "FORMAT", "merge 1 repeats an earlier one", merge("h e")
    yield "merge_number", "FORMAT", "expected a string", merge(7)
    yield "merge_null", "FORMAT", "expected a string", merge(None)
    yield "merge_object", "FORMAT", "expected a string", merge({})
    yield "merge_pair_one", "FORMAT", "expected ','", merge(["h"])
    yield "merge_pair_none", "FORMAT", "expected a string", merge([])
    yield "merge_pair_three", "FORMAT", "expected ']'", merge(["l", "l", "x"])
    yield "merge_pair_unknown", "FORMAT", "merge 1 is of 'qq', which is no token", merge(["qq", "e"])
    yield "merge_pair_deep", "FORMAT", "expected a string", merge([["h"], "e"])

    plus = lambda *tokens: changed(["added_tokens"], good()["added_tokens"] + list(tokens))
    yield "added_other_text", "FORMAT", "added token 'xx' has the id 3 of another token", plus(added(3, "xx"))
    yield "added_twice", "FORMAT", "has the same bytes as token", plus(added(n + 2, "<|x|>"), added(n + 3, "<|x|>"))
    yield "added_same_id", "FORMAT", "has the same bytes as token", plus(added(0, "<|end|>"))
    yield "added_empty", "FORMAT", "has 0 bytes", plus(added(n + 2, ""))
    yield "added_long", "FORMAT", "has 1025 bytes", plus(added(n + 2, "x" * 1025))
    yield "added_hole", "FORMAT", "no token has the id", plus(added(n + 9, "<|x|>"))
    yield "added_id_2_63", "FORMAT", "an id of 9223372036854775808", plus(added(2**63, "<|x|>"))
    for key in ("single_word", "lstrip", "rstrip"):
        yield f"added_{key}", "UNSUPPORTED", f"an added token has a {key} that is not read", plus(
            added(n + 2, "<|x|>", **{key: True}))
    for key in ("id", "content", "normalized", "special"):
        entry = added(n + 2, "<|x|>")
        del entry[key]
        yield f"added_no_{key}", "FORMAT", f"no {key} in an added token", plus(entry)
    yield "added_object", "FORMAT", "expected '['", changed(["added_tokens"], {})
    yield "added_number", "FORMAT", "expected '{'", changed(["added_tokens"], [1])
    yield "added_content_number", "FORMAT", "expected a string", plus(added(n + 2, 7))


# --------------------------------------------------------------------------- vocabularies in GGUF files


def escaped(b):
    return repr(bytes([b]))[2:-1]


def gguf_array(key, kind, count, body):
    return gguf_pair(key, 9, u32(kind) + u64(count) + body)


def gguf_vocab_file(tokens, kinds=None, model=b"rwkv", kinds_type=5, n_tokens=None, n_kinds=None):
    kinds = [1] * len(tokens) if kinds is None else kinds
    pairs = [ARCH]
    if model is not None:
        pairs.append(gguf_pair("tokenizer.ggml.model", 8, gguf_text(model)))
    pairs.append(gguf_array("tokenizer.ggml.tokens", 8, len(tokens) if n_tokens is None else n_tokens,
                            b"".join(map(gguf_text, tokens))))
    if kinds:
        pairs.append(gguf_array("tokenizer.ggml.token_type", kinds_type, len(kinds) if n_kinds is None else n_kinds,
                                b"".join(map(u32, kinds))))
    return gguf_file(pairs)


def gguf_vocabularies():
    tokens = ["<s>"] + [escaped(b) for b in range(256)] + ["he", "it's", "[PAD259]"]
    kinds = [3] + [1] * 258 + [5]
    with_token = lambda text: gguf_vocab_file(tokens + [text], kinds + [1])
    yield "good", "OK", "", gguf_vocab_file(tokens, kinds)
    yield "good_no_kinds", "OK", "", gguf_vocab_file(tokens[:-1], [])
    yield "good_quotes", "OK", "", with_token("'\"")
    yield "good_no_vocab", "OK", "", gguf_vocab_file([], [], model=b"no_vocab")
    yield "good_none", "OK", "", gguf_vocab_file([], [], model=b"none")
    yield "good_no_model", "OK", "", gguf_vocab_file(tokens, kinds, model=None)
    for kind in ("llama", "bert", "RWKV", "rwkv "):
        yield f"model_{kind.strip()}", "UNSUPPORTED", f"of kind '{kind}', expected rwkv or gpt2", gguf_vocab_file(
            tokens, kinds, model=kind.encode())
    yield "model_number", "UNSUPPORTED", "expected rwkv", gguf_file(
        [ARCH, gguf_pair("tokenizer.ggml.model", 4, u32(7))])
    model = gguf_pair("tokenizer.ggml.model", 8, gguf_text("rwkv"))
    yield "no_tokens", "FORMAT", "no array of strings tokenizer.ggml.tokens", gguf_file([ARCH, model])
    yield "tokens_numbers", "FORMAT", "no array of strings", gguf_file(
        [ARCH, model, gguf_array("tokenizer.ggml.tokens", 5, 2, u32(1) + u32(2))])
    yield "tokens_string", "FORMAT", "no array of strings", gguf_file(
        [ARCH, model, gguf_pair("tokenizer.ggml.tokens", 8, gguf_text("a"))])
    yield "tokens_none", "FORMAT", "a vocabulary of 0 tokens", gguf_vocab_file([], [])
    for n in (2**63, 2**64 - 1, 2**32, 300):
        yield f"tokens_count_{n}", "FORMAT", "ends within an array", gguf_vocab_file(tokens, [], n_tokens=n)
        yield f"kinds_count_{n}", "FORMAT", "ends within an array", gguf_vocab_file(tokens, kinds, n_kinds=n)
    yield "kinds_fewer", "FORMAT", "no array of 260 i32, one for each token", gguf_vocab_file(tokens, kinds[:-1])
    yield "kinds_more", "FORMAT", "no array of 260 i32", gguf_vocab_file(tokens, kinds + [1])
    yield "kinds_floats", "FORMAT", "no array of 260 i32", gguf_vocab_file(tokens, kinds, kinds_type=6)
    yield "byte_missing", "FORMAT", "no token for the single byte 0xff", gguf_vocab_file(tokens[:256])
    yield "byte_unused", "FORMAT", "no token for the single byte 0x00", gguf_vocab_file(tokens, [3, 5] + kinds[2:])
    yield "first_is_text", "OK", "", gguf_vocab_file(tokens, [1] * len(tokens))
    yield "twice", "FORMAT", "token 260 has the same bytes as token 257", with_token("he")
    yield "twice_escaped", "FORMAT", "token 260 has the same bytes as token 257", with_token("h\\x65")
    yield "token_empty", "FORMAT", "token 260 of its vocabulary: it is empty or too long", with_token("")
    yield "token_long", "FORMAT", "token 260 of its vocabulary: it is empty or too long", with_token("x" * 1025)
    yield "escape_unknown", "FORMAT", "token 260 of its vocabulary: an unknown escape", with_token("\\q")
    yield "escape_octal", "FORMAT", "an unknown escape", with_token("\\101")
    yield "escape_unicode", "FORMAT", "an unknown escape", with_token("\\u0041")
    yield "escape_named", "FORMAT", "an unknown escape", with_token("\\N{BEL}")
    yield "escape_cut", "FORMAT", "it ends inside an escape", with_token("a\\")
    yield "escape_short", "FORMAT", "an escape lacks hexadecimal digits", with_token("\\x4")
    yield "escape_bad", "FORMAT", "an escape lacks hexadecimal digits", with_token("\\xg0")
    yield "control", "FORMAT", "an unescaped control character", with_token("a\nb")
    yield "nul", "FORMAT", "an unescaped control character", with_token("a\0b")
    yield "raw_byte", "FORMAT", "above 127", with_token(b"\xe9")
    yield "raw_utf8", "FORMAT", "above 127", with_token("\u4e2d")
    yield "kind_unknown", "OK", "", gguf_vocab_file(tokens, kinds[:-1] + [77])
    yield from gguf_merges()


def merges_file(tokens=None, kinds=None, merges=None, pre="qwen2", more=(), without=()):
    """A vocabulary with merges in a GGUF file; what is None is the good one's."""
    good_tokens = [CHARS[b] for b in BYTES] + [a + b for a, b in MERGES] + ["<|end|>", "<tool>", "[PAD250]"]
    tokens = good_tokens if tokens is None else tokens
    kinds = [1] * (len(good_tokens) - 3) + [3, 4, 5] if kinds is None else kinds
    merges = [a + " " + b for a, b in MERGES] if merges is None else merges
    texts = lambda list: b"".join(map(gguf_text, list))
    pairs = {"model": gguf_pair("tokenizer.ggml.model", 8, gguf_text("gpt2")),
             "pre": gguf_pair("tokenizer.ggml.pre", 8, gguf_text(pre)),
             "tokens": gguf_array("tokenizer.ggml.tokens", 8, len(tokens), texts(tokens)),
             "kinds": gguf_array("tokenizer.ggml.token_type", 5, len(kinds), b"".join(map(u32, kinds))),
             "merges": gguf_array("tokenizer.ggml.merges", 8, len(merges), texts(merges))}
    return gguf_file([ARCH] + [p for name, p in pairs.items() if name not in without] + list(more)), good_tokens, kinds


def gguf_merges():
    whole, tokens, kinds = merges_file()
    n = len(tokens)
    merges = [a + " " + b for a, b in MERGES]
    put = lambda **changes: merges_file(**changes)[0]
    id = lambda key, x: gguf_pair("tokenizer.ggml." + key, 4, u32(x))
    token = lambda text, kind=1: put(tokens=tokens + [text], kinds=kinds + [kind])
    merge = lambda text: put(merges=[merges[0], text])
    yield "merges_good", "OK", "", whole
    yield "merges_good_no_kinds", "OK", "", put(tokens=tokens[:-2], kinds=[], without=["kinds"])
    yield "merges_good_ids", "OK", "", put(more=[id("bos_token_id", 5), id("eos_token_id", n - 3)])
    yield "merges_good_none", "OK", "", put(merges=[])
    yield "merges_pre_missing", "UNSUPPORTED", "no tokenizer.ggml.pre says how", put(without=["pre"])
    for pre in ("default", "tekken", "Qwen2", ""):
        yield f"merges_pre_{len(pre)}", "UNSUPPORTED", f"cuts texts as '{pre}' does, which is not known", put(pre=pre)
    yield "merges_no_tokens", "FORMAT", "no array of strings tokenizer.ggml.tokens", put(without=["tokens"])
    yield "merges_missing", "FORMAT", "no array of strings tokenizer.ggml.merges", put(without=["merges"])
    yield "merges_numbers", "FORMAT", "no array of strings tokenizer.ggml.merges", put(
        without=["merges"], more=[gguf_array("tokenizer.ggml.merges", 5, 1, u32(1))])
    yield "merges_kinds_fewer", "FORMAT", f"no array of {n} i32, one for each token", put(kinds=kinds[:-1])
    yield "merges_tokens_none", "FORMAT", "a vocabulary of 0 tokens", put(tokens=[], kinds=[])
    for name, text in (("one", "he"), ("three", "h e l"), ("empty", ""), ("two_spaces", "h  e")):
        yield f"merges_{name}", "FORMAT", "merge 1 is '", merge(text)
    yield "merges_unknown", "FORMAT", "merge 1 is of 'qq', which is no token", merge("qq e")
    yield "merges_of_control", "FORMAT", "merge 1 is of '<|end|>', which is no token", merge("<|end|> e")
    yield "merges_no_result", "FORMAT", "merge 1 joins tokens", merge("e h")
    yield "merges_twice", "FORMAT", "merge 1 repeats an earlier one", merge(merges[0])
    yield "merges_bytes", "FORMAT", "merge 1 is of", merge(b"\xff\xfe e")
    yield "merges_token_twice", "FORMAT", f"token {n} has the same bytes as token", token("he")
    yield "merges_control_twice", "FORMAT", "has the same bytes as token", token("<|end|>", 3)
    yield "merges_token_empty", "FORMAT", f"token {n} has 0 bytes", token("")
    yield "merges_token_long", "FORMAT", f"token {n} has 1025 bytes", token("x" * 1025)
    yield "merges_token_space", "FORMAT", "'a b' has a character that stands for no byte", token("a b")
    yield "merges_token_bytes", "FORMAT", "has a character that stands for no byte", token(b"\xff")
    yield "merges_byte_missing", "FORMAT", "no token for the single byte 0x41", put(
        tokens=["zzz" if t == "A" else t for t in tokens])
    yield "merges_byte_control", "FORMAT", "no token for the single byte 0x41", put(
        kinds=[3 if t == "A" else k for t, k in zip(tokens, kinds)])
    for key in ("bos", "eos", "eot", "eom"):
        yield f"merges_{key}_beyond", "FORMAT", f"{key}_token_id is '{n}', expected the id of one of its {n}", put(
            more=[id(key + "_token_id", n)])
    yield "merges_eos_text", "FORMAT", "eos_token_id is 'x', expected the id", put(
        more=[gguf_pair("tokenizer.ggml.eos_token_id", 8, gguf_text("x"))])
