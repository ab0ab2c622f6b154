"""rwkv_c: librk from Python, in one file and with the standard library alone.

    import rwkv_c
    engine = rwkv_c.Engine()
    model = rwkv_c.Model("model.safetensors")
    tokenizer = rwkv_c.Tokenizer("byte")
    session = rwkv_c.Session(model, engine)
    sampler = rwkv_c.Sampler(model.info.n_vocab, tokenizer, temp=0.8, seed=1)
    for piece in rwkv_c.generate(session, sampler, tokenizer, "It is a truth", 64):
        print(piece, end="", flush=True)

`pip install ./bindings/python` installs it with the library that `make` has built. The library is
looked for in RWKV_C_LIBRARY, then beside this file, then where the system looks for librk.so.
Scores are ctypes arrays of float, which have the buffer protocol: numpy.frombuffer(logits, "f4")
copies nothing. What may be called from which thread stands at the top of rk.h. An object keeps what
it was made from, also when that is closed; a closed object raises ValueError when it is used.
Failures raise rwkv_c.Error with the library's sentence, arrays of a wrong length ValueError.
"""

import ctypes as c
import os

# ------------------------------------------------------------------------------------ structures

OK, ARG, IO, FORMAT, NOMEM, UNSUPPORTED, ABORTED, NUMERIC, FULL = range(9)
DEBUG, INFO, WARN, ERROR = range(4)
_LOG = c.CFUNCTYPE(None, c.c_void_p, c.c_int, c.c_char_p)
_ABORT = c.CFUNCTYPE(c.c_bool, c.c_void_p)


class _Error(c.Structure):
    _fields_ = [("code", c.c_int), ("msg", c.c_char * 256)]


class _EngineParams(c.Structure):
    _fields_ = [("n_threads", c.c_int), ("path", c.c_char_p), ("act", c.c_int), ("log", _LOG),
                ("log_user", c.c_void_p), ("abort", _ABORT), ("abort_user", c.c_void_p),
                ("cache", c.c_int), ("ctx_size", c.c_int64)]


class ModelInfo(c.Structure):
    _fields_ = [("_arch", c.c_char_p)] + [(name, c.c_int64) for name in (
        "n_vocab", "n_embd", "n_layer", "n_head", "head_size", "dim_ffn", "n_params",
        "state_bytes", "ctx_len")] + [("fingerprint", c.c_uint64)]

    @property
    def arch(self):
        return self._arch.decode()


class _SamplerParams(c.Structure):
    _fields_ = [("temp", c.c_float), ("top_p", c.c_float), ("top_k", c.c_int32),
                ("min_p", c.c_float), ("typical_p", c.c_float), ("repeat_penalty", c.c_float),
                ("presence_penalty", c.c_float), ("frequency_penalty", c.c_float),
                ("penalty_decay", c.c_float), ("seed", c.c_uint64)]


class SpeculatorInfo(c.Structure):
    _fields_ = [(name, c.c_int64) for name in (
        "n_tokens", "n_passes", "n_guessed", "n_judged", "n_accepted")] + [
            ("model_s", c.c_double), ("draft_s", c.c_double), ("n_single", c.c_int64),
            ("single_s", c.c_double)]


class Size(c.Structure):
    _fields_ = [("name", c.c_char_p), ("value", c.c_double)]


class _TrainParams(c.Structure):
    _fields_ = [("arch", c.c_char_p), ("sizes", c.POINTER(Size)), ("n_sizes", c.c_int64)] + [
        (name, c.c_int64) for name in (
            "ctx_len", "batch", "micro_batch", "grad_slices", "steps",
            "warmup")] + [(name, c.c_double) for name in (
            "lr", "lr_final", "weight_decay", "beta1", "beta2", "eps", "clip", "l2wrap",
            "dropout")] + [("bf16", c.c_bool), ("checkpoint_blocks", c.c_bool),
                           ("seed", c.c_uint64), ("optimizer", c.c_char_p),
                           ("momentum", c.c_double), ("muon_lr", c.c_double),
                           ("muon_momentum", c.c_double), ("schedule", c.c_char_p),
                           ("decay_frac", c.c_double), ("ema", c.c_double),
                           ("train_only", c.c_char_p), ("freeze", c.c_char_p),
                           ("lr_scale", c.c_char_p),
                           ("init_from", c.c_char_p), ("init_state", c.c_char_p),
                           ("rewarm", c.c_int64)]


