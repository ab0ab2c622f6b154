/* rk.h: the public interface of librk, which loads, runs and trains RWKV models.
 *
 * Handles are opaque. Every function that can fail returns an rk_status (0 is success) and takes an
 * rk_error last (NULL is fine), whose message names the file or tensor, what was found and what was
 * expected. Pairs read _new/_free (memory) and _open/_close (files); _free and _close take NULL.
 * Pointers are borrowed for the call unless a comment says otherwise.
 *
 * What may be called from which thread, and what has to live as long as the handle:
 *
 *   handle         shared by threads?                             needs
 *   rk_engine      yes; forwards of several calls take turns       -
 *   rk_model       yes: immutable once open                       the memory it was opened from
 *   rk_tokenizer   yes: immutable once made                       -
 *   rk_adapters    yes: immutable once open                       its model
 *   rk_session     one thread at a time; others at the same time  its model and its engine
 *   rk_sampler     one thread at a time                           -
 *   rk_speculator  one thread at a time                           its session, sampler and draft
 *   rk_decoder     one thread at a time                           its tokenizer
 *   rk_trainer     one thread at a time                           its engine
 *
 *   rk_engine_abort is safe from any thread and from a signal handler.
 */
#ifndef RK_H
#define RK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define RK_API __attribute__((visibility("default")))
#else
#define RK_API
#endif

/* ------------------------------------------------------------------------------------ errors */

typedef enum rk_status {
    RK_OK = 0,
    RK_ERR_ARG,         /* an argument the documentation excludes */
    RK_ERR_IO,          /* the system refused; the message holds its reason */
    RK_ERR_FORMAT,      /* the bytes are no valid file, request or model */
    RK_ERR_NOMEM,       /* host or device memory ran out */
    RK_ERR_UNSUPPORTED, /* valid, but not in this build or on this device */
    RK_ERR_ABORTED,     /* rk_engine_abort or the abort callback asked to stop */
    RK_ERR_NUMERIC,     /* a result is not finite */
    RK_ERR_FULL,        /* the context holds no more tokens: rk_engine_params.ctx_size */
} rk_status;

typedef struct rk_error {
    rk_status code;
    char msg[256];
} rk_error;

/* "0.2.0": version of the library. */
RK_API const char *rk_version(void);

/* ------------------------------------------------------------------------------------ engine */

typedef enum rk_log_level { RK_LOG_DEBUG, RK_LOG_INFO, RK_LOG_WARN, RK_LOG_ERROR } rk_log_level;
/* One line without a newline. Called on the thread that called into the library. */
typedef void rk_log_fn(void *user, rk_log_level level, const char *line);
/* Polled between pieces of work of at most some milliseconds; true asks the call to stop. */
typedef bool rk_abort_fn(void *user);

/* Precision of the activations in matrix products. */
typedef enum rk_act {
    /* Rounded to 8 bits per block of 32 where the weights are quantised, else f32. Floating-point
     * low-rank matrices beside quantised weights are then rounded to Q8_0. */
    RK_ACT_8BIT,
    RK_ACT_F32, /* always f32, and low-rank matrices as they are: slower, for comparison */
} rk_act;

/* How a stream keeps the keys and values of its tokens, where a model's state grows with them. */
typedef enum rk_cache {
    RK_CACHE_F16,  /* rounded to 11 bits: half the memory and reading of f32 */
    RK_CACHE_F32,  /* as computed, for comparison */
    RK_CACHE_Q8_0, /* 8 bits and a scale for every 32: heads of a multiple of 32 */
} rk_cache;

typedef struct rk_engine_params {
    int n_threads;    /* 0: usable cores under affinity and cgroup limits */
    const char *path; /* "ref", "avx2", "avx512", "avx512bf16", "neon"; NULL: best */
    rk_act act;       /* of sessions */
    rk_log_fn *log;   /* NULL: silent */
    void *log_user;
    rk_abort_fn *abort; /* NULL: only rk_engine_abort */
    void *abort_user;
    rk_cache cache; /* of sessions; a state as bytes or in a file is f32 whatever it is */
    int64_t
        ctx_size; /* tokens that a session may read where its state grows with them; 0: no limit */
} rk_engine_params;

