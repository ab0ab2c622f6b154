/* ops.h: the operations models are written in.
 *
 * Each takes a context and tensors and returns new tensors; all have a backward. After a failure
 * they do nothing and return NULL. Inputs are contiguous unless said; reals are f32, or f64 all
 * through (gradient tests); the matrices of `linear`, `embedding` and `cross_entropy` may have any
 * type that holds weights, but then no gradient: bf16, f16, and blocks along their inputs. Shapes
 * that do not fit are answered by the context's error, naming the op and the shapes. */
#ifndef RK_OPS_H
#define RK_OPS_H

#include "tensor/weight.h"

/* ---- views: no data moves; the gradient is the base's ---- */

/* The same elements in another shape; t contiguous. */
rk_tensor *rk_view(rk_ctx *ctx, rk_tensor *t, int n_dims, const int64_t *dims);
/* Elements [lo, hi) of dimension dim. */
rk_tensor *rk_slice(rk_ctx *ctx, rk_tensor *t, int dim, int64_t lo, int64_t hi);
/* Index i of dimension 0, which disappears. */
rk_tensor *rk_index(rk_ctx *ctx, rk_tensor *t, int64_t i);
/* Dimensions a and b exchanged. */
rk_tensor *rk_transpose(rk_ctx *ctx, rk_tensor *t, int a, int b);

/* ---- element-wise ---- */

rk_tensor *rk_unary_op(rk_ctx *ctx, rk_unary op, rk_tensor *x);
/* y has x's shape, or its trailing dimensions (a row that is repeated), or one element. */
rk_tensor *rk_add(rk_ctx *ctx, rk_tensor *x, rk_tensor *y);
rk_tensor *rk_mul(rk_ctx *ctx, rk_tensor *x, rk_tensor *y);
/* x + (y - x) w; y of x's shape, w as y in rk_add. */
rk_tensor *rk_lerp(rk_ctx *ctx, rk_tensor *x, rk_tensor *y, rk_tensor *w);
rk_tensor *rk_scale(rk_ctx *ctx, rk_tensor *x, double factor);
/* Zeroes elements with probability p and multiplies the rest by 1/(1-p), while recording; the mask
 * is a function of (ctx seed, ctx step, index, element of the whole batch). p = 0 returns x. */
rk_tensor *rk_dropout(rk_ctx *ctx, rk_tensor *x, double p, uint64_t index);

/* silu(gate) up; of one shape. */
rk_tensor *rk_swiglu(rk_ctx *ctx, rk_tensor *gate, rk_tensor *up);

/* ---- shape ---- */

/* A contiguous copy of any view. */
rk_tensor *rk_copy(rk_ctx *ctx, rk_tensor *x);
/* Joined along dim; n tensors that agree elsewhere, at most RK_MAX_IN (tensor/op.h). */
rk_tensor *rk_concat(rk_ctx *ctx, rk_tensor *const *x, int n, int dim);
/* All elements, as a tensor of one. */
rk_tensor *rk_sum(rk_ctx *ctx, rk_tensor *x);

/* ---- rows: over the last dimension ---- */

rk_tensor *rk_softmax(rk_ctx *ctx, rk_tensor *x);
/* x / max(|x|, RK_L2_EPS). */
rk_tensor *rk_l2norm(rk_ctx *ctx, rk_tensor *x);
/* Layer norm (groups 1) or group norm over `groups` equal parts; w, b over the last dimension. */
rk_tensor *rk_norm(rk_ctx *ctx, rk_tensor *x, rk_tensor *w, rk_tensor *b, int64_t groups,
                   double eps);

/* x / sqrt(mean x^2 + eps) w over the last dimension. */
rk_tensor *rk_rms_norm(rk_ctx *ctx, rk_tensor *x, rk_tensor *w, double eps);

/* ---- products ---- */

/* x (..., in) times w, plus `add` (..., out) when it is not NULL (the residual). */
rk_tensor *rk_linear(rk_ctx *ctx, rk_tensor *x, rk_weight w, rk_tensor *add);
/* The product into y (..., out), memory of the caller's; not while recording. */
void rk_linear_into(rk_ctx *ctx, rk_tensor *x, rk_weight w, rk_tensor *y);
/* Independent products at once: out[i] = after_i(x_i w_i), or x_i w_i where that is RK_UNARY_NONE.
 * The same bits as one after the other, forward and backward; in the short class each costs a fork
 * and a join less. A low-rank pair is two more products: the first ones go with the others, so that
 * all of them take two forks and joins. */
