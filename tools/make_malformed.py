#!/usr/bin/env python3
"""Write the folders of malformed input, tests/data/{safetensors,npy,jsonl,gguf,rwkvcpp,pth,
tokenizer_json,gguf_vocab}.

Each folder holds one small file a case and expected.tsv: file, expected status, a part of the
sentence. tests/io/test_malformed.c opens every file of the tables. Run it from anywhere; it writes
the same bytes each time:

    tools/make_malformed.py
"""
import json
import pathlib
import struct

import malformed_models
import malformed_tokenizers

DATA = pathlib.Path(__file__).resolve().parent.parent / "tests" / "data"


def write_folder(name, ending, cases):
    folder = DATA / name
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*" + ending):
        old.unlink()
    rows = []
    for case, status, part, data in cases:
        (folder / (case + ending)).write_bytes(data)
        rows.append("\t".join((case + ending, status, part)) + "\n")
    (folder / "expected.tsv").write_text("".join(rows))


# ------------------------------------------------------------------------------------ safetensors


def st_file(header, data=b"", length=None):
    raw = header if isinstance(header, bytes) else header.encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def entry(dtype="F32", shape=(2,), begin=0, end=8):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def st_json(tensors, data=b""):
    return st_file(json.dumps(tensors, separators=(",", ":")), data)


def one(text, data=bytes(8)):
    """A file with one tensor 'a' whose entry is the given text."""
    return st_file('{"a":' + text + "}", data)


GOOD = {
    "__metadata__": {"format": "pt"},
    "a": entry(),
    "b": entry("BF16", (2, 3), 8, 20),
    "s": entry("F64", (), 20, 28),
    "e": entry("U8", (0, 5), 28, 28),
}
GOOD_FILE = st_json(GOOD, bytes(range(28)))
HEADER_END = 8 + len(json.dumps(GOOD, separators=(",", ":")))

MEMBERS = '"dtype":"F32","shape":[2],"data_offsets":[0,8]'