/* Threads, kernels, log and abort flag; everything that computes needs one. */
typedef struct rk_engine rk_engine;

/* params  NULL means all defaults.
 * Errors  RK_ERR_ARG: n_threads outside 0..1024, no such path, no such cache, or a ctx_size below 0;
 *         RK_ERR_UNSUPPORTED: the path exists but not on this CPU; RK_ERR_NOMEM. */
RK_API rk_status rk_engine_new(rk_engine **out, const rk_engine_params *params, rk_error *err);
RK_API void rk_engine_free(rk_engine *e);
RK_API int rk_engine_n_threads(const rk_engine *e);
/* The name of the instruction-set path in use, for logs: "avx2". Results share bits within a path. */
RK_API const char *rk_engine_path(const rk_engine *e);
/* Ask the calls that compute to return RK_ERR_ABORTED within 50 ms; stays set until cleared. A call
 * that feeds one token, to one stream or to many, is not stopped once it computes: it ends with its
 * result, and the next call is refused. */
RK_API void rk_engine_abort(rk_engine *e);
RK_API void rk_engine_clear_abort(rk_engine *e);

/* ------------------------------------------------------------------------------------- model */

/* Weights: immutable once loaded, shared by all threads. */
typedef struct rk_model rk_model;

/* A size of a model by its name: "n_layer", "head_size", "rank_w"; docs/reference.md lists them. */
typedef struct rk_size {
    const char *name;
    double value; /* of nearly all of them a whole number */
} rk_size;

typedef struct rk_model_info {
    const char *arch; /* "rwkv7", "qwen2" and others that docs/reference.md lists; the library's */
    int64_t n_vocab, n_embd, n_layer, n_head, head_size, dim_ffn;
    int64_t n_params;     /* stored parameters */
    int64_t state_bytes;  /* of a stream that has read nothing, see rk_session_state_get */
    int64_t ctx_len;      /* tokens of a training window when the file says so, else 0 */
    uint64_t fingerprint; /* of architecture, shapes and 1-D tensors rounded to bf16 */
} rk_model_info;

/* Map a model file: .pth, .safetensors, .gguf or rwkv.cpp's .bin (docs/reference.md); weights stay in its pages.
 * Errors  RK_ERR_IO, RK_ERR_FORMAT (file, tensor, found, expected), RK_ERR_UNSUPPORTED, RK_ERR_NOMEM. */
RK_API rk_status rk_model_open(rk_model **out, const char *path, rk_error *err);
/* The same from bytes in memory, which must stay as they are until rk_model_close. */
RK_API rk_status rk_model_open_memory(rk_model **out, const void *data, size_t bytes,
                                      rk_error *err);
RK_API void rk_model_close(rk_model *m);
RK_API void rk_model_get_info(const rk_model *m, rk_model_info *info);
/* The i-th of all the model's sizes, those of its architecture alone among them; false: there are
 * only i. The name lives as long as the library. */
RK_API bool rk_model_get_size(const rk_model *m, int64_t i, rk_size *size);

/* ----------------------------------------------------------------------------------- session */

/* One token stream: recurrent state and scratch; one thread at a time. */
typedef struct rk_session rk_session;

/* Start from the model's initial state: that of its file (state tuning), else the one its architecture
 * begins with, of nearly all zero. Memory: the state plus scratch for one chunk; evaluating takes no more,
 * but for a state that grows with its tokens, which takes it for 64 of them at a time. A clone shares
 * what has grown.
 * Errors  RK_ERR_UNSUPPORTED: a cache of q8_0 and heads that are no multiple of 32; RK_ERR_NOMEM. */