class _AdapterSource(c.Structure):
    _fields_ = [("path", c.c_char_p), ("scale", c.c_double), ("alpha", c.c_double)]


class StepInfo(c.Structure):
    _fields_ = [("step", c.c_int64), ("loss", c.c_double), ("grad_norm", c.c_double),
                ("lr", c.c_double), ("skipped", c.c_bool), ("counted", c.c_int64),
                ("noise_scale", c.c_double)]


class Error(Exception):
    """A call failed: .code is one of ARG, IO, ..., the text is the library's sentence."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


# ------------------------------------------------------------------------------------ functions

_P, _PP, _S, _N = c.c_void_p, c.POINTER(c.c_void_p), c.c_char_p, c.c_int64
_F, _I, _Z = c.POINTER(c.c_float), c.POINTER(c.c_int32), c.POINTER(c.c_size_t)
_E = c.POINTER(_Error)

# name: (result, arguments); a result of _E says that the call returns a status and takes an rk_error
# last.
_SIGNATURES = {
    "rk_version": (_S, []),
    "rk_engine_new": (_E, [_PP, c.POINTER(_EngineParams)]),
    "rk_engine_free": (None, [_P]),
    "rk_engine_n_threads": (c.c_int, [_P]),
    "rk_engine_path": (_S, [_P]),
    "rk_engine_abort": (None, [_P]),
    "rk_engine_clear_abort": (None, [_P]),
    "rk_model_open": (_E, [_PP, _S]),
    "rk_model_open_memory": (_E, [_PP, _P, c.c_size_t]),
    "rk_model_close": (None, [_P]),
    "rk_model_get_info": (None, [_P, c.POINTER(ModelInfo)]),
    "rk_model_get_size": (c.c_bool, [_P, _N, c.POINTER(Size)]),
    "rk_session_new": (_E, [_PP, _P, _P]),
    "rk_session_clone": (_E, [_PP, _P]),
    "rk_session_free": (None, [_P]),
    "rk_session_reset": (None, [_P]),
    "rk_session_eval": (_E, [_P, _I, _N, _F]),
    "rk_session_eval_all": (_E, [_P, _I, _N, _F]),
    "rk_session_eval_batch": (_E, [_PP, _N, _I, _F]),
    "rk_session_state_bytes": (c.c_size_t, [_P]),
    "rk_session_state_get": (_E, [_P, _P, c.c_size_t]),
    "rk_session_state_set": (_E, [_P, _P, c.c_size_t]),
    "rk_session_state_save": (_E, [_P, _S]),
    "rk_session_state_load": (_E, [_P, _S, c.c_bool]),
    "rk_session_tuned_load": (_E, [_P, _S, c.c_int]),
    "rk_adapters_open": (_E, [_PP, _P, c.POINTER(_AdapterSource), _N, c.c_bool]),
    "rk_adapters_free": (None, [_P]),
    "rk_session_adapt": (_E, [_P, _P]),
    "rk_logprob": (c.c_double, [_F, _N, c.c_int32]),
    "rk_tokenizer_new": (_E, [_PP, _S]),
    "rk_tokenizer_free": (None, [_P]),
    "rk_tokenizer_n_vocab": (_N, [_P]),
    "rk_tokenizer_ends": (c.c_bool, [_P, c.c_int32]),
    "rk_tokenizer_encode": (_N, [_P, _S, c.c_size_t, _I, _N]),
    "rk_tokenizer_bytes": (_P, [_P, c.c_int32, _Z]),
    "rk_decoder_new": (_E, [_PP, _P]),
    "rk_decoder_free": (None, [_P]),
    "rk_decoder_push": (_P, [_P, c.c_int32, _Z]),
    "rk_decoder_flush": (_P, [_P, _Z]),
    "rk_sampler_defaults": (_SamplerParams, []),
    "rk_sampler_new": (_E, [_PP, c.POINTER(_SamplerParams), _N, _P]),
    "rk_sampler_free": (None, [_P]),
    "rk_sampler_reset": (None, [_P]),
    "rk_sampler_bias": (_E, [_P, c.c_int32, c.c_float]),
    "rk_sampler_next": (_E, [_P, _F, _I]),
    "rk_speculator_new": (_E, [_PP, _P, _P, _P, _N]),
    "rk_speculator_free": (None, [_P]),
    "rk_speculator_read": (_E, [_P, _I, _N]),
    "rk_speculator_next": (_E, [_P, _F, _I]),
    "rk_speculator_feed": (_E, [_P, c.c_int32, _F]),
    "rk_speculator_settle": (_E, [_P]),
    "rk_speculator_get_info": (None, [_P, c.POINTER(SpeculatorInfo)]),
    "rk_train_defaults": (_TrainParams, []),
    "rk_trainer_new": (_E, [_PP, c.POINTER(_TrainParams), _P]),
    "rk_trainer_free": (None, [_P]),
    "rk_trainer_step": (_E, [_P, _I, c.POINTER(StepInfo)]),
    "rk_trainer_loss": (_E, [_P, _I, _N, c.POINTER(c.c_double)]),
    "rk_trainer_show_average": (None, [_P, c.c_bool]),
    "rk_trainer_save_model": (_E, [_P, _S]),
}


def _checked(function):
    def call(*arguments):
        error = _Error()
        if function(*arguments, c.byref(error)) != OK:
            raise Error(error.code, error.msg.decode(errors="replace"))
    return call


def _find_library():
    beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), "librk.so.0.2")
    return os.environ.get("RWKV_C_LIBRARY") or (beside if os.path.exists(beside) else "librk.so.0.2")


class _Functions:
    """The library's functions without their prefix; those with a status raise Error instead."""

    def __init__(self):
        library = c.CDLL(_find_library())
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(library, name)
            fails = result is _E
            function.restype = c.c_int if fails else result
            function.argtypes = arguments + ([_E] if fails else [])
            setattr(self, name[len("rk_"):], _checked(function) if fails else function)