def safetensors():
    yield "good", "OK", "", GOOD_FILE
    yield "good_empty_header", "OK", "", st_file("{}")
    yield "good_padded", "OK", "", st_file("{}" + " " * 54)
    yield "good_meta_null", "OK", "", st_file('{"__metadata__":null,"a":' + json.dumps(entry()) + "}", bytes(8))
    yield "good_spaces_first", "OK", "", st_file('  \n{"a":' + json.dumps(entry()) + "}", bytes(8))
    yield "good_spaces", "OK", "", st_file(
        ' {\n"\\u0061" : { "shape":[ 2 ] ,\t"data_offsets" : [0 , 8], "dtype":"F32"}\r} ', bytes(8))
    yield "good_zero_times_huge", "OK", "", one(
        '{"dtype":"F32","shape":[0,9223372036854775807,8],"data_offsets":[0,0]}', b"")

    for n in (1, 7, 8, 9, HEADER_END - 1):
        yield f"cut_at_{n}", "FORMAT", "", GOOD_FILE[:n]
    for n in (HEADER_END, HEADER_END + 8, len(GOOD_FILE) - 1):
        yield f"cut_at_{n}", "FORMAT", "data_offsets", GOOD_FILE[:n]
    yield "empty", "FORMAT", "empty", b""
    yield "length_zero", "FORMAT", "expected '{'", st_file("", length=0)
    yield "length_one_less", "FORMAT", "expected '}'", st_file("{" + '"a":{' + MEMBERS + "}}",
                                                           bytes(8), 8 - 8 + 4 + 2 + len(MEMBERS) + 1)
    yield "length_one_more", "FORMAT", "header of", st_file("{}", length=3)
    yield "length_2_63", "FORMAT", "header of 9223372036854775808 bytes", st_file("{}", length=2**63)
    yield "length_max", "FORMAT", "header of 18446744073709551615 bytes", st_file(
        "{}", length=2**64 - 1)
    yield "length_flipped", "FORMAT", "header of", struct.pack(">Q", 2) + b"{}"

    yield "no_object", "FORMAT", "expected '{'", st_file("[]")
    yield "not_json", "FORMAT", "expected '{'", st_file("hello")
    yield "nul_header", "FORMAT", "expected '{'", st_file(bytes(16))
    yield "after_object", "FORMAT", "expected the end", st_file("{}{}")
    yield "comma_first", "FORMAT", "expected a string", st_file("{,}")
    yield "comma_last", "FORMAT", "expected a string", st_file('{"a":{' + MEMBERS + "},}", bytes(8))
    yield "comma_missing", "FORMAT", "expected '}'", st_file(
        '{"a":{' + MEMBERS + '}"b":{' + MEMBERS + "}}", bytes(8))
    yield "colon_missing", "FORMAT", "expected ':'", st_file('{"a" {' + MEMBERS + "}}", bytes(8))
    yield "key_unquoted", "FORMAT", "expected a string", st_file("{a:1}")
    yield "key_single_quotes", "FORMAT", "expected a string", st_file("{'a':1}")
    yield "string_open", "FORMAT", "closing quote", st_file('{"a')
    yield "string_bad_escape", "FORMAT", "backslash", st_file('{"\\x":{}}')
    yield "string_cut_escape", "FORMAT", "hexadecimal", st_file('{"\\u00')
    yield "string_half_surrogate", "FORMAT", "surrogate", st_file('{"\\ud800":{}}')
    yield "string_low_surrogate", "FORMAT", "surrogate", st_file('{"\\udc00":{}}')
    yield "string_bad_utf8", "FORMAT", "UTF-8", st_file(b'{"\xff":{}}')
    yield "string_overlong_utf8", "FORMAT", "UTF-8", st_file(b'{"\xc0\x80":{}}')
    yield "string_newline", "FORMAT", "control character", st_file('{"\n":{}}')
    yield "name_nul", "FORMAT", "control character 0x00", st_file('{"a\\u0000b":{' + MEMBERS + "}}",
                                                               bytes(8))
    yield "name_escape_code", "FORMAT", "control character 0x1b", st_file(
        '{"\\u001b[2J":{' + MEMBERS + "}}", bytes(8))
    yield "deep_arrays", "FORMAT", "expected '{'", st_file('{"a":' + "[" * 4000)
    yield "deep_objects", "FORMAT", "found 'a', expected dtype", st_file('{"a":' * 4000)
    yield "deep_shape", "FORMAT", "unsigned integer", one(
        '{"dtype":"F32","shape":' + "[" * 4000 + "}")

    yield "entry_number", "FORMAT", "expected '{'", one("1")
    yield "entry_null", "FORMAT", "expected '{'", one("null")
    yield "entry_empty", "FORMAT", "expected dtype, shape and data_offsets", one("{}")
    yield "no_dtype", "FORMAT", "expected dtype, shape and data_offsets", one(
        '{"shape":[2],"data_offsets":[0,8]}')
    yield "no_shape", "FORMAT", "expected dtype, shape and data_offsets", one(
        '{"dtype":"F32","data_offsets":[0,8]}')
    yield "no_offsets", "FORMAT", "expected dtype, shape and data_offsets", one(
        '{"dtype":"F32","shape":[2]}')
    yield "member_unknown", "FORMAT", "found 'strides'", one("{" + MEMBERS + ',"strides":[1]}')
    for key, value in (("dtype", '"F32"'), ("shape", "[2]"), ("data_offsets", "[0,8]")):
        yield f"member_twice_{key}", "FORMAT", f"'{key}' occurs twice", one(
            "{" + MEMBERS + f',"{key}":{value}' + "}")

    yield "dtype_unknown", "FORMAT", "unknown dtype 'X9'", st_json({"a": entry("X9")}, bytes(8))
    yield "dtype_lower", "FORMAT", "unknown dtype 'f32'", st_json({"a": entry("f32")}, bytes(8))
    yield "dtype_number", "FORMAT", "expected a string", one(
        '{"dtype":32,"shape":[2],"data_offsets":[0,8]}')
    for dtype in ("BOOL", "I8", "U16", "F8_E4M3"):
        yield f"dtype_{dtype.lower()}", "UNSUPPORTED", f"dtype {dtype} is not supported", st_json(
            {"a": entry(dtype)}, bytes(8))

    def shaped(shape, begin=0, end=8):
        return one('{"dtype":"F32","shape":%s,"data_offsets":[%s,%s]}' % (shape, begin, end))

    yield "shape_2_63", "FORMAT", "above 2^63 - 1", shaped("[9223372036854775808]")
    yield "shape_2_64", "FORMAT", "below 2^64", shaped("[18446744073709551616]")
    yield "shape_max", "FORMAT", "overflows", shaped("[9223372036854775807]")
    yield "shape_product_wraps", "FORMAT", "overflows", shaped("[4294967296,4294967296]")
    yield "shape_product_wraps_to_8", "FORMAT", "overflows", shaped("[4611686018427387906]")
    yield "shape_negative", "FORMAT", "unsigned integer", shaped("[-2]")
    yield "shape_fraction", "FORMAT", "fraction", shaped("[2.0]")
    yield "shape_exponent", "FORMAT", "fraction", shaped("[2e0]")
    yield "shape_leading_zero", "FORMAT", "zero", shaped("[02]")
    yield "shape_nan", "FORMAT", "unsigned integer", shaped("[NaN]")
    yield "shape_string", "FORMAT", "unsigned integer", shaped('["2"]')
    yield "shape_null", "FORMAT", "expected '['", shaped("null")
    yield "shape_scalar_number", "FORMAT", "expected '['", shaped("2")
    yield "shape_open", "FORMAT", "expected ']'", one('{"dtype":"F32","shape":[2')
    yield "shape_comma_last", "FORMAT", "unsigned integer", shaped("[2,]")
    yield "shape_nine_dims", "UNSUPPORTED", "more than eight dimensions", shaped(
        "[1,1,1,1,1,1,1,1,2]")
    yield "shape_too_small", "FORMAT", "span 8 bytes, dtype and shape need 4", shaped("[1]")
    yield "shape_too_large", "FORMAT", "span 8 bytes, dtype and shape need 12", shaped("[3]")

    yield "offsets_reversed", "FORMAT", "[8, 0]", shaped("[2]", 8, 0)
    yield "offsets_beyond", "FORMAT", "[0, 9]", shaped("[2]", 0, 9)
    yield "offsets_far", "FORMAT", "[4, 12]", shaped("[2]", 4, 12)
    yield "offsets_2_64_less_8", "FORMAT", "do not lie", shaped("[2]", 2**64 - 8, 2**64 - 1)
    yield "offsets_2_64", "FORMAT", "below 2^64", shaped("[2]", 0, 2**64)
    yield "offsets_wrap", "FORMAT", "do not lie", shaped("[2]", 2**64 - 8, 0)
    yield "offsets_negative", "FORMAT", "unsigned integer", shaped("[2]", -8, 0)
    yield "offsets_one", "FORMAT", "expected ','", one(
        '{"dtype":"F32","shape":[2],"data_offsets":[0]}')
    yield "offsets_three", "FORMAT", "expected ']'", one(
        '{"dtype":"F32","shape":[2],"data_offsets":[0,8,8]}')

    yield "overlap", "FORMAT", "overlaps", st_json({"a": entry(), "b": entry(begin=4, end=12)},
                                                 bytes(12))
    yield "overlap_same", "FORMAT", "overlaps", st_json({"a": entry(), "b": entry()}, bytes(8))
    yield "overlap_inside", "FORMAT", "overlaps", st_json(
        {"a": entry(shape=(4,), end=16), "b": entry(shape=(1,), begin=4, end=8)}, bytes(16))
    yield "hole_first", "FORMAT", "hole", st_json({"a": entry(begin=4, end=12)}, bytes(12))
    yield "hole_between", "FORMAT", "hole", st_json({"a": entry(), "b": entry(begin=12, end=20)},
                                                  bytes(20))
    yield "hole_last", "FORMAT", "tensors end at data byte 8 of 9", st_json({"a": entry()}, bytes(9))
    yield "data_without_tensors", "FORMAT", "tensors end at data byte 0 of 1", st_file("{}", b"x")
    yield "empty_tensor_in_hole", "FORMAT", "hole", st_json(
        {"a": entry(), "e": entry(shape=(0,), begin=9, end=9)}, bytes(10))
    yield "empty_tensor_inside", "FORMAT", "overlaps", st_json(
        {"a": entry(), "e": entry(shape=(0,), begin=4, end=4)}, bytes(8))

    yield "name_twice", "FORMAT", "'a': the name occurs twice", st_file(
        '{"a":{' + MEMBERS + '},"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}', bytes(16))
    yield "name_twice_escaped", "FORMAT", "'a': the name occurs twice", st_file(
        '{"a":{' + MEMBERS + '},"\\u0061":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}',
        bytes(16))
    yield "meta_twice", "FORMAT", "__metadata__ occurs twice", st_file(
        '{"__metadata__":{},"__metadata__":{}}')
    yield "meta_key_twice", "FORMAT", "'k' occurs twice", st_file(
        '{"__metadata__":{"k":"1","k":"2"}}')
    yield "meta_number", "FORMAT", "expected a string", st_file('{"__metadata__":{"k":1}}')
    yield "meta_string", "FORMAT", "expected '{'", st_file('{"__metadata__":"x"}')
    yield "meta_nul", "FORMAT", "control character 0x00", st_file('{"__metadata__":{"k":"\\u0000"}}')