enum { RK_LINEARS_MAX = 16 };
typedef struct rk_linears_in {
    rk_tensor *x;
    rk_weight w;
    rk_unary after;
} rk_linears_in;
void rk_linears(rk_ctx *ctx, const rk_linears_in *in, int n, rk_tensor **out);
/* Rows of x (..., n) folded to `width`: element k is the sum of those x_i where i mod width is k; and
 * repeated up to one: element i is x_(i mod n). */
rk_tensor *rk_fold(rk_ctx *ctx, rk_tensor *x, int64_t width);
rk_tensor *rk_repeat(rk_ctx *ctx, rk_tensor *x, int64_t width);
/* x / |W + scale B A|, row by row of W (out, in), (out); the gradient is that of x alone. */
typedef struct rk_gain_in {
    rk_tensor *x, *squares; /* (out); squares holds |W|^2 */
    rk_tensor *b, *aw, *aa; /* B (out, r), A W^T (r, out), A A^T (r, r) */
    double scale;
} rk_gain_in;
rk_tensor *rk_gain(rk_ctx *ctx, const rk_gain_in *in);
/* (batch..., M, K) x (batch..., K, N); any views whose last two strides hold a 1. */
rk_tensor *rk_matmul(rk_ctx *ctx, rk_tensor *a, rk_tensor *b);
/* Each row x (..., K) times a matrix of its own, whose elements are a row of m (..., K N): (...,
 * N).
 */
rk_tensor *rk_row_matmul(rk_ctx *ctx, rk_tensor *x, rk_tensor *m);
/* Rows of table (V, C) by ids (i32, any shape): ids' shape with C appended. */
rk_tensor *rk_embedding(rk_ctx *ctx, rk_tensor *table, rk_tensor *ids);
/* The target of a row whose loss does not count. */
enum { RK_NO_TARGET = -1 };

/* -log softmax(head h)[target] for each row of hidden (..., C): targets i32 of the leading shape,
 * negative ones do not count (0), and their rows cost nothing. Runs over blocks of the vocabulary and
 * never holds all logits. */
typedef struct rk_cross_entropy_in {
    rk_tensor *hidden;  /* (..., C) */
    rk_tensor *head;    /* (V, C) */
    rk_tensor *targets; /* i32 (...) */
    rk_tensor *best;    /* i32 (...), filled with the likeliest ids, the lowest of equal ones, or
                         * RK_NO_TARGET where the target does not count; NULL: not asked for */
    double l2wrap;      /* adds 0.5 l2wrap max(logits)^2 to the gradient only (BlinkDL/RWKV-LM) */
    /* What the gradient of every loss is going to be, rk_backward's seed; 0: not known. The gradients
     * of hidden and head are then computed at once, which saves one product of four and changes no
     * bit. */
    double seed;
} rk_cross_entropy_in;
rk_tensor *rk_cross_entropy_of(rk_ctx *ctx, const rk_cross_entropy_in *in);
/* The same without what is seldom asked for. */
rk_tensor *rk_cross_entropy(rk_ctx *ctx, rk_tensor *hidden, rk_tensor *head, rk_tensor *targets,
                            double l2wrap);

/* scale |x - y| of each row of x and y (..., C): (...). y has no gradient. */
rk_tensor *rk_distance(rk_ctx *ctx, rk_tensor *x, rk_tensor *y, double scale);

/* How far a model's distribution of the next token is from a teacher's, for each row: kl_weight sum_v p_T
 * (log p_T - log p_S) - ce_weight log p_S(target), over the tokens that the model has. Rows whose target
 * is negative do not count (0). Logits exist for a block of rows at a time. The teacher's have no gradient. */
typedef struct rk_divergence_in {
    rk_tensor *hidden, *head;                 /* (..., C), (V, C) */
    rk_tensor *teacher_hidden, *teacher_head; /* (..., D), (W, D) with W >= V */
    rk_tensor *targets;                       /* i32 (...) */
    double kl_weight, ce_weight;
    /* In place of the divergence a KL(teacher, model) + (1 - a) KL(model, teacher), each at most 1e3, with
     * probabilities of at least 1e-8. a is the share of the teacher's likeliest tokens, as few as together have
     * half, in the sum of the differences of probabilities; it has a gradient, too. */
    bool adaptive;
    double seed; /* as in rk_cross_entropy_in */
} rk_divergence_in;
rk_tensor *rk_divergence(rk_ctx *ctx, const rk_divergence_in *in);
/* KL(softmax(a) || softmax(b)) of each row of scores (..., V): (...). Both may have gradients. */
rk_tensor *rk_kl(rk_ctx *ctx, rk_tensor *a, rk_tensor *b);