_rk = _Functions()


def version():
    return _rk.version().decode()


# -------------------------------------------------------------------------------------- handles


class _Owned:
    """An object of the library, freed with the last reference to it; keep: what it needs as long."""

    def __init__(self, handle, free, keep):
        self.handle, self._free, self._keep = handle, free, keep

    def __del__(self):
        self._free(self.handle)


class _Handle:
    """Frees what it holds at close(), or when nobody needs it any more: those that were made from it
    hold it too."""

    _free = ""
    _owned = None

    def _make(self, new, *arguments, keep=()):
        handle = c.c_void_p()
        new(c.byref(handle), *arguments)
        keep = [k._owned if isinstance(k, _Handle) else k for k in keep]
        self._owned = _Owned(handle, getattr(_rk, self._free), keep)
        return self

    @property
    def _handle(self):
        if self._owned is None:
            raise ValueError(f"this {type(self).__name__} is closed")
        return self._owned.handle

    def close(self):
        self._owned = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _ids(tokens):
    """Token ids as C has them; ctypes would cut off what does not fit."""
    for token in tokens:
        if not 0 <= token < 1 << 31:
            raise ValueError(f"{token} is no token")
    return (c.c_int32 * len(tokens))(*tokens)


def _scores(logits, n):
    """Scores of n tokens; a shorter array would be read past its end."""
    if len(logits) != n:
        raise ValueError(f"{len(logits)} scores, expected {n}")
    return logits if isinstance(logits, c.Array) else (c.c_float * n)(*logits)