# -------------------------------------------------------------------------------------------- npy


def npy_file(dict_text, data=b"", length=None, version=b"\x01\x00", magic=b"\x93NUMPY"):
    pad = -(10 + len(dict_text) + 1) % 64
    raw = dict_text.encode() + b" " * pad + b"\n"
    return magic + version + struct.pack("<H", len(raw) if length is None else length) + raw + data


def npy_dict(shape, descr="<f4", order="False"):
    return "{'descr': '%s', 'fortran_order': %s, 'shape': %s, }" % (descr, order, shape)


def npy():
    good = npy_file(npy_dict("(2, 3)"), bytes(24))
    yield "good", "OK", "", good
    yield "good_1d", "OK", "", npy_file(npy_dict("(3,)"), bytes(12))
    yield "good_no_rows", "OK", "", npy_file(npy_dict("(0, 3)"))
    for n in (1, 5, 6, 7, 8, 9):
        yield f"cut_at_{n}", "FORMAT", "npy", good[:n]
    for n in (10, 11, 127):
        yield f"cut_at_{n}", "FORMAT", "cut off", good[:n]
    yield "cut_at_128", "FORMAT", "0 bytes of npy data", good[:128]
    yield "cut_at_151", "FORMAT", "23 bytes of npy data, its shape needs 24", good[:151]
    yield "extended", "FORMAT", "25 bytes of npy data", good + b"x"
    yield "empty", "FORMAT", "empty", b""
    yield "magic", "FORMAT", "no npy file", npy_file(npy_dict("(3,)"), bytes(12), magic=b"\x93NUMPX")
    yield "version_2", "FORMAT", "version 1.0", npy_file(npy_dict("(3,)"), bytes(12),
                                                       version=b"\x02\x00")
    yield "version_1_1", "FORMAT", "version 1.0", npy_file(npy_dict("(3,)"), bytes(12),
                                                         version=b"\x01\x01")
    yield "length_zero", "FORMAT", "npy header", npy_file(npy_dict("(3,)"), bytes(12), length=0)
    yield "length_max", "FORMAT", "cut off", npy_file(npy_dict("(3,)"), bytes(12), length=65535)
    yield "length_flipped", "FORMAT", "cut off", npy_file(npy_dict("(3,)"), bytes(12), length=0x7600)
    yield "no_newline", "FORMAT", "expected its end", npy_file(
        npy_dict("(3,)"), bytes(12)).replace(b"\n", b" ")
    yield "no_dict", "FORMAT", "descr", npy_file("import os", bytes(12))
    yield "after_dict", "FORMAT", "expected its end", npy_file(npy_dict("(3,)") + "x", bytes(12))
    yield "brace_missing", "FORMAT", "expected its end", npy_file(npy_dict("(3,)")[:-1], bytes(12))
    yield "f64", "UNSUPPORTED", "another type", npy_file(npy_dict("(3,)", "<f8"), bytes(24))
    yield "big_endian", "UNSUPPORTED", "another type", npy_file(npy_dict("(3,)", ">f4"), bytes(12))
    yield "object", "UNSUPPORTED", "another type", npy_file(npy_dict("(3,)", "|O"), bytes(12))
    yield "fortran", "UNSUPPORTED", "C order", npy_file(npy_dict("(3, 1)", order="True"), bytes(12))
    for name, shape in (("scalar", "()"), ("3d", "(1, 1, 3)"), ("negative", "(-3,)"),
                        ("no_comma", "(3)"), ("list", "[3]"), ("nan", "(nan,)"),
                        ("long", "(3L,)"), ("open", "(3,"), ("2_63", "(9223372036854775808,)")):
        yield f"shape_{name}", "UNSUPPORTED", "one or two dimensions", npy_file(npy_dict(shape),
                                                                              bytes(12))
    yield "shape_max", "FORMAT", "overflows", npy_file(npy_dict("(9223372036854775807,)"), bytes(12))
    yield "shape_wraps", "FORMAT", "overflows", npy_file(npy_dict("(4294967296, 4294967296)"),
                                                       bytes(12))
    yield "unaligned", "UNSUPPORTED", "not aligned", b"\x93NUMPY\x01\x00" + struct.pack(
        "<H", 61) + npy_dict("(3,)").encode().ljust(60) + b"\n" + bytes(12)


