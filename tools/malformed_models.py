"""Malformed model files of three containers, for make_malformed.py: GGUF, rwkv.cpp and .pth.

Each function returns cases (name, status, part of the sentence, bytes). A good file is built of named
pieces, so that it can be cut at every boundary and every number in it can be made to lie.
"""
import pickle
import struct


def u32(x):
    return struct.pack("<I", x & 0xFFFFFFFF)


def u64(x):
    return struct.pack("<Q", x & 0xFFFFFFFFFFFFFFFF)


# ------------------------------------------------------------------------------------------- gguf


def gguf_text(s):
    s = s if isinstance(s, bytes) else s.encode()
    return u64(len(s)) + s


def gguf_pair(key, kind, body):
    return gguf_text(key) + u32(kind) + body


def gguf_tensor(name="a", dims=(4,), kind=0, offset=0):
    return gguf_text(name) + u32(len(dims)) + b"".join(u64(d) for d in dims) + u32(kind) + u64(offset)


def gguf_file(pairs=(), tensors=(), data=b"", magic=b"GGUF", version=3, n_tensors=None, n_pairs=None,
              align=32):
    head = magic + u32(version) + u64(len(tensors) if n_tensors is None else n_tensors)
    head += u64(len(pairs) if n_pairs is None else n_pairs) + b"".join(pairs) + b"".join(tensors)
    return head + bytes(-len(head) % align) + data


ARCH = gguf_pair("general.architecture", 8, gguf_text("rwkv7"))