def _path(path):
    return os.fsencode(path)


class Engine(_Handle):
    """Threads and kernels. log(level, line) and abort() -> bool are called on the calling thread."""

    _free = "engine_free"

    def __init__(self, n_threads=0, path=None, log=None, abort=None, act="q8",
                 cache="f16", ctx_size=0):
        params = _EngineParams(
            n_threads=n_threads, path=path.encode() if path else None,
            act={"q8": 0, "f32": 1}[act],
            log=_LOG(lambda _, level, line: log(level, line.decode(errors="replace")))
            if log else _LOG(), abort=_ABORT(lambda _: bool(abort())) if abort else _ABORT(),
            cache={"f16": 0, "f32": 1, "q8_0": 2}[cache], ctx_size=ctx_size)
        self._make(_rk.engine_new, c.byref(params), keep=[params])

    @property
    def n_threads(self):
        return _rk.engine_n_threads(self._handle)

    @property
    def path(self):
        return _rk.engine_path(self._handle).decode()

    def abort(self):
        _rk.engine_abort(self._handle)

    def clear_abort(self):
        _rk.engine_clear_abort(self._handle)


class Model(_Handle):
    """Weights from a file's path, or from bytes, which are kept."""

    _free = "model_close"

    def __init__(self, source):
        if isinstance(source, bytes):
            data = c.cast(c.c_char_p(source), c.c_void_p)
            self._make(_rk.model_open_memory, data, len(source), keep=[source])
        else:
            self._make(_rk.model_open, _path(source))

    @property
    def info(self):
        info = ModelInfo()
        _rk.model_get_info(self._handle, c.byref(info))
        return info

    @property
    def sizes(self):
        """All sizes by their names, those of the architecture alone among them."""
        size, sizes = Size(), {}
        while _rk.model_get_size(self._handle, len(sizes), c.byref(size)):
            sizes[size.name.decode()] = size.value
        return sizes


class Session(_Handle):
    """A stream of tokens with its state."""

    _free = "session_free"

    def __init__(self, model, engine):
        self._info, self._adapters = model.info, None
        self._make(_rk.session_new, model._handle, engine._handle, keep=[model, engine])

    def clone(self):
        other = Session.__new__(Session)
        other._info, other._adapters = self._info, self._adapters
        return other._make(_rk.session_clone, self._handle, keep=[self])

    def reset(self):
        _rk.session_reset(self._handle)

    def eval(self, tokens, logits=True):
        """Feed tokens; the scores after the last, or None when they are not wanted."""
        out = (c.c_float * self._info.n_vocab)() if logits else None
        _rk.session_eval(self._handle, _ids(tokens), len(tokens), out)
        return out

    def eval_all(self, tokens):
        """Feed tokens; the scores after each, row by row in one array."""
        out = (c.c_float * (self._info.n_vocab * len(tokens)))()
        _rk.session_eval_all(self._handle, _ids(tokens), len(tokens), out)
        return out

    @staticmethod
    def eval_batch(sessions, tokens):
        """One token for each of several sessions; the scores, row by row in one array."""
        if len(sessions) != len(tokens) or not sessions:
            raise ValueError("as many tokens as sessions, and at least one")
        handles = (c.c_void_p * len(sessions))(*(s._handle.value for s in sessions))
        out = (c.c_float * (sessions[0]._info.n_vocab * len(sessions)))()
        _rk.session_eval_batch(handles, len(sessions), _ids(tokens), out)
        return out

    @property
    def state(self):
        """The whole state as bytes; may be set."""
        out = c.create_string_buffer(_rk.session_state_bytes(self._handle))
        _rk.session_state_get(self._handle, out, len(out))
        return out.raw

    @state.setter
    def state(self, data):
        _rk.session_state_set(self._handle, c.cast(c.c_char_p(data), c.c_void_p), len(data))

    def save_state(self, path):
        _rk.session_state_save(self._handle, _path(path))

    def load_state(self, path, force=False):
        _rk.session_state_load(self._handle, _path(path), force)

    def load_tuned(self, path, layout="auto"):
        """Start from tuned initial states, [value, key] ("vk") or [key, value] ("kv", and "auto" for a
        path that ends in .state or .st), or from a file of rwkv.cpp ("rwkv.cpp")."""
        layouts = {"vk": 0, "kv": 1, "ai00": 1, "auto": 2, "rwkv.cpp": 3}
        _rk.session_tuned_load(self._handle, _path(path), layouts[layout])


    def adapt(self, adapters):
        """Compute with these Adapters from now on, or, with None, with the model alone."""
        _rk.session_adapt(self._handle, adapters._handle if adapters else None)
        self._adapters = adapters._owned if adapters else None