RK_API rk_status rk_session_new(rk_session **out, const rk_model *m, rk_engine *e, rk_error *err);
/* A second stream that continues from the same state.
 * Errors  RK_ERR_NOMEM. */
RK_API rk_status rk_session_clone(rk_session **out, const rk_session *s, rk_error *err);
RK_API void rk_session_free(rk_session *s);
/* Back to the model's initial state. */
RK_API void rk_session_reset(rk_session *s);

/* Feed tokens to the model and advance the session's recurrent state.
 *
 * tokens  (n) ids in [0, n_vocab), n >= 1.
 * logits  (n_vocab) unnormalised scores for the token after tokens[n - 1]; NULL when not needed.
 * Errors  RK_ERR_ARG: n or an id is out of range; RK_ERR_FULL: more tokens than
 *         rk_engine_params.ctx_size; RK_ERR_UNSUPPORTED: an adapter of a part that the model has in
 *         another form; RK_ERR_NOMEM: of a state that grows, or of adapters; RK_ERR_ABORTED. The state is
 *         then unchanged; after an abort some logits may have been written.
 * Cost    O(n * n_layer * n_embd^2) time; memory does not grow with n.
 * Bits    a call of at most 16 tokens and a longer one agree to rounding; within either kind the
 *         result does not depend on threads, and a split at multiples of 64 tokens changes no bit
 *         while every piece stays longer than 16. */
RK_API rk_status rk_session_eval(rk_session *s, const int32_t *tokens, int64_t n, float *logits,
                                 rk_error *err);
/* The same with the scores after every token: logits (n, n_vocab) row-major. Errors are the same. */
RK_API rk_status rk_session_eval_all(rk_session *s, const int32_t *tokens, int64_t n, float *logits,
                                     rk_error *err);
/* One token for each of n streams of one model and one engine, together: the weights are read once.
 * logits (n, n_vocab), or NULL. Each stream gets the bits it would get alone from rk_session_eval.
 * Sessions must be distinct. The first one's scratch grows when it has not been the first of so
 * many yet.
 * Errors  those of rk_session_eval; RK_ERR_ARG: sessions of several models or engines, or one twice. No
 *         state has then changed. */
RK_API rk_status rk_session_eval_batch(rk_session *const *sessions, int64_t n,
                                       const int32_t *tokens, float *logits, rk_error *err);

/* The state as rk_session_state_bytes bytes of f32: per layer the time_mix shift (n_embd), the
 * recurrent state, the channel_mix shift (n_embd). The recurrent state is S, for rwkv7 (n_head,
 * head_size value, head_size key), for rwkv5 and rwkv6 with key before value; for rwkv4 it is aa, bb
 * and pp (n_embd each). All that is of constant size, rk_model_info.state_bytes; a model whose state
 * grows with its tokens has some bytes more for each of them, and takes any number of tokens back, up to ctx_size.
 * Errors  RK_ERR_ARG: bytes is not state_bytes (set: of no state); RK_ERR_FULL; RK_ERR_NOMEM. */
RK_API size_t rk_session_state_bytes(const rk_session *s);
RK_API rk_status rk_session_state_get(const rk_session *s, void *buf, size_t bytes, rk_error *err);
RK_API rk_status rk_session_state_set(rk_session *s, const void *buf, size_t bytes, rk_error *err);
/* The state as a .safetensors file with layout and model fingerprint. Loading refuses another
 * model's state (RK_ERR_FORMAT) unless force is set, and always one of other shapes. It also takes
 * tuned initial states, as rk_session_tuned_load does with RK_TUNED_BY_NAME. */
RK_API rk_status rk_session_state_save(const rk_session *s, const char *path, rk_error *err);
RK_API rk_status rk_session_state_load(rk_session *s, const char *path, bool force, rk_error *err);