/* What a model thinks of pairs of answers beside a reference (op_preference.c): losses of the tokens of what
 * is chosen and of what is rejected, (B, 2, T) of each; out (B). The reference has no gradient. */
typedef struct rk_preference_how {
    double beta, smoothing; /* of the margin; how likely a pair is the wrong way round */
    bool hinge;             /* in place of the logistic loss */
} rk_preference_how;
rk_tensor *rk_preference(rk_ctx *ctx, rk_tensor *policy, rk_tensor *reference,
                         const rk_preference_how *how);
/* By how much more pair `pair` of the policy prefers what is chosen than the reference does. */
double rk_preference_margin(const rk_tensor *policy, const rk_tensor *reference, int64_t pair);

/* ---- attention ---- */

/* The positions of n_tokens tokens of each row (B, T), from 0: before (B) are those read before, in a
 * state of an architecture that keeps nothing else of them; *after (B) is what it keeps next. A sequence
 * that begins inside a row (rk_ctx.begins) counts from `before` again. No gradient. */
rk_tensor *rk_positions(rk_ctx *ctx, rk_tensor *before, int64_t n_tokens, rk_tensor **after);
/* Rotary embedding of x (B, T, H, N) at positions (B, T): the pair (j, j + N/2) of each head turns by
 * position * theta^(-2j/N). */
rk_tensor *rk_rotary(rk_ctx *ctx, rk_tensor *x, rk_tensor *positions, double theta);

enum { RK_ATTENTION_HEADS_MAX = 256 }; /* that name their key heads */
typedef struct rk_attention_in {
    rk_tensor *q; /* (B, T, H, N) */
    /* (B, T, G, N). NULL, both: keys and values hold the rows of these tokens already, as a call for the same
     * tokens has left them, and stay as they are. */
    rk_tensor *k, *v;
    const int64_t *key_heads; /* (H) the key head that each query head reads; NULL: h / (H/G) */
    rk_tensor *q_bias, *k_bias, *v_bias; /* H N, G N, G N elements, added first; NULL: none */
    /* (B, tokens, G, N): those of the tokens before, keys rotated. States that grow; or tensors, which may
     * have no tokens and which alone have gradients. */
    rk_tensor *keys, *values;
    double theta; /* rotary base, half-split pairs; 0: no rotation */
    double scale; /* of the scores, as a rule 1/sqrt(N) */
} rk_attention_in;
/* Causal softmax attention with grouped key heads: (B, T, H, N); *keys_out, *values_out as keys and values
 * with T more rows. Positions go on from the tokens before. A sequence that begins inside a row
 * (rk_ctx.begins) counts from 0 and sees itself alone; keys and values must then have no tokens before. */
rk_tensor *rk_attention(rk_ctx *ctx, const rk_attention_in *in, rk_tensor **keys_out,
                        rk_tensor **values_out);

/* ---- RWKV ----
 *
 * Rows of a batch may hold several sequences (rk_ctx.begins): each begins with the shift and the state
 * that its row was given, and the states that come out are those of the last one. */

/* The row before each row of x (B, T, C); before the first one, and before each that begins a sequence,
 * it is `shift` (B, C). */
rk_tensor *rk_previous(rk_ctx *ctx, rk_tensor *x, rk_tensor *shift);

/* Token shift and n mixes: out (n, B, T, C), out_q = x + (prev - x) mu_q with prev the row before
 * and before the first row `shift` (B, C). *shift_out (B, C): the last row. */
rk_tensor *rk_shift_mix(rk_ctx *ctx, rk_tensor *x, rk_tensor *shift, rk_tensor *const *mu, int n,
                        rk_tensor **shift_out);

typedef struct rk_wkv4_in {
    rk_tensor *k, *v; /* (B, T, A) */
    rk_tensor *w;     /* (B, A): -e^time_decay */
    rk_tensor *u;     /* A elements: time_first */
    rk_tensor *state; /* (B, 3, A) aa, bb, pp; at the start 0, 0, -1e30 */
} rk_wkv4_in;
/* The RWKV-4 recurrence: y (B, T, A); *state_out as state. Its gradient takes pp as a constant. */
rk_tensor *rk_wkv4(rk_ctx *ctx, const rk_wkv4_in *in, rk_tensor **state_out);