class Adapters(_Handle):
    """Adapters beside a model, whose changes add up: each a path, or (path, scale), or
    (path, scale, alpha), the alpha of LoRA in files that store none."""

    _free = "adapters_free"

    def __init__(self, model, *sources, force=False):
        rows = [(s,) if isinstance(s, (str, bytes, os.PathLike)) else s for s in sources]
        of = (_AdapterSource * len(rows))(*(
            _AdapterSource(_path(r[0]), r[1] if len(r) > 1 else 1.0, r[2] if len(r) > 2 else 0.0)
            for r in rows))
        self._make(_rk.adapters_open, model._handle, of, len(rows), force, keep=[model])


def logprob(logits, token):
    if not 0 <= token < len(logits):
        raise ValueError(f"{token} is none of {len(logits)} tokens")
    return _rk.logprob(_scores(logits, len(logits)), len(logits), token)


class Tokenizer(_Handle):
    """"byte", "world", or the path of a vocabulary file."""

    _free = "tokenizer_free"

    def __init__(self, name):
        self._make(_rk.tokenizer_new, _path(name))

    @property
    def n_vocab(self):
        return _rk.tokenizer_n_vocab(self._handle)

    def encode(self, text):
        data = text.encode() if isinstance(text, str) else bytes(text)
        ids = (c.c_int32 * (3 * len(data)))()  # the most that any vocabulary makes of it
        n = _rk.tokenizer_encode(self._handle, data, len(data), ids, len(ids))
        if n < 0:
            raise MemoryError("no memory for tokens")
        return ids[:n]

    def ends(self, token):
        """Whether a text that is generated ends before this token."""
        return _rk.tokenizer_ends(self._handle, token)

    def bytes(self, token):
        n = c.c_size_t()
        at = _rk.tokenizer_bytes(self._handle, token, c.byref(n))
        return c.string_at(at, n.value) if n.value else b""

    def decode(self, tokens):
        return b"".join(map(self.bytes, tokens)).decode(errors="replace")


class Decoder(_Handle):
    """Tokens to whole characters."""

    _free = "decoder_free"

    def __init__(self, tokenizer):
        self._make(_rk.decoder_new, tokenizer._handle, keep=[tokenizer])

    def push(self, token):
        n = c.c_size_t()
        at = _rk.decoder_push(self._handle, token, c.byref(n))
        return c.string_at(at, n.value).decode()

    def flush(self):
        n = c.c_size_t()
        at = _rk.decoder_flush(self._handle, c.byref(n))
        return c.string_at(at, n.value).decode()


def _filled(params, values):
    for name, value in values.items():
        if name not in dict(params._fields_):
            raise TypeError(f"no parameter '{name}'")
        setattr(params, name, value.encode() if isinstance(value, str) else value)
    return params