/* The order of the last two dimensions of tuned initial states. */
typedef enum rk_tuned_layout {
    RK_TUNED_VALUE_KEY, /* of RWKV-LM's and RWKV-PEFT's state tuning */
    RK_TUNED_KEY_VALUE, /* of programs that keep states as flash-linear-attention does: web-rwkv, ai00 */
    RK_TUNED_BY_NAME,  /* KEY_VALUE for a path that ends in .state or .st, else VALUE_KEY */
    RK_TUNED_RWKV_CPP, /* VALUE_KEY in rwkv.cpp's files, f32 without a header */
} rk_tuned_layout;
/* Start from the initial states that state tuning writes: a .pth or .safetensors file of nothing but
 * "blocks.N.att.time_state" (n_head, head_size, head_size) for every layer, of any float type. The
 * rest of the state is the model's initial one.
 * Errors  RK_ERR_IO; RK_ERR_FORMAT: another file, other shapes, or a value that is not finite;
 *         RK_ERR_NOMEM. The state is then unchanged. */
RK_API rk_status rk_session_tuned_load(rk_session *s, const char *path, rk_tuned_layout layout,
                                       rk_error *err);

/* -------------------------------------------------------------------------------- adapters */

/* Adapters, which streams compute with beside the model (docs/tuning.md). Immutable once open, for any
 * number of sessions and threads; they need their model. */
typedef struct rk_adapters rk_adapters;

typedef struct rk_adapter_source {
    const char *path; /* a folder of peft, a .pth of RWKV-PEFT, a .gguf of llama.cpp */
    double scale;     /* what it adds is multiplied by this; 1 */
    double alpha;     /* of LoRA in files that store none; 0: not given */
} rk_adapter_source;

/* Open n adapters, whose changes add up. force takes those that were made for another model of the same
 * shapes.
 * Errors  RK_ERR_IO; RK_ERR_FORMAT: file, what was found, what was expected; RK_ERR_UNSUPPORTED: one that
 *         replaces parameters of the model, which `rwkv merge` puts into it; RK_ERR_NOMEM. */
RK_API rk_status rk_adapters_open(rk_adapters **out, const rk_model *m,
                                  const rk_adapter_source *sources, int64_t n, bool force,
                                  rk_error *err);
/* No session computes with them any more. */
RK_API void rk_adapters_free(rk_adapters *a);
/* Let a session compute with them from the next call on; NULL: with the model alone. The state stays as it
 * is. In a batch each session has its own, and the bits that it has alone.
 * Errors  RK_ERR_ARG: they are of another model. */
RK_API rk_status rk_session_adapt(rk_session *s, const rk_adapters *a, rk_error *err);

/* Log-probability (natural) of one token under (n) logits, summed in double. */
RK_API double rk_logprob(const float *logits, int64_t n, int32_t token);

/* --------------------------------------------------------------------------------- tokenizer */

typedef struct rk_tokenizer rk_tokenizer;

/* name: "byte" (id = byte, 256 ids), "world" (built in, 65536 ids, 0 ends a document), or the path
 * of a vocabulary file, which by its contents is one of three: text in the format of
 * rwkv_vocab_v20230424.txt, a tokenizer.json of the kind of GPT-NeoX-20B (RWKV-4 Pile), Qwen2, Llama-3
 * or SmolLM2, which encodes by merges, or a GGUF file with a vocabulary of RWKV or one with merges in
 * it; or of a folder with a tokenizer.json. What lies beside a file of that name, tokenizer_config.json
 * and generation_config.json, says where texts end.
 * Errors  RK_ERR_IO; RK_ERR_FORMAT: file, place, what is wrong; RK_ERR_UNSUPPORTED: a tokenizer.json
 *         of another kind; RK_ERR_NOMEM. */