typedef struct rk_wkv6_in {
    rk_tensor *r, *k, *v; /* (B, T, H, N) */
    rk_tensor *d;         /* the decay itself, (B, T, H, N), or (B, H, N): the same at every step */
    rk_tensor *u;         /* H N elements, or (B, H, N) */
    rk_tensor *state;     /* (B, H, N key, N value) */
} rk_wkv6_in;
/* The recurrence of RWKV-5 and -6: y (B, T, H, N); *state_out as state. */
rk_tensor *rk_wkv6(rk_ctx *ctx, const rk_wkv6_in *in, rk_tensor **state_out);

typedef struct rk_wkv7_in {
    rk_tensor *r, *w, *k, *v, *a, *b; /* (B, T, H, N); w the decay itself */
    rk_tensor *state;                 /* (B, H, N value, N key) */
    rk_tensor *hop;                   /* (H, N, N); NULL: y is what r reads, S r */
} rk_wkv7_in;
/* The RWKV-7 recurrence: y (B, T, H, N); *state_out as state. With hop M the state is read twice, y is
 * S^T M (S r) (arXiv 2504.19191). */
rk_tensor *rk_wkv7(rk_ctx *ctx, const rk_wkv7_in *in, rk_tensor **state_out);

/* What RWKV-7 does around its recurrence, beside what its tensors say. */
typedef struct rk_rwkv7_form {
    double eps;       /* of the group norm */
    double scale;     /* of what the recurrence gives where no group norm follows */
    double gate_base; /* added to the gate: 0, or 1 in the form that begins as no gate */
    double extra;     /* removal: S diag(w) - (1 + extra) (S kk)(kk a)^T + v k^T; 0 is RWKV-7 */
} rk_rwkv7_form;

typedef struct rk_rwkv7_prepare_in {
    rk_tensor *w0, *a0, *v0, *k_k, *k_a;       /* C elements each; k_k, k_a both NULL: balanced */
    rk_tensor *wl, *al, *vl, *k, *v, *v_first; /* (B, T, H, N); vl, v_first NULL in layer 0 */
} rk_rwkv7_prepare_in;
typedef struct rk_rwkv7_prepare_out {
    rk_tensor *w, *k, *a, *b, *v; /* what rk_wkv7 takes */
} rk_rwkv7_prepare_out;
/* From the projections to the recurrence's inputs; the equations stand at rwkv7_prepare in
 * kernels.h. */
rk_rwkv7_prepare_out rk_rwkv7_prepare_op(rk_ctx *ctx, const rk_rwkv7_prepare_in *in);

typedef struct rk_rwkv7_output_in {
    rk_tensor *y, *r, *k, *v, *g; /* (B, T, H, N); g NULL: no gate */
    rk_tensor *r_k, *ln_w,
        *ln_b; /* C elements each; r_k NULL: no bonus; ln_w, ln_b NULL: no norm */
    rk_rwkv7_form form;
} rk_rwkv7_output_in;
/* Group norm, bonus and gate: (norm(y) + (r . k r_k) v) (gate_base + g). */
rk_tensor *rk_rwkv7_output_op(rk_ctx *ctx, const rk_rwkv7_output_in *in);

/* A kernel path beside the recurrence: its constants, its trained gain and state. NULL in a tensor's place:
 * there is no such path; basis may be missing. The equations stand in kernels/ref/features.h. */
typedef struct rk_feature_path {
    rk_tensor *u, *uv, *pi;  /* (H, M, N) */
    rk_tensor *gamma;        /* (H) */
    rk_tensor *scale;        /* (H, 3) of k, r, v */
    rk_tensor *basis;        /* (H, M, M) */
    rk_tensor *read, *alpha; /* (H, N, M), (H) */
} rk_feature_path;

typedef struct rk_features_in {
    const rk_feature_path *path;
    rk_tensor *r, *k, *v, *na, *a, *w; /* (B, T, H, N): as rk_wkv7 takes them, and the iclr a */
    double removal;
} rk_features_in;
/* What rk_wkv7 takes in a space of features, (B, T, H, M) each, its state apart. Nothing of the path has a
 * gradient here. */