def gguf():
    good = dict(pairs=[ARCH, gguf_pair("x.n", 4, u32(7)), gguf_pair("x.f", 6, struct.pack("<f", 0.5)),
                       gguf_pair("x.list", 9, u32(8) + u64(2) + gguf_text("p") + gguf_text("q")),
                       gguf_pair("x.bool", 7, b"\1"), gguf_pair("x.i8", 1, b"\xff")],
                tensors=[gguf_tensor("a", (4,)), gguf_tensor("b", (32, 2), 2, 32)],
                data=bytes(16 + 16) + bytes(36))
    whole = gguf_file(**good)
    pair_end = 24 + len(b"".join(good["pairs"]))
    head_end = pair_end + len(b"".join(good["tensors"]))
    cases = [("good", "OK", "", whole),
             ("good_version_2", "OK", "", gguf_file(version=2, **good)),
             ("good_alignment", "OK", "", gguf_file(
                 [ARCH, gguf_pair("general.alignment", 4, u32(64))], [gguf_tensor()], bytes(16),
                 align=64)),
             ("good_alignment_1", "OK", "", gguf_file(
                 [ARCH, gguf_pair("general.alignment", 4, u32(1))], [gguf_tensor()], bytes(16),
                 align=1)),
             ("good_split_of_one", "OK", "", gguf_file([ARCH, gguf_pair("split.count", 2, b"\1\0")])),
             ("no_tensors", "OK", "", gguf_file([ARCH]))]
    for n in (5, 7, 9, 15, 17, 23):
        cases.append((f"cut_header_{n}", "FORMAT", "ends within its header", whole[:n]))
    for n in (25, 31, 40, 51):
        cases.append((f"cut_key_{n}", "FORMAT", "ends within a key", whole[:n]))
    for n in range(24 + 28, 24 + len(ARCH), 4):
        cases.append((f"cut_value_{n}", "FORMAT", "ends within a", whole[:n]))
    for n in range(24 + len(ARCH), pair_end, 9):
        cases.append((f"cut_pairs_{n}", "FORMAT", "ends within a", whole[:n]))
    for n in range(pair_end, head_end, 5):
        cases.append((f"cut_tensors_{n}", "FORMAT", "ends within a", whole[:n]))
    for n in range(head_end, len(whole), 16):
        cases.append((f"cut_data_{n}", "FORMAT", "offset", whole[:n]))
    many = [2**63, 2**64 - 1, 2**32, 10**6]
    for n in many:
        cases.append((f"tensors_{n}", "FORMAT", "", gguf_file([ARCH], [gguf_tensor()], bytes(16),
                                                              n_tensors=n)))
        cases.append((f"pairs_{n}", "FORMAT", "", gguf_file([ARCH], [], b"", n_pairs=n)))
        cases.append((f"key_length_{n}", "FORMAT", "a key", gguf_file([u64(n) + b"k" + u32(4)])))
        cases.append((f"text_length_{n}", "FORMAT", "ends within a string",
                      gguf_file([gguf_text("k") + u32(8) + u64(n) + b"v"])))
        cases.append((f"array_count_{n}", "FORMAT", "ends within an array",
                      gguf_file([gguf_pair("k", 9, u32(4) + u64(n) + bytes(8))])))
        cases.append((f"array_strings_{n}", "FORMAT", "ends within an array",
                      gguf_file([gguf_pair("k", 9, u32(8) + u64(n) + gguf_text("v"))])))
        cases.append((f"name_length_{n}", "FORMAT", "a tensor's name",
                      gguf_file([ARCH], [u64(n) + b"n" + u32(1)])))
        cases.append((f"offset_{n}", "FORMAT", "offset",
                      gguf_file([ARCH], [gguf_tensor(offset=n // 32 * 32)], bytes(16))))
    for n in (2**62, 2**61, 2**40, 2**33):
        cases.append((f"dim_{n}", "FORMAT", "",
                      gguf_file([ARCH], [gguf_tensor(dims=(n, 4))], bytes(16))))
    one = lambda **k: gguf_file([ARCH], [gguf_tensor(**k)], bytes(256))
    cases += [
        ("version_1", "UNSUPPORTED", "GGUF version 1, expected 2 or 3", gguf_file(version=1)),
        ("version_4", "UNSUPPORTED", "GGUF version 4, expected 2 or 3", gguf_file(version=4)),
        ("big_endian", "UNSUPPORTED", "big-endian", gguf_file(version=3 << 24)),
        ("magic", "FORMAT", "first bytes", gguf_file(magic=b"GGUE")),
        ("magic_only", "FORMAT", "ends within its header", b"GGUF"),
        ("dims_0", "FORMAT", "has 0 dimensions, expected 1 to 4", one(dims=())),
        ("dims_5", "FORMAT", "has 5 dimensions, expected 1 to 4", one(dims=(1,) * 5)),
        ("dims_max", "FORMAT", "dimensions, expected 1 to 4",
         gguf_file([ARCH], [gguf_text("a") + u32(2**32 - 1)])),
        ("dim_negative", "FORMAT", "has a dimension of 18446744073709551615", one(dims=(2**64 - 1,))),
        ("overflow", "FORMAT", "overflows", one(dims=(2**31, 2**31, 2**31, 2**31))),
        ("type_4", "FORMAT", "is of type 4, which ggml does not have", one(kind=4)),
        ("type_9", "UNSUPPORTED", "is of type Q8_1, which is not read", one(kind=9)),
        ("type_iq", "UNSUPPORTED", "is of type IQ2_XXS", one(dims=(256,), kind=16)),
        ("type_99", "FORMAT", "is of type 99", one(kind=99)),
        ("type_max", "FORMAT", "is of type 4294967295", one(kind=2**32 - 1)),
        ("half_block", "FORMAT", "no whole number of blocks of Q4_0", one(dims=(16,), kind=2)),
        ("half_super_block", "FORMAT", "no whole number of blocks of Q4_K",
         one(dims=(128,), kind=12)),
        ("offset_unaligned", "FORMAT", "expected a multiple of 32", one(offset=8)),
        ("offset_end", "FORMAT", "offset 256", gguf_file([ARCH], [gguf_tensor(offset=256)], bytes(16))),
        ("overlap", "FORMAT", "tensors 'a' and 'b' overlap",
         gguf_file([ARCH], [gguf_tensor("a", (16,)), gguf_tensor("b", (4,), 0, 32)], bytes(64))),
        ("same_place", "FORMAT", "overlap",
         gguf_file([ARCH], [gguf_tensor("a"), gguf_tensor("b")], bytes(64))),
        ("twice", "FORMAT", "tensor 'a' occurs twice",
         gguf_file([ARCH], [gguf_tensor("a"), gguf_tensor("a", offset=32)], bytes(64))),
        ("no_name", "FORMAT", "a tensor without a name", one(name="")),
        ("name_nul", "FORMAT", "or a NUL", one(name="a\0b")),
        ("name_control", "FORMAT", "control character 0x1b", one(name="a\x1b[2J")),
        ("name_long", "FORMAT", "a tensor's name has 200 bytes", one(name="n" * 200)),
        ("key_twice", "FORMAT", "'general.architecture' occurs twice", gguf_file([ARCH, ARCH])),
        ("key_long", "FORMAT", "a key has 300 bytes", gguf_file([gguf_pair("k" * 300, 4, u32(1))])),
        ("value_type", "FORMAT", "a value of type 13", gguf_file([gguf_pair("k", 13, u32(1))])),
        ("value_type_max", "FORMAT", "a value of type 4294967295",
         gguf_file([gguf_pair("k", 2**32 - 1, u32(1))])),
        ("array_in_array", "FORMAT", "an array of type 9",
         gguf_file([gguf_pair("k", 9, u32(9) + u64(1) + u32(4) + u64(0))])),
        ("array_type", "FORMAT", "an array of type 77", gguf_file([gguf_pair("k", 9, u32(77) + u64(0))])),
        ("split", "UNSUPPORTED", "file 2 of a model in 3; llama-gguf-split --merge",
         gguf_file([ARCH, gguf_pair("split.no", 2, b"\1\0"), gguf_pair("split.count", 2, b"\3\0")])),
        ("type_nvfp4", "UNSUPPORTED", "is of type NVFP4, which is not read", one(dims=(64,), kind=40)),
        ("alignment_0", "FORMAT", "general.alignment is '0'",
         gguf_file([gguf_pair("general.alignment", 4, u32(0))])),
        ("alignment_3", "FORMAT", "general.alignment is '33'",
         gguf_file([gguf_pair("general.alignment", 4, u32(33))])),
        ("alignment_huge", "FORMAT", "general.alignment is '2147483648'",
         gguf_file([gguf_pair("general.alignment", 4, u32(2**31))])),
        ("alignment_text", "FORMAT", "general.alignment is 'wide'",
         gguf_file([gguf_pair("general.alignment", 8, gguf_text("wide"))])),
    ]
    return cases


# --------------------------------------------------------------------------------------- rwkv.cpp


def record(name="a", dims=(4,), kind=0, data=None, n_dims=None, name_bytes=None):
    name = name if isinstance(name, bytes) else name.encode()
    n = 1
    for d in dims:
        n *= d
    body = bytes(4 * n) if data is None else data
    head = u32(len(dims) if n_dims is None else n_dims)
    head += u32(len(name) if name_bytes is None else name_bytes) + u32(kind)
    return head + b"".join(u32(d) for d in dims) + name + body


def rwkvcpp_file(*records, magic=0x67676D66, version=101):
    return struct.pack("<IIIIII", magic, version, 256, 64, 2, 0) + b"".join(records)


def rwkvcpp():
    whole = rwkvcpp_file(record("a"), record("bb", (3, 2), 1, bytes(12)),
                         record("c", (32, 2), 8, bytes(48)))
    cases = [("good", "OK", "", whole), ("good_100", "OK", "", rwkvcpp_file(record(), version=100)),
             ("no_records", "OK", "", rwkvcpp_file())]
    for n in (4, 8, 12, 16, 20, 23):
        cases.append((f"cut_header_{n}", "FORMAT", "ends within its header", whole[:n]))
    inside = [n for n in range(25, len(whole)) if n not in (24 + 12 + 4 + 1 + 16,
                                                          24 + 33 + 12 + 8 + 2 + 12)]
    for n in inside[::3]:
        cases.append((f"cut_{n}", "FORMAT", "", whole[:n]))
    for n in (0, 4, 5, 2**31, 2**32 - 1):
        cases.append((f"dims_{n}", "FORMAT", "dimensions, expected 1 to 3",
                      rwkvcpp_file(record(n_dims=n))))
    for n in (0, 257, 2**31, 2**32 - 1):
        cases.append((f"name_bytes_{n}", "FORMAT", "a name of", rwkvcpp_file(record(name_bytes=n))))
    for n in (4, 5, 6, 10, 16, 2**32 - 1):
        cases.append((f"type_{n}", "UNSUPPORTED", f"data type {n}, expected 0-3 or 7-9",
                      rwkvcpp_file(record(kind=n))))
    for n in (0, 2**31, 2**32 - 1):
        cases.append((f"dim_{n}", "FORMAT", f"dimension is {n}",
                      rwkvcpp_file(record(dims=(n, 1), data=bytes(16)))))
    for n in (5, 1000, 2**31 - 1):
        cases.append((f"rows_{n}", "FORMAT", "its shape needs",
                      rwkvcpp_file(record(dims=(n,), data=bytes(16)))))
    cases += [
        ("dims_huge", "FORMAT", "", rwkvcpp_file(record(dims=(2**31 - 1,) * 3, data=bytes(16)))),
        ("blocks_in_100", "FORMAT", "q8_0 data in a file of version 100, expected 101",
         rwkvcpp_file(record("c", (32,), 9, bytes(34)), version=100)),
        ("half_block", "FORMAT", "no whole number of blocks",
         rwkvcpp_file(record("c", (16,), 9, bytes(34)))),
        ("version_99", "UNSUPPORTED", "version 99, expected 100 or 101", rwkvcpp_file(version=99)),
        ("version_0", "UNSUPPORTED", "version 0, expected 100 or 101", rwkvcpp_file(version=0)),
        ("magic", "FORMAT", "first bytes", rwkvcpp_file(magic=0x67676D67)),
        ("twice", "FORMAT", "tensor 'a' occurs twice", rwkvcpp_file(record(), record())),
        ("name_nul", "FORMAT", "control character 0x00", rwkvcpp_file(record("a\0b"))),
        ("name_control", "FORMAT", "control character 0x0a", rwkvcpp_file(record("a\nb"))),
    ]
    return cases


# -------------------------------------------------------------------------------------------- pth


def zip_file(entries, *, count=None, cd_offset=None, cd_bytes=None, method=0, flags=0, sizes=None,
             local_offset=None, local_magic=0x04034B50, central_magic=0x02014B50, zip64=False,
             end64=None, comment=b""):
    out, central = b"", b""
    for name, data in entries:
        at = len(out)
        size = len(data) if sizes is None else sizes
        out += struct.pack("<IHHHHHIIIHH", local_magic, 20, flags, method, 0, 0, 0, len(data), len(data),
                           len(name), 0) + name + data
        extra, shown, where = b"", size, at if local_offset is None else local_offset
        if zip64:
            extra = struct.pack("<HHQQQ", 1, 24, size, size, where)
            shown = where = 0xFFFFFFFF
        central += struct.pack("<IHHHHHHIIIHHHHHII", central_magic, 20, 20, flags, method, 0, 0, 0,
                               shown, shown, len(name), len(extra), 0, 0, 0, 0, where) + name + extra
    offset = len(out) if cd_offset is None else cd_offset
    n_bytes = len(central) if cd_bytes is None else cd_bytes
    n = len(entries) if count is None else count
    out += central
    if zip64:
        record_at = len(out)
        out += struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, n, n, n_bytes, offset)
        out += struct.pack("<IIQI", 0x07064B50, 0, record_at if end64 is None else end64, 1)
        return out + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF,
                                 len(comment)) + comment
    return out + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, n & 0xFFFF, n & 0xFFFF,
                             n_bytes & 0xFFFFFFFF, offset & 0xFFFFFFFF, len(comment)) + comment


def text(s):
    s = s.encode()
    return b"X" + u32(len(s)) + s


def number(n):
    return b"J" + struct.pack("<i", n)


def storage(kind="FloatStorage", key="0", numel=4):
    n = number(numel) if numel < 2**31 else b"\x8a\x08" + u64(numel)
    return b"(" + text("storage") + b"ctorch\n" + kind.encode() + b"\n" + text(key) + text("cpu") + n + b"tQ"


def sizes_of(values):
    return b"(" + b"".join(number(v) if abs(v) < 2**31 else b"\x8a\x08" + u64(v) for v in values) + b"t"


def tensor(sizes=(2, 2), strides=(2, 1), offset=0, **k):
    return (b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage(**k) + number(offset) + sizes_of(sizes) +
            sizes_of(strides) + b"\x89ccollections\nOrderedDict\n)RtR")


def state_dict(*items):
    return b"\x80\x02}(" + b"".join(text(k) + v for k, v in items) + b"u."


def pth_file(pkl, data=bytes(16), top=b"archive", more=(), **k):
    entries = [(top + b"/data.pkl", pkl), (top + b"/data/0", data), (top + b"/version", b"3\n")]
    return zip_file(entries + list(more), **k)


class Evil:
    def __reduce__(self):
        import os
        return os.system, ("true",)


def pth():
    pkl = state_dict(("a", tensor()))
    whole = pth_file(pkl)
    cases = [("good", "OK", "", whole), ("good_zip64", "OK", "", pth_file(pkl, zip64=True)),
             ("good_comment", "OK", "", pth_file(pkl, comment=b"hello")),
             ("good_transposed", "OK", "", pth_file(state_dict(("a", tensor(strides=(1, 2)))))),
             ("good_byteorder", "OK", "", pth_file(pkl, more=[(b"archive/byteorder", b"little")])),
             ("good_empty", "OK", "", pth_file(state_dict())),
             ("good_wrapped", "OK", "", pth_file(
                 b"\x80\x02}(" + text("epoch") + b"K\x03" + text("loss") + b"G" + bytes(8) +
                 text("optimizer") + b"}(" + text("state") + b"}K\x00}" + text("exp_avg") + tensor() +
                 b"ss" + text("param_groups") + b"](}(" + text("lr") + b"G" + bytes(8) +
                 text("params") + b"](K\x00K\x01eueu" + text("model") + b"}" + text("a") + tensor() +
                 b"su.")),
             ("good_shared", "OK", "", pth_file(state_dict(("a", tensor()), ("b", tensor())))),
             ("good_strides_zero", "OK", "", pth_file(state_dict(("a", tensor(strides=(0, 0)))))),
             ("good_strides_odd", "OK", "", pth_file(
                 state_dict(("a", tensor(strides=(3, 1), numel=5))), bytes(20))),
             ("good_protocol_4", "OK", "", pth_file(pickle.dumps({}, 4))),
             ("good_protocol_5", "OK", "", pth_file(
                 b"\x80\x05\x95" + u64(9) + b"}\x94(\x8c\x01a" + tensor() + b"u.")),
             ("good_beside", "OK", "", pth_file(  # what torch.load takes with weights_only
                 b"\x80\x02}(" + text("rng") + tensor() + text("size") + b"ctorch\nSize\n((K\x02K\x03ttR" +
                 text("dtype") + b"ctorch\nbfloat16\n" + text("set") + b"c__builtin__\nset\n(](K\x01etR" +
                 text("mask") + tensor(kind="BoolStorage") + text("big") + b"\x8a\x09" + bytes(9) +
                 text("model") + b"}" + text("a") + tensor() + b"su.")),
             ("good_only_dict", "OK", "", pth_file(
                 b"\x80\x02}(" + text("step") + b"K\x01" + text("net") + b"}" + text("a") + tensor() + b"su."))]
    for n in range(4, len(whole), 23):
        cases.append((f"cut_{n}", "FORMAT", "zip archive", whole[:n]))
    for n in range(0, len(pkl) - 1, 7):
        cases.append((f"pickle_cut_{n}", "FORMAT", "", pth_file(pkl[:n])))
    bad = lambda body: pth_file(b"\x80\x02" + body)
    dict_of = lambda **k: pth_file(state_dict(("a", tensor(**k))))
    nested = b"\x80\x02" + b"(" * 100000 + b"t" * 100000 + b"."
    cases += [
        ("os_system", "UNSUPPORTED", "posix.system", pth_file(pickle.dumps(Evil(), 2))),
        ("builtins_eval", "UNSUPPORTED", "__builtin__.eval",
         bad(b"c__builtin__\neval\n(X\x01\x00\x00\x001tR.")),
        ("unknown_storage", "UNSUPPORTED", "torch.QInt8Storage", dict_of(kind="QInt8Storage")),
        ("bool_storage", "UNSUPPORTED", "'a' is of a type that is not read", dict_of(kind="BoolStorage")),
        ("two_dicts", "FORMAT", "'x' is no tensor under a name",
         bad(b"}(" + text("x") + b"}" + text("a") + tensor() + b"s" + text("y") + b"}" + text("a") +
             tensor() + b"su.")),
        ("stack_global_number", "FORMAT", "a name that is no text", bad(b"K\x01K\x01\x93.")),
        ("stack_global_system", "UNSUPPORTED", "posix.system", pth_file(pickle.dumps(Evil(), 4))),
        ("frame_cut", "FORMAT", "ends within an operation", bad(b"\x95\x01.")),
        ("memoize_nothing", "FORMAT", "the memo is filled out of order", bad(b"\x94.")),
        ("opcode_inst", "UNSUPPORTED", "opcode 0x69", bad(b"ios\nsystem\n.")),
        ("opcode_obj", "UNSUPPORTED", "opcode 0x6f", bad(b"(o.")),
        ("opcode_long", "UNSUPPORTED", "opcode 0x4c", bad(b"L1L\n.")),
        ("a_list", "FORMAT", "something else than a dictionary", bad(b"].")),
        ("append_nothing", "FORMAT", "without its operand", bad(b"]a.")),
        ("append_to_none", "FORMAT", "items for something else than a list", bad(b"NNa.")),
        ("appends_no_mark", "FORMAT", "a missing mark", bad(b"]e.")),
        ("appends_to_none", "FORMAT", "items for something else than a list", bad(b"N(Ne.")),
        ("float_cut", "FORMAT", "ends within an operation", bad(b"G\x00\x00.")),
        ("wrapped_number", "FORMAT", "'model' is no tensor under a name",
         bad(b"}(" + text("model") + b"K\x01u.")),
        ("wrapped_twice", "FORMAT", "'model' is no tensor under a name",
         bad(b"}(" + text("model") + b"}(" + text("model") + b"}(" + text("a") + tensor() + b"uuu.")),
        ("wrapped_self", "FORMAT", "is no tensor under a name",
         bad(b"}q\x00(" + text("model") + b"h\x00u.")),
        ("protocol_1", "UNSUPPORTED", "protocol 1, expected 2 to 5", pth_file(b"\x80\x01}.")),
        ("protocol_6", "UNSUPPORTED", "protocol 6, expected 2 to 5", pth_file(b"\x80\x06}.")),
        ("no_protocol", "FORMAT", "does not begin with a protocol", pth_file(b"}.")),
        ("no_stop", "FORMAT", "ends without a stop", bad(b"}")),
        ("two_values", "FORMAT", "a stop with other than one value", bad(b"}}.")),
        ("no_value", "FORMAT", "a stop with other than one value", bad(b".")),
        ("a_number", "FORMAT", "something else than a dictionary", bad(b"K\x01.")),
        ("a_mark", "FORMAT", "", bad(b"(.")),
        ("number_value", "FORMAT", "is no tensor under a name", pth_file(state_dict(("a", b"K\x01")))),
        ("number_key", "FORMAT", "is no tensor under a name", bad(b"}(K\x01" + tensor() + b"u.")),
        ("odd_items", "FORMAT", "a key without its value", bad(b"}(" + text("a") + b"u.")),
        ("items_of_none", "FORMAT", "items for something else", bad(b"N(" + text("a") + tensor() + b"u.")),
        ("no_mark", "FORMAT", "a missing mark", bad(b"u.")),
        ("memo_empty", "FORMAT", "what the memo does not hold", bad(b"h\x05.")),
        ("memo_huge", "FORMAT", "the memo is filled out of order", bad(b"}r\xff\xff\xff\xff.")),
        ("reduce_nothing", "FORMAT", "without its operand", bad(b"R.")),
        ("reduce_number", "FORMAT", "a call of something else", bad(b"K\x01)R.")),
        ("call_storage", "FORMAT", "a call of a storage class", bad(b"ctorch\nFloatStorage\n)R.")),
        ("dict_arguments", "FORMAT", "OrderedDict with arguments",
         bad(b"ccollections\nOrderedDict\n(K\x01tR.")),
        ("tensor_of_nothing", "FORMAT", "a tensor is not made of",
         bad(b"ctorch._utils\n_rebuild_tensor_v2\n)R.")),
        ("persistent_number", "FORMAT", "no storage", bad(b"K\x01Q.")),
        ("self_reference", "FORMAT", "", bad(b"}q\x00(" + text("a") + b"h\x00u.")),
        ("deep_marks", "FORMAT", "", pth_file(nested)),
        ("deep_tuples", "FORMAT", "", bad(b")" + b"\x85" * 100000 + b".")),
        ("long_text", "FORMAT", "ends within an operation", bad(b"X\xff\xff\xff\x7f.")),
        ("long_integer", "FORMAT", "something else than a dictionary", bad(b"\x8a\x09" + bytes(9) + b".")),
        ("long_integer_cut", "FORMAT", "ends within an operation", bad(b"\x8a\x20" + bytes(9) + b".")),
        ("long_integer_size", "FORMAT", "no number from 0 on",
         pth_file(state_dict(("a", tensor().replace(number(2) + number(2), b"\x8a\x09" + bytes(9) + number(2)))))),
        ("pickle_long", "UNSUPPORTED", "expected at most 1048576", bad(b"N" * (1 << 20) + b".")),
        ("dims_9", "FORMAT", "more than 8 dimensions", dict_of(sizes=(1,) * 9, strides=(1,) * 9)),
        ("dims_differ", "FORMAT", "a tensor is not made of", dict_of(sizes=(2, 2), strides=(1,))),
        ("size_negative", "FORMAT", "no number from 0 on", dict_of(sizes=(-1, 2))),
        ("stride_negative", "FORMAT", "no number from 0 on", dict_of(strides=(-2, 1))),
        ("strides_beyond", "FORMAT", "5 elements from 0 of a storage of 4", dict_of(strides=(3, 1))),
        ("strides_huge", "FORMAT", "of a storage of 4", dict_of(strides=(2**62, 2**62))),
        ("strides_wrap", "FORMAT", "of a storage of 4", dict_of(sizes=(9, 1), strides=(2**61, 1))),
        ("shape_overflow", "FORMAT", "its shape overflows", dict_of(sizes=(2**62, 2**62), strides=(1, 1))),
        ("offset_negative", "FORMAT", "a tensor is not made of", dict_of(offset=-1)),
        ("offset_beyond", "FORMAT", "of a storage of 4", dict_of(offset=1)),
        ("storage_short", "FORMAT", "its storage has 16 bytes, expected 5 elements", dict_of(numel=5)),
        ("storage_long", "FORMAT", "its storage has 16 bytes", dict_of(numel=3)),
        ("storage_huge", "FORMAT", "its storage has 16 bytes", dict_of(numel=2**62)),
        ("storage_missing", "FORMAT", "its storage has 0 bytes", dict_of(key="7")),
        ("storage_path", "FORMAT", "its storage has 0 bytes", dict_of(key="../data.pkl")),
        ("name_nul", "FORMAT", "or a NUL", pth_file(state_dict(("a\0", tensor())))),
        ("name_control", "FORMAT", "control character 0x1b", pth_file(state_dict(("a\x1b", tensor())))),
        ("name_long", "FORMAT", "has 300 bytes", pth_file(state_dict(("n" * 300, tensor())))),
        ("name_twice", "FORMAT", "tensor 'a' occurs twice",
         pth_file(state_dict(("a", tensor()), ("a", tensor())))),
        ("no_pickle", "FORMAT", "without one TOP/data.pkl", zip_file([(b"a/b", b"x")])),
        ("two_pickles", "FORMAT", "without one TOP/data.pkl", pth_file(pkl, more=[(b"b/data.pkl", pkl)])),
        ("big_endian", "UNSUPPORTED", "byteorder is not 'little'",
         pth_file(pkl, more=[(b"archive/byteorder", b"big")])),
        ("compressed", "UNSUPPORTED", "is compressed", pth_file(pkl, method=8)),
        ("encrypted", "UNSUPPORTED", "is encrypted", pth_file(pkl, flags=1)),
        ("entry_twice", "FORMAT", "two entries have one name", pth_file(pkl, more=[(b"archive/data/0", b"")])),
        ("sizes_lie", "FORMAT", "bytes at byte", pth_file(pkl, sizes=10**6)),
        ("sizes_2_31", "FORMAT", "bytes at byte", pth_file(pkl, sizes=2**31)),
        ("local_beyond", "FORMAT", "not where the directory says", pth_file(pkl, local_offset=10**6)),
        ("local_wrong", "FORMAT", "not where the directory says", pth_file(pkl, local_offset=5)),
        ("central_wrong", "FORMAT", "something else than entries", pth_file(pkl, central_magic=1)),
        ("count_lies", "FORMAT", "too short for its entries", pth_file(pkl, count=60000)),
        ("count_2", "FORMAT", "", pth_file(pkl, count=0)),
        ("directory_beyond", "FORMAT", "does not lie in the file", pth_file(pkl, cd_offset=10**7)),
        ("directory_long", "FORMAT", "does not lie in the file", pth_file(pkl, cd_bytes=10**7)),
        ("zip64_beyond", "FORMAT", "not where the locator says", pth_file(pkl, zip64=True, end64=10**6)),
        ("zip64_2_63", "FORMAT", "not where the locator says", pth_file(pkl, zip64=True, end64=2**63)),
        ("zip64_count", "FORMAT", "too short for its entries", pth_file(pkl, zip64=True, count=2**62)),
        ("zip64_sizes", "FORMAT", "bytes at byte", pth_file(pkl, zip64=True, sizes=2**63)),
        ("zip64_directory", "FORMAT", "does not lie in the file",
         pth_file(pkl, zip64=True, cd_offset=2**64 - 1)),
        ("shared_by_many", "FORMAT", "twice the bytes of the file",
         pth_file(state_dict(*[("a%d" % i, tensor(sizes=(2**12, 2), numel=2**13)) for i in range(200)]),
                  bytes(2**15))),
        ("bomb_of_entries", "FORMAT", "another name than the directory",
         pth_file(pkl, more=[(b"archive/data/%d" % i, b"") for i in range(1, 50)], local_offset=0)),
        ("data_covers_all", "FORMAT", "", pth_file(pkl, sizes=300)),
        ("old_format", "UNSUPPORTED", "before PyTorch 1.6",
         b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."),
    ]
    return cases