RK_API rk_status rk_tokenizer_new(rk_tokenizer **out, const char *name, rk_error *err);
RK_API void rk_tokenizer_free(rk_tokenizer *t);
RK_API int64_t rk_tokenizer_n_vocab(const rk_tokenizer *t);
/* Token ids of bytes (any bytes). Returns the number of ids; writes at most max of them. Call with
 * max 0 to learn the number; it is at most n, with merges at most 3 n. The ids' bytes are the text.
 * With merges the text is brought to normal form C first, bytes that are no UTF-8 become U+FFFD, and
 * memory is needed: -1 says that it ran out. Special tokens such as <|endoftext|> are then found in
 * the text. */
RK_API int64_t rk_tokenizer_encode(const rk_tokenizer *t, const char *bytes, size_t n, int32_t *ids,
                                   int64_t max);
/* Whether a text that is generated ends before this id: 0, or those that the vocabulary's file names.
 */
RK_API bool rk_tokenizer_ends(const rk_tokenizer *t, int32_t id);
/* The bytes of one id, borrowed from the tokenizer; *n is 0 for ids without text. */
RK_API const char *rk_tokenizer_bytes(const rk_tokenizer *t, int32_t id, size_t *n);

/* Turns tokens into text that is always whole UTF-8 characters; what can never become one is
 * written as U+FFFD. */
typedef struct rk_decoder rk_decoder;
RK_API rk_status rk_decoder_new(rk_decoder **out, const rk_tokenizer *t, rk_error *err);
RK_API void rk_decoder_free(rk_decoder *d);
/* The text that has become complete, NUL-terminated, valid until the next call; "" while waiting. */
RK_API const char *rk_decoder_push(rk_decoder *d, int32_t id, size_t *n);
/* What is left at the end of a stream. */
RK_API const char *rk_decoder_flush(rk_decoder *d, size_t *n);

/* ----------------------------------------------------------------------------------- sampler */

typedef struct rk_sampler_params {
    float temp;              /* 0: the highest logit (lowest id on ties), penalties off */
    float top_p;             /* in [0, 1]; 1: off, 0: one token; of the untempered distribution */
    int32_t top_k;           /* 0: off */
    float min_p;             /* keep p >= min_p * max p; 0: off */
    float typical_p;         /* in [0, 1]; 1: off, 0: one token */
    float repeat_penalty;    /* 1: off; logits of seen tokens are divided (or multiplied) by it */
    float presence_penalty;  /* subtracted from the logit of every generated token */
    float frequency_penalty; /* times its decayed count, subtracted too */
    float penalty_decay;     /* counts are multiplied by it at every token, in [0, 1] */
    uint64_t seed;
} rk_sampler_params;

/* temp 1, top_p 0.85, the rest off, penalty_decay 0.996, seed 0. */
RK_API rk_sampler_params rk_sampler_defaults(void);

typedef struct rk_sampler rk_sampler;
/* Errors  RK_ERR_ARG: a parameter outside its range, by name. tokenizer (may be NULL) tells which
 * tokens are digits and spaces, which count for presence only. */
RK_API rk_status rk_sampler_new(rk_sampler **out, const rk_sampler_params *p, int64_t n_vocab,
                                const rk_tokenizer *tokenizer, rk_error *err);
RK_API void rk_sampler_free(rk_sampler *s);
/* Forget the generated tokens and start the random stream again. */
RK_API void rk_sampler_reset(rk_sampler *s);
/* Add to a token's logit before everything else; -INFINITY bans it. */
RK_API rk_status rk_sampler_bias(rk_sampler *s, int32_t token, float bias, rk_error *err);
/* Sample the next token from logits (n_vocab), which are not changed, and note it for the
 * penalties.
 * Errors  RK_ERR_NUMERIC: no finite logit is left. */
RK_API rk_status rk_sampler_next(rk_sampler *s, const float *logits, int32_t *token, rk_error *err);

/* ------------------------------------------------------------------------------- speculation */