rk_wkv7_in rk_features_of(rk_ctx *ctx, const rk_features_in *in);
/* alpha Q y of features y (B, T, H, M): (B, T, H, N). The path's read has no gradient. */
rk_tensor *rk_features_back_op(rk_ctx *ctx, const rk_feature_path *path, rk_tensor *y);

typedef struct rk_rwkv7_heads_in {
    rk_rwkv7_prepare_in raw;
    rk_tensor *r, *g;             /* (B, T, H, N); NULL as in the output */
    rk_tensor *r_k, *ln_w, *ln_b; /* C elements each */
    rk_tensor *state;             /* (B, H, N value, N key) */
    rk_rwkv7_form form;
    const rk_feature_path *path; /* NULL: none */
    rk_tensor **path_state;      /* (B, H, M, M), of the path, replaced */
    rk_wkv7_in *read; /* filled with what the recurrence is given; NULL: nobody asks for it */
} rk_rwkv7_heads_in;
/* prepare, wkv7 and output, head by head; one fork and join instead of three in the short class. With a
 * path its recurrence adds to y before the output. */
rk_tensor *rk_rwkv7_heads(rk_ctx *ctx, const rk_rwkv7_heads_in *in, rk_tensor **state_out);

/* ---- mediums (docs/rrwkv.md) ----
 *
 * Behind the T tokens of each row of a batch stand M rows of mediums, each of which belongs behind the last
 * token of a block. Which they are is the walk through the row's blocks: pieces of tokens that are computed
 * with the same finished mediums, from the row's beginning to its end. A sequence that begins inside a row
 * has no mediums before it, whatever the row was given. Rows of mediums that are not there, behind those that
 * are, hold nothing that counts. */

typedef struct rk_medium_rows {
    rk_tensor *walk; /* i32 (B, blocks at most, RK_WALK_FIELDS) */
    int64_t n_tokens, n_mediums;
} rk_medium_rows;

enum {
    RK_WALK_END,    /* the token behind the block's last one */
    RK_WALK_KNOWN,  /* mediums finished before it, also in earlier calls */
    RK_WALK_LENGTH, /* tokens of the whole block, also those of other calls */
    RK_WALK_SLOT, /* how many of this call stand before it; 0 also where a sequence begins with it */
    RK_WALK_MEDIUM, /* the medium that ends it, as a row behind the tokens; -1: none */
    RK_WALK_FIELDS
};

/* A medium behind every `interval` tokens of a sequence; random: behind half as many up to three halves, numbers
 * that are drawn once and for all, so that a place follows from how many mediums stand before it. */
typedef struct rk_medium_places {
    int64_t interval;
    bool random;
} rk_medium_places;

/* The walk of n_tokens tokens of each row. place (B, 2): mediums that are finished, tokens of the block that
 * is not; *after: the same behind the tokens. While recording or planning n_mediums follows from the shape,
 * else it is the most that a row has. */
rk_medium_rows rk_medium_walk(rk_ctx *ctx, rk_tensor *place, int64_t n_tokens, rk_medium_places p,
                              rk_tensor **after);

/* x (B, T, C) with the mediums behind it, (B, T + M, C): `start` (B, C) plus the mean of the block's rows.
 * pool (B, C): the sum of those of the block that is not finished; *pool_out. */
rk_tensor *rk_medium_insert(rk_ctx *ctx, const rk_medium_rows *rows, rk_tensor *x, rk_tensor *start,
                            rk_tensor *pool, rk_tensor **pool_out);
/* The token before each row of x (B, T + M, C), of a medium the last of its block; before the first
 * `shift` (B, C); *shift_out: the last token. */
rk_tensor *rk_medium_previous(rk_ctx *ctx, const rk_medium_rows *rows, rk_tensor *x,
                              rk_tensor *shift, rk_tensor **shift_out);
/* For each row the mean of e (B, M, C) over the mediums finished before it, 0 where there are none:
 * (B, T + M, C). sum (B, C): of earlier calls; *sum_out. e may be NULL where M is 0. */
rk_tensor *rk_medium_mean(rk_ctx *ctx, const rk_medium_rows *rows, rk_tensor *e, rk_tensor *sum,
                          rk_tensor **sum_out);