class Sampler(_Handle):
    """Keywords are the members of rk_sampler_params: temp, top_p, top_k, ..., seed."""

    _free = "sampler_free"

    def __init__(self, n_vocab, tokenizer=None, **params):
        filled = _filled(_rk.sampler_defaults(), params)
        self._n_vocab = n_vocab
        self._make(_rk.sampler_new, c.byref(filled), n_vocab,
                   tokenizer._handle if tokenizer else None, keep=[tokenizer])

    def reset(self):
        _rk.sampler_reset(self._handle)

    def bias(self, token, bias):
        _rk.sampler_bias(self._handle, token, bias)

    def next(self, logits):
        token = c.c_int32()
        _rk.sampler_next(self._handle, _scores(logits, self._n_vocab), c.byref(token))
        return token.value


class Speculator(_Handle):
    """A draft model that guesses ahead for a session and its sampler: next() and feed() instead of
    Sampler.next() and Session.eval() of one token; settle() before the session is used again."""

    _free = "speculator_free"

    def __init__(self, session, sampler, draft, n_max=8):
        self._n_vocab = session._info.n_vocab
        self._make(_rk.speculator_new, session._handle, sampler._handle, draft._handle, n_max,
                   keep=[session, sampler, draft])

    def read(self, tokens):
        _rk.speculator_read(self._handle, _ids(tokens), len(tokens))

    def next(self, logits):
        token = c.c_int32()
        _rk.speculator_next(self._handle, _scores(logits, self._n_vocab), c.byref(token))
        return token.value

    def feed(self, token):
        out = (c.c_float * self._n_vocab)()
        _rk.speculator_feed(self._handle, token, out)
        return out

    def settle(self):
        _rk.speculator_settle(self._handle)

    @property
    def info(self):
        info = SpeculatorInfo()
        _rk.speculator_get_info(self._handle, c.byref(info))
        return info


class Trainer(_Handle):
    """Keywords are the members of rk_train_params, and sizes of the model by their names (n_layer,
    rank_w); arch is "rwkv7" unless given. With init_from, a model file, architecture and sizes are
    the file's."""

    _free = "trainer_free"

    def __init__(self, engine, **params):
        members = {name for name, _ in _TrainParams._fields_}
        sizes = [Size(name.encode(), value) for name, value in params.items() if name not in members]
        filled = _filled(_rk.train_defaults(), {
            "arch": None if params.get("init_from") else "rwkv7",
            "sizes": (Size * len(sizes))(*sizes), "n_sizes": len(sizes),
            **{name: value for name, value in params.items() if name in members}})
        self._row = filled.ctx_len + 1
        self._batch = filled.batch
        self._make(_rk.trainer_new, c.byref(filled), engine._handle, keep=[engine])

    def _rows(self, tokens, n):
        if len(tokens) != n * self._row:
            raise ValueError(f"{len(tokens)} tokens, expected {n} rows of {self._row}")
        return _ids(tokens)

    def step(self, tokens):
        """One update from batch rows of ctx_len + 1 tokens, as one flat list; a StepInfo."""
        info = StepInfo()
        _rk.trainer_step(self._handle, self._rows(tokens, self._batch), c.byref(info))
        return info

    def loss(self, tokens):
        """Mean loss of rows of ctx_len + 1 tokens, as one flat list, without an update."""
        n, loss = len(tokens) // self._row, c.c_double()
        _rk.trainer_loss(self._handle, self._rows(tokens, n), n, c.byref(loss))
        return loss.value

    def show_average(self, on=True):
        """Let loss and save_model see the running means of the weights (ema), or the weights again."""
        _rk.trainer_show_average(self._handle, on)

    def save_model(self, path):
        _rk.trainer_save_model(self._handle, _path(path))


def generate(session, sampler, tokenizer, prompt, n):
    """Pieces of text after a prompt that is not empty, until n tokens or one that ends texts."""
    decoder = Decoder(tokenizer)
    logits = session.eval(tokenizer.encode(prompt))
    for _ in range(n):
        token = sampler.next(logits)
        if tokenizer.ends(token):
            break
        yield decoder.push(token)
        logits = session.eval([token])
    yield decoder.flush()