/* Speculative decoding: a small model, the draft, proposes tokens, and a session's model evaluates
 * several of them in one pass. Instead of rk_sampler_next and rk_session_eval with one token call
 * rk_speculator_next and rk_speculator_feed. Logits have the bits of decoding token by token, so
 * greedy text is the same; sampled text has the same distribution (a draft token is accepted with
 * probability min(1, p / q)), but with one seed it is another text whenever other tokens were
 * drafted, which depends on measured times: tokens are drafted only while that is faster than
 * decoding without a draft. */
typedef struct rk_speculator rk_speculator;

typedef struct rk_speculator_info {
    int64_t n_tokens;             /* fed by rk_speculator_feed */
    int64_t n_passes;             /* of the model */
    int64_t n_guessed;            /* tokens drafted */
    int64_t n_judged, n_accepted; /* draft tokens that were compared; those accepted */
    double model_s, draft_s;      /* seconds spent */
    int64_t n_single;             /* passes of one token, the speed without a draft, */
    double single_s;              /* and their seconds */
} rk_speculator_info;

/* s and sampler are the speculator's until it is freed. The draft starts from its initial state.
 *
 * draft   a model of the same vocabulary; the one of s will do.
 * n_max   draft tokens of a pass at most, 1 to 15.
 * Errors  RK_ERR_ARG: n_max, or a draft with another number of tokens; RK_ERR_NOMEM.
 * Memory  a session of the draft and n_max + 1 of its states, (16 + 2 n_max) n_vocab numbers. */
RK_API rk_status rk_speculator_new(rk_speculator **out, rk_session *s, rk_sampler *sampler,
                                   const rk_model *draft, int64_t n_max, rk_error *err);
RK_API void rk_speculator_free(rk_speculator *sp);
/* Let the draft evaluate the tokens (n) that the session has evaluated by itself, such as a prompt.
 * Without this call fewer draft tokens are accepted; results are the same. */
RK_API rk_status rk_speculator_read(rk_speculator *sp, const int32_t *tokens, int64_t n,
                                    rk_error *err);
/* As rk_sampler_next; logits (n_vocab) are those after the token that was fed last. */
RK_API rk_status rk_speculator_next(rk_speculator *sp, const float *logits, int32_t *token,
                                    rk_error *err);
/* As rk_session_eval with one token, any; logits (n_vocab) or NULL. Between this and
 * rk_speculator_settle the session's state is not that after the tokens fed.
 * Errors  those of rk_session_eval: the token counts as not fed.
 * Cost    nothing where a draft token was accepted; else new draft tokens and a pass of at most 16
 * tokens. */
RK_API rk_status rk_speculator_feed(rk_speculator *sp, int32_t token, float *logits, rk_error *err);
/* Give the session the state after the tokens fed: call it before the session is used otherwise.
 * Cost    at most a pass of 15 tokens, which rk_engine_abort does not stop. */
RK_API rk_status rk_speculator_settle(rk_speculator *sp, rk_error *err);
RK_API void rk_speculator_get_info(const rk_speculator *sp, rk_speculator_info *info);

/* ---------------------------------------------------------------------------------- training */