/* prev + (x - prev) mix + z mix_z of rows (..., C); mix, mix_z of C elements. */
typedef struct rk_medium_mix_in {
    rk_tensor *prev, *x, *mix, *z, *mix_z;
} rk_medium_mix_in;
rk_tensor *rk_medium_mix(rk_ctx *ctx, const rk_medium_mix_in *in);
/* rk_wkv4 over the tokens; a medium reads what they have left and leaves nothing. */
rk_tensor *rk_medium_wkv(rk_ctx *ctx, const rk_medium_rows *rows, const rk_wkv4_in *in,
                         rk_tensor **state_out);
/* What RWKV-4's average over the mediums finished before each row is; y (B, T + M, A) where there are none.
 * k, v, w and the state as in rk_wkv4, of the mediums' rows alone; the state's beginning does not count. */
typedef struct rk_medium_read_in {
    rk_tensor *y, *k, *v, *w, *state;
} rk_medium_read_in;
rk_tensor *rk_medium_read(rk_ctx *ctx, const rk_medium_rows *rows, const rk_medium_read_in *in,
                          rk_tensor **state_out);

/* ---- channel mixes that read states (docs/meta-state.md) ---- */

enum { RK_SELF_STATE_HEADS = 256 }; /* that are asked, at most */
#define RK_SELF_STATE_EPS 1e-5      /* of the norm of their answers */
typedef struct rk_self_state_form {
    int n_heads;
    int32_t heads[RK_SELF_STATE_HEADS]; /* no two alike */
    int64_t
        n_read;  /* heads behind so many are counted from 0 again to find their blocks; 0: none */
    bool norm;   /* answers are normalised */
    bool before; /* states are asked before they learn of the token */
} rk_self_state_form;

typedef struct rk_self_state_in {
    rk_tensor *x;     /* (B, T, C) */
    rk_tensor *gamma; /* n_heads N elements */
    /* (B, H, N value, N key) before the tokens. Of a single token, for which there is no wkv: the one
     * to ask. */
    rk_tensor *state;
    const rk_wkv7_in *wkv; /* w, k, v, a, b of the recurrence; NULL: a single token */
    rk_self_state_form form;
} rk_self_state_in;
/* x with what the states of some heads answer to it: of each head h in turn, whose block is the channels from
 * N (h mod (C / N)) on, x[block] += gamma norm(S_t q), with q = x[block] of unit length. */
rk_tensor *rk_self_state(rk_ctx *ctx, const rk_self_state_in *in);

enum { RK_ROUTE_GENERATIONS = 16 };
typedef struct rk_route_form {
    int64_t block, best; /* columns of a block; how many blocks of a generation stay */
    int n_generations;
    int64_t ends[RK_ROUTE_GENERATIONS]; /* columns up to the end of each generation */
    bool gate;                          /* a chosen block's columns times sigmoid(its mean) */
    /* Times this, n_b sum_b f_b P_b is added to the loss of each sequence of a generation of n_b blocks, but to
     * the gradient only: f_b is the share of positions that chose block b, P_b the mean over them of the
     * softmax of the blocks' means. */
    double balance;
} rk_route_form;
/* relu(p)^2 of p (..., T, F), but 0 outside the blocks whose mean is largest, of each generation of columns
 * apart. The choice has no gradient. */
rk_tensor *rk_route(rk_ctx *ctx, rk_tensor *p, const rk_route_form *form);

/* ---- segments, recomputation and gradients ---- */

/* A piece of a model: reads in[0 .. n_in), leaves its results in out[0 .. n_out). */
typedef void rk_segment_fn(rk_ctx *ctx, void *user, rk_tensor *const *in, rk_tensor **out);
/* Run a segment in a scope of the arena: its results are copied into `out`, which holds tensors of
 * their shapes (see rk_new_like), and all other memory that it took is given back. Not while
 * recording: a tape would refer to what is gone. out[i] may share memory with an input that nobody
 * reads afterwards. */
void rk_scoped(rk_ctx *ctx, rk_segment_fn *fn, void *user, rk_tensor *const *in, int n_in,
               rk_tensor *const *out, int n_out);
/* The same on the tape: the backward pass runs the segment again, recording it. Everything that
 * needs a gradient beside the inputs must have its gradient memory already (parameters do). user
 * must outlive the tape. */
void rk_recompute(rk_ctx *ctx, rk_segment_fn *fn, void *user, rk_tensor *const *in, int n_in,
                  rk_tensor *const *out, int n_out);

/* Walk the tape backwards from t with its gradient set to `seed` everywhere; gradients add up in
 * every tensor that requires one. The tape is empty afterwards. */
void rk_backward(rk_ctx *ctx, rk_tensor *t, double seed);

#endif