# ------------------------------------------------------------------------------------------ jsonl


def jsonl():
    yield "good", "OK", "", b'{"text": "a"}\n\n  \r\n{"id": [1, {"x": null}], "text": "b\\u00e9"}'
    yield "good_empty_text", "OK", "", b'{"text":""}\n'
    yield "good_nul", "OK", "", b'{"text":"a\\u0000b"}\n'
    yield "good_crlf", "OK", "", b'{"text":"a"}\r\n{"text":"b"}\r\n'
    yield "good_pair", "OK", "", b'{"text":"\\ud83d\\ude00 \xf0\x9f\x98\x80"}\n'
    whole = b'{"text": "ab\\n"}'
    for n in (1, 2, 6, 7, 8, 9, 10, 13, len(whole) - 1):
        yield f"cut_at_{n}", "FORMAT", "line 1", whole[:n]
    yield "empty", "FORMAT", "empty", b""
    yield "blank", "FORMAT", "no document", b"\n \n\t\n"
    yield "line_3", "FORMAT", "line 3, byte 1: expected '{'", b'{"text":"a"}\n\nx\n'
    yield "array", "FORMAT", "expected '{'", b'["text"]\n'
    yield "string", "FORMAT", "expected '{'", b'"text"\n'
    yield "plain", "FORMAT", "expected '{'", b"It is a truth\n"
    yield "good_bom", "OK", "", b'\xef\xbb\xbf{"text":"a"}\n'
    yield "bom_twice", "FORMAT", "expected '{'", b'\xef\xbb\xbf\xef\xbb\xbf{"text":"a"}\n'
    yield "bom_later", "FORMAT", "line 2", b'{"text":"a"}\n\xef\xbb\xbf{"text":"a"}\n'
    yield "utf16", "UNSUPPORTED", "a text in UTF-16LE", '\ufeff{"text":"a"}\n'.encode("utf-16-le")
    yield "utf16_be", "UNSUPPORTED", "a text in UTF-16BE", '\ufeff{"text":"a"}\n'.encode("utf-16-be")
    yield "utf32", "UNSUPPORTED", "a text in UTF-32LE", '\ufeff{"text":"a"}\n'.encode("utf-32-le")
    yield "two_on_a_line", "FORMAT", "expected the end", b'{"text":"a"}{"text":"b"}\n'
    yield "over_two_lines", "FORMAT", "line 1", b'{"text":\n"a"}\n'
    yield "no_text", "FORMAT", "member 'text'", b'{"txt":"a"}\n'
    yield "no_member", "FORMAT", "member 'text'", b"{}\n"
    yield "text_inside", "FORMAT", "member 'text'", b'{"x":{"text":"a"}}\n'
    yield "text_twice", "FORMAT", "'text' occurs twice", b'{"text":"a","text":"b"}\n'
    yield "text_twice_escaped", "FORMAT", "'text' occurs twice", b'{"text":"a","t\\u0065xt":"b"}\n'
    for name, value in (("number", "1"), ("null", "null"), ("array", '["a"]'), ("object", "{}")):
        yield f"text_{name}", "FORMAT", "expected a string", b'{"text":' + value.encode() + b"}\n"
    yield "comma_last", "FORMAT", "expected a string", b'{"text":"a",}\n'
    yield "comma_missing", "FORMAT", "expected '}'", b'{"text":"a" "x":1}\n'
    yield "single_quotes", "FORMAT", "expected a string", b"{'text':'a'}\n"
    yield "comment", "FORMAT", "expected a string", b'{/**/"text":"a"}\n'
    yield "bad_utf8", "FORMAT", "UTF-8", b'{"text":"\xe9"}\n'
    yield "surrogate_utf8", "FORMAT", "UTF-8", b'{"text":"\xed\xa0\x80"}\n'
    yield "above_10ffff", "FORMAT", "UTF-8", b'{"text":"\xf4\x90\x80\x80"}\n'
    yield "overlong_3", "FORMAT", "UTF-8", b'{"text":"\xe0\x80\xaf"}\n'
    yield "overlong_4", "FORMAT", "UTF-8", b'{"text":"\xf0\x80\x80\xaf"}\n'
    yield "cut_utf8", "FORMAT", "UTF-8", b'{"text":"\xf0\x9f\x98'
    yield "half_surrogate", "FORMAT", "low surrogate", b'{"text":"\\ud83d x"}\n'
    yield "two_high_surrogates", "FORMAT", "low surrogate", b'{"text":"\\ud83d\\ud83d"}\n'
    yield "bad_escape", "FORMAT", "backslash", b'{"text":"\\x41"}\n'
    yield "bad_hex", "FORMAT", "hexadecimal", b'{"text":"\\u00g0"}\n'
    yield "tab", "FORMAT", "control character", b'{"text":"a\tb"}\n'
    yield "nul_byte", "FORMAT", "control character", b'{"text":"a\0b"}\n'
    for name, value in (("nan", "NaN"), ("infinity", "Infinity"), ("plus", "+1"), ("hex", "0x1"),
                        ("point", ".5"), ("point_last", "1."), ("exponent", "1e"), ("zero", "01"),
                        ("minus", "-"), ("true", "tru"), ("deep_arrays", "[" * 5000),
                        ("deep_objects", '{"x":' * 5000), ("open_array", "[1,2"),
                        ("array_comma", "[1,]")):
        yield f"other_{name}", "FORMAT", "line 1", b'{"x":' + value.encode() + b',"text":"a"}\n'


if __name__ == "__main__":
    write_folder("safetensors", ".safetensors", safetensors())
    write_folder("npy", ".npy", npy())
    write_folder("jsonl", ".jsonl", jsonl())
    write_folder("gguf", ".gguf", malformed_models.gguf())
    write_folder("rwkvcpp", ".bin", malformed_models.rwkvcpp())
    write_folder("pth", ".pth", malformed_models.pth())
    write_folder("tokenizer_json", ".json", malformed_tokenizers.tokenizers())
    write_folder("gguf_vocab", ".gguf", malformed_tokenizers.gguf_vocabularies())