typedef struct rk_train_params {
    const char *arch; /* as in rk_model_info; "rwkv7" */
    /* (n_sizes), those of the model that are not to have their defaults: {"n_layer", 2}. A name that
     * the architecture does not have is refused. */
    const rk_size *sizes;
    int64_t n_sizes;
    int64_t ctx_len, batch,
        micro_batch;       /* batch: sequences of a step; micro_batch 0: all at once */
    int64_t grad_slices;   /* a power of two that divides batch; 1 */
    int64_t steps, warmup; /* of the schedule */
    double lr, lr_final;   /* lr_final < 0: lr / 10 */
    double weight_decay, beta1, beta2, eps, clip; /* clip 0: off */
    double
        l2wrap; /* pull on the largest logit, 0: off; < 0, the default: 1e-4 as BlinkDL/RWKV-LM has */
    double dropout;
    bool bf16;              /* operands of the matrix products rounded to bf16 */
    bool checkpoint_blocks; /* recompute each block in the backward pass: less memory, more time */
    uint64_t seed;
    /* "adamw", or "sgd", which takes momentum instead of betas and eps, or "muon", which takes all of
     * AdamW's, too; muon_lr < 0: lr. */
    const char *optimizer;
    double momentum, muon_lr, muon_momentum;
    /* "cosine", "wsd", "constant", "linear", "exponential" (docs/training.md). */
    const char *schedule;
    double decay_frac; /* of wsd: the share of all steps, the last ones, in which the rate falls */
    double ema;        /* decay of running means of the weights, rk_trainer_show_average; 0: none */
    /* What is trained, and what of it is not: words with commas between them, each a shell pattern on
     * the names of parameters, or a group of them (docs/reference.md). NULL: everything; nothing. */
    const char *train_only, *freeze;
    /* Factors of learning rates in place of the recipe's, likewise: "blocks.*.att.w0=1,vector=0.5". */
    const char *lr_scale;
    /* A model file to begin with instead of initial weights; sizes that are given must then be its own.
     * What is frozen stays as the file has it, in any type. NULL: none. */
    const char *init_from;
    /* A file of initial states, or of a kernel path, that the model is opened with as if its own file held
     * them (docs/state-tuning.md). NULL: none. */
    const char *init_state;
    /* Of a run whose model has grown (rwkv grow --run): the schedule begins again there, with so many steps of
     * warm-up; 0: it goes on. */
    int64_t rewarm;
} rk_train_params;

/* The defaults of docs/reference.md, of the sizes too. */
RK_API rk_train_params rk_train_defaults(void);

typedef struct rk_step_info {
    int64_t step;     /* steps done, this one included */
    double loss;      /* mean cross-entropy in nats a token, before the update */
    double grad_norm; /* before clipping */
    double lr;
    bool skipped;       /* a gradient was not finite, or no loss counts: no update was made */
    int64_t counted;    /* losses that the mean is over */
    double noise_scale; /* of the gradient, in sequences, over the last steps; NAN with one slice */
} rk_step_info;

/* A model being trained: f32 weights, moments, step counter. */
typedef struct rk_trainer rk_trainer;
/* Errors  RK_ERR_ARG (which parameter, its range), RK_ERR_NOMEM. Initialised as BlinkDL/RWKV-LM does. */
RK_API rk_status rk_trainer_new(rk_trainer **out, const rk_train_params *p, rk_engine *e,
                                rk_error *err);
RK_API void rk_trainer_free(rk_trainer *t);
/* One update from tokens (batch, ctx_len + 1): row b predicts its elements 1.. from those before.
 * Errors  RK_ERR_ARG: an id is out of range, or running means are shown (rk_trainer_show_average);
 *         RK_ERR_ABORTED, RK_ERR_NOMEM. Nothing has then changed. A gradient that is not finite is no
 *         error: info->skipped. */
RK_API rk_status rk_trainer_step(rk_trainer *t, const int32_t *tokens, rk_step_info *info,
                                 rk_error *err);
/* Mean loss of n sequences (n, ctx_len + 1) without an update.
 * Errors  RK_ERR_ARG: n or an id is out of range; RK_ERR_ABORTED, RK_ERR_NOMEM. */
RK_API rk_status rk_trainer_loss(rk_trainer *t, const int32_t *tokens, int64_t n, double *loss,
                                 rk_error *err);
/* Let rk_trainer_loss and rk_trainer_save_model see the running means of the weights (on), or the weights
 * again; without ema nothing changes. While the means are shown no step can be made. */
RK_API void rk_trainer_show_average(rk_trainer *t, bool on);
/* The whole model as a .safetensors file of f32 weights, or, where frozen matrices stay in blocks, as
 * a .gguf file with these; written whole or not at all. */
RK_API rk_status rk_trainer_save_model(const rk_trainer *t, const char *path, rk_error *err);

#ifdef __cplusplus
}
#endif
#endif /* RK_H */
