/* kernels.h: the table of loops over raw pointers that everything above is made of.
 *
 * One row per instruction-set path. The reference (ref/) is the definition, built for float and for
 * double from one source; the others (simd/, one source for AVX2, AVX-512 and NEON) compute the
 * same in f32 to rounding. A kernel works on the calling thread, on the piece it is given; callers
 * divide the work by output element, so that the number of threads changes no bit.
 *
 * `real` below is the table's element type: float, or double in rk_kernels_ref_f64. Pointers to
 * reals are void so that one table type serves both. Arrays are row-major and contiguous, do not
 * overlap unless said, need no alignment. Gradient outputs (names beginning with d) are added to,
 * never overwritten, unless said. Names: B batch, T time, C n_embd, H n_head, N head_size. */
#ifndef RK_KERNELS_H
#define RK_KERNELS_H

#include "base/dtype.h"
#include "base/error.h"

typedef enum rk_unary {
    RK_SIGMOID, /* 1 / (1 + e^-x) */
    RK_TANH,
    RK_EXP,
    RK_RELU2, /* max(x, 0)^2 */
    RK_SILU,  /* x sigmoid(x) */
    RK_RELU,  /* max(x, 0) */
    RK_UNARY_COUNT,
    RK_UNARY_NONE = RK_UNARY_COUNT /* where one may be left out */
} rk_unary;

/* Steps between the states that wkv7_forward saves for the backward pass. */
enum { RK_WKV_SEGMENT = 16 };
/* Floor of the length in L2 normalisation: shorter vectors are divided by it instead. */
#define RK_L2_EPS 1e-12

/* Arrays of one (batch, head) of the recurrence; row t of an input is at pointer + t * stride, so
 * that a (B, T, H, N) tensor is read where it is. */
typedef struct rk_wkv7_args {
    int64_t n_steps, head_size, stride;
    const void *r, *w, *k, *v, *a, *b; /* w is the decay itself, in (0, 1) */
    void *y;                           /* forward only, same stride */
    void *state;                       /* (N value, N key) in: before, out: after the steps */
    void *saved; /* NULL, or (ceil(n_steps/16), N, N): the state before steps 0, 16, 32 ... in a
                  * layout of the path's own; the backward of the same path reads it */
} rk_wkv7_args;

typedef struct rk_wkv7_grads {
    const void *dy;                    /* same stride as the inputs */
    void *dr, *dw, *dk, *dv, *da, *db; /* added to */
    void *dstate; /* (N value, N key): in the gradient of the last state, out of the first */
} rk_wkv7_grads;

/* The recurrence of RWKV-5 and -6, likewise for one (batch, head). */
typedef struct rk_wkv6_args {
    int64_t n_steps, head_size, stride;
    int64_t d_stride;          /* of d and its gradient: stride, or 0 for one decay at all steps */
    const void *r, *k, *v, *d; /* d is the decay itself, in [0, 1) */
    const void *u;             /* (N) the bonus of the current token */
    void *y;                   /* forward only, same stride */
    void *state;               /* (N key, N value) in: before, out: after the steps */
    void *saved;               /* NULL, or (ceil(n_steps/16), N, N): as in rk_wkv7_args */
} rk_wkv6_args;

typedef struct rk_wkv6_grads {
    const void *dy;          /* same stride as the inputs */
    void *dr, *dk, *dv, *dd; /* added to */
    void *du;                /* (N) added to */
    void *dstate;            /* (N key, N value): as in rk_wkv7_grads */
} rk_wkv6_grads;

/* The recurrence of RWKV-4 for channels [c0, c1) of one batch row. */
typedef struct rk_wkv4_args {
    int64_t n_steps, width, c0, c1;
    const void *k, *v; /* (n_steps, width) */
    const void *w, *u; /* (width) w = -e^time_decay, u = time_first */
    void *y;           /* forward only (n_steps, width) */
    void *state;       /* (3, width) aa, bb, pp; in: before, out: after; backward: after, read */
    void *saved;       /* NULL, or (ceil(n_steps/16), 3, width): the state before steps 0, 16 ... */
} rk_wkv4_args;

typedef struct rk_wkv4_grads {
    const void *dy;          /* (n_steps, width) */
    void *dk, *dv, *dw, *du; /* as the inputs, added to */
    void *dstate; /* (3, width): in the gradient of the last state, out of the first; pp's is 0 */
} rk_wkv4_grads;

/* Per-row result of a cross-entropy that passes over the vocabulary block by block: columns [col0,
 * col0 + n) of the logits at a time. */
typedef struct rk_ce_row {
    double max, sum; /* running maximum m and sum of e^(x - m); start at -INFINITY and 0 */
    double target;   /* the target's logit, once its block has passed */
    int64_t argmax;  /* column of the maximum, lowest on ties */
} rk_ce_row;

typedef struct rk_adamw {
    double lr, beta1, beta2, eps, weight_decay;
    double correct1, correct2; /* 1 - beta^step */
    double grad_scale;         /* gradients are multiplied by it first (clipping) */
} rk_adamw;

typedef struct rk_rwkv7_prepare {
    const void *w0, *a0, *v0; /* (C) */
    const void *k_k, *k_a;    /* (C); both NULL: balanced, see rwkv7_prepare */
    const void *wl, *al, *vl, *k0, *v_in, *v_first; /* (rows, C); vl, v_first NULL in layer 0 */
    void *w, *k, *na, *b, *v;                       /* (rows, C) */
} rk_rwkv7_prepare;

typedef struct rk_rwkv7_prepare_grads {
    const void *dw, *dk, *dna, *db, *dv;            /* (rows, C) in */
    void *dwl, *dal, *dvl, *dk0, *dv_in, *dv_first; /* (rows, C) added to; in layer 0 (v_first
                                                        * NULL) dvl, dv_in, dv_first are NULL: v is
                                                        * the input itself, dv already its gradient */
    void *dk_k_rows, *dk_a_rows; /* (rows, C) overwritten: per-row terms of dk_k, dk_a */
} rk_rwkv7_prepare_grads;

typedef struct rk_rwkv7_output {
    const void *y, *r, *k, *v, *g; /* (rows, C); g NULL: no gate */
    const void *r_k, *ln_w, *ln_b; /* (C); r_k NULL: no bonus; ln_w and ln_b NULL: no norm */
    double eps;
    double scale;     /* of y where there is no norm */
    double gate_base; /* added to g */
    void *
        stats; /* (rows, H, 2) mean, rstd: written by forward, read by backward; may be NULL forward */
    void *z; /* (rows, C) */
} rk_rwkv7_output;

typedef struct rk_rwkv7_output_grads {
    const void *dz;                            /* (rows, C) */
    void *dy, *dr, *dk, *dv, *dg;              /* (rows, C) added to */
    void *dr_k_rows, *dln_w_rows, *dln_b_rows; /* (rows, C) overwritten: per-row terms */
} rk_rwkv7_output_grads;

/* A kernel path beside RWKV-7's recurrence, for heads of tokens i: i % heads is the head. */
enum {
    RK_FEATURES_R,
    RK_FEATURES_W,
    RK_FEATURES_K,
    RK_FEATURES_V,
    RK_FEATURES_A,
    RK_FEATURES_B,
    RK_FEATURES_OUT
};
typedef struct rk_features {
    int64_t heads, size, n_features;    /* H, N, M */
    const void *r, *k, *v, *na, *a, *w; /* (rows,H,N): na is -kk, a the iclr, w the decay */
    const void *u, *uv, *pi;            /* (H,M,N) support vectors, weights of decays */
    const void *gamma, *scale, *basis;  /* (H), (H,3) of k, r, v, (H,M,M) or NULL */
    double removal;                     /* of features that are the vectors themselves */
    void *out[RK_FEATURES_OUT];         /* (rows,H,M) */
} rk_features;

typedef struct rk_features_grads {
    void *dout[RK_FEATURES_OUT];        /* (rows,H,M), read */
    void *dr, *dk, *dv, *dna, *da, *dw; /* (rows,H,N) added to */
} rk_features_grads;

/* One vector. */
typedef struct rk_feature_vector {
    int64_t size, n_features;
    const void *x, *u, *basis; /* (N), (M,N), (M,M) */
    double gamma, scale;
} rk_feature_vector;

typedef struct rk_features_back {
    int64_t heads, size, n_features;
    const void *x;              /* (rows,H,M) */
    const void *matrix, *alpha; /* (H,N,M), (H) */
    void *out;                  /* (rows,H,N) */
} rk_features_back;

/* Keys of a block: they lie one after the other, and a query adds them up before it goes on. */
enum { RK_ATTEND_KEYS = 64, RK_ATTEND_PARTS = 8, RK_ATTEND_RUN = 4 };
/* Which of n_parts a block of keys belongs to: runs of blocks, in turn, so that the parts of a long
 * history can be computed at once, and which keys are added up together depends on their places alone. */
static inline int64_t rk_attend_part(int64_t block, int64_t n_parts)
{
    return block / RK_ATTEND_RUN % n_parts;
}

/* Where rows of keys or values lie, row_bytes apart: in one piece, or in pages of RK_ATTEND_KEYS. */
typedef struct rk_attend_rows {
    const unsigned char *data;
    unsigned char *const *pages; /* NULL: in one piece at data */
    size_t offset;               /* of the first row in a page */
    size_t row_bytes;
    rk_dtype type;
} rk_attend_rows;
static inline const void *rk_attend_row(const rk_attend_rows *r, int64_t i)
{
    if (!r->pages)
        return r->data + (size_t)i * r->row_bytes;
    return r->pages[i / RK_ATTEND_KEYS] + r->offset + (size_t)(i % RK_ATTEND_KEYS) * r->row_bytes;
}

/* Queries of some tokens that read the same keys and values. Query i is head i % heads of token i /
 * heads; token t sees the keys before first + t. */
typedef struct rk_attend {
    int64_t rows, heads, size; /* queries, N */
    int64_t first;
    const void *q; /* query i at (i / heads) ldq + (i % heads) N */
    int64_t ldq;
    rk_attend_rows k, v;
    double scale;
    int64_t part, n_parts; /* of the blocks, see rk_attend_part */
    void *out;             /* as q, at ldo */
    int64_t ldo;
    void *stats; /* maximum and sum of each query, two for each N of out; may be NULL forward */
} rk_attend;

typedef struct rk_attend_grads {
    const void *dy; /* as out */
    void *dq;       /* as q, added to */
    void *dk, *dv;  /* key j at j ld, added to */
    int64_t ld;
} rk_attend_grads;

/* Activations as whole numbers of 29 bits, in blocks of 32: high times RK_X29_HIGH plus low, at most 2^28. Those with
 * even numbers come first, then the others. */
enum { RK_X29_BLOCK = 32, RK_X29_HIGH = 1 << 14 };
typedef struct rk_x29 {
    int16_t high[2][RK_X29_BLOCK / 2], low[2][RK_X29_BLOCK / 2];
} rk_x29;

typedef struct rk_kernels {
    const char *name; /* "ref", "avx2", "avx512", "avx512bf16", "neon" */
    rk_dtype real;

    /* y[i] = f(x[i]); dx[i] += dy[i] f'(x[i]), from x and y = f(x), whichever is handier. */
    void (*unary)(rk_unary op, int64_t n, const void *x, void *y);
    void (*unary_bwd)(rk_unary op, int64_t n, const void *x, const void *y, const void *dy,
                      void *dx);

    /* z = x + y, z = x * y, z = x + (y - x) * w, y += alpha * x, y = alpha * x. z may be x or y. */
    void (*add)(int64_t n, const void *x, const void *y, void *z);
    void (*mul)(int64_t n, const void *x, const void *y, void *z);
    void (*lerp)(int64_t n, const void *x, const void *y, const void *w, void *z);
    void (*axpy)(int64_t n, double alpha, const void *x, void *y);
    void (*scale)(int64_t n, double alpha, const void *x, void *y);
    /* z += x * y: the backward of mul. */
    void (*mul_add)(int64_t n, const void *x, const void *y, void *z);
    /* Backward of lerp: dx += dz (1 - w), dy += dz w, dw += dz (y - x); any of the three may be NULL. */
    void (*lerp_bwd)(int64_t n, const void *x, const void *y, const void *w, const void *dz,
                     void *dx, void *dy, void *dw);
    /* y = silu(gate) up; either gradient may be NULL. */
    void (*swiglu)(int64_t n, const void *gate, const void *up, void *y);
    void (*swiglu_bwd)(int64_t n, const void *gate, const void *up, const void *dy, void *dgate,
                       void *dup);
    /* Sum, and sum of squares, in double, of 8 interleaved partial sums added in a fixed tree. */
    double (*sum)(int64_t n, const void *x);
    double (*sum_squares)(int64_t n, const void *x);
    /* out[c] += sum over rows of x[row * ld + c], row after row, for c in [0, n). */
    void (*add_rows)(int64_t rows, int64_t n, int64_t ld, const void *x, void *out);

    /* Normalisation of `groups` groups of n values in each of `rows` rows of groups * n (layer norm:
     * one group; group norm over heads: n = N): y = (x - mean) rstd w + b, rstd = 1/sqrt(var + eps),
     * population variance; w, b (groups * n). stats (rows, groups, 2): mean, rstd; may be NULL. */
    void (*norm)(int64_t rows, int64_t groups, int64_t n, const void *x, const void *w,
                 const void *b, double eps, void *y, void *stats);
    void (*norm_bwd_x)(int64_t rows, int64_t groups, int64_t n, const void *x, const void *w,
                       const void *stats, const void *dy, void *dx);
    /* dw, db for channels [c0, c1), row after row. */
    void (*norm_bwd_w)(int64_t rows, int64_t groups, int64_t n, int64_t c0, int64_t c1,
                       const void *x, const void *stats, const void *dy, void *dw, void *db);

    /* Rows of n: y = x rstd w, rstd = 1/sqrt(mean of x^2 + eps); stats (rows) rstd, may be NULL. dw
     * row after row. */
    void (*rms_norm)(int64_t rows, int64_t n, const void *x, const void *w, double eps, void *y,
                     void *stats);
    void (*rms_norm_bwd_x)(int64_t rows, int64_t n, const void *x, const void *w, const void *stats,
                           const void *dy, void *dx);
    void (*rms_norm_bwd_w)(int64_t rows, int64_t n, const void *x, const void *stats,
                           const void *dy, void *dw);

    /* Rows of n: y = x / max(|x|, RK_L2_EPS); softmax over n. */
    void (*l2norm)(int64_t rows, int64_t n, const void *x, void *y);
    void (*l2norm_bwd)(int64_t rows, int64_t n, const void *x, const void *dy, void *dx);
    void (*softmax)(int64_t rows, int64_t n, const void *x, void *y);
    void (*softmax_bwd)(int64_t rows, int64_t n, const void *y, const void *dy, void *dx);

    /* Token shift with n_mix mixes, for rows [t0, t1) of one sequence x (T, C):
     * y_q[t] = x[t] + (x[t-1] - x[t]) mu_q, x[-1] = prev (C); mu (n_mix, C); y_q = y + q * y_stride. */
    void (*shift_mix)(int64_t t0, int64_t t1, int64_t c, const void *x, const void *prev,
                      int64_t n_mix, const void *const *mu, void *y, int64_t y_stride);
    /* dx[t] for t in [t0, t1) of T: takes dy_q[t] (1 - mu_q) + dy_q[t + 1] mu_q. */
    void (*shift_mix_bwd_x)(int64_t t0, int64_t t1, int64_t n_steps, int64_t c, int64_t n_mix,
                            const void *const *mu, const void *dy, int64_t dy_stride, void *dx);
    /* dmu_q[c] for channels [c0, c1) over all rows of one sequence; dprev (may be NULL) likewise. */
    void (*shift_mix_bwd_mu)(int64_t n_steps, int64_t c, int64_t c0, int64_t c1, const void *x,
                             const void *prev, int64_t n_mix, const void *const *mu, const void *dy,
                             int64_t dy_stride, void *const *dmu, void *dprev);

    /* RWKV-7 between the projections and the recurrence, for `rows` tokens of H heads of N. wl is
     * the decay logit without w0, al and vl those of iclr and value residual without a0 and v0:
     *   w = exp(-e^(-1/2) sigmoid(w0 + wl));  a = sigmoid(a0 + al);  kk = l2norm(k0 k_k) per head
     *   k = k0 (1 + (a - 1) k_a);  v = v0 + (v_first - v0) sigmoid(vb + vl)
     * outputs w, k, na = -kk, b = kk a, v; the iclr `a` itself is not kept, backward computes it
     * again. v_first NULL (layer 0): v is the input and is not written. k_k and k_a NULL (RAD-RWKV7's
     * balanced state, arXiv 2505.03005): kk = normalize(k0), k = k0 (1 - w + a). */
    void (*rwkv7_prepare)(int64_t rows, int64_t h, int64_t n, const rk_rwkv7_prepare *p);
    /* Backward for the inputs (wl, al, vl, k0, v, v_first), row by row. */
    void (*rwkv7_prepare_bwd)(int64_t rows, int64_t h, int64_t n, const rk_rwkv7_prepare *p,
                              const rk_rwkv7_prepare_grads *g);
    /* Backward for the vectors w0, a0, v0, k_k, k_a is add_rows over per-row terms that
     * rwkv7_prepare_bwd leaves in g->dk_k_rows and g->dk_a_rows (w0, a0, v0 take dwl, dal, dvl). */

    /* RWKV-7 after the recurrence: z = (norm(y; ln_w, ln_b, eps) + (sum_j r k r_k) v) (gate_base + g),
     * per head, of which each part may be missing. */
    void (*rwkv7_output)(int64_t rows, int64_t h, int64_t n, const rk_rwkv7_output *p);
    void (*rwkv7_output_bwd)(int64_t rows, int64_t h, int64_t n, const rk_rwkv7_output *p,
                             const rk_rwkv7_output_grads *g);

    /* The recurrence S = S diag(w) + (S a) b^T + v k^T, y = S r (arXiv 2503.14456; the
     * definition in RWKV-LM, RWKV-v7), for one batch row and head. Backward needs
     * wkv7_scratch(N) bytes of scratch, 64-byte aligned; forward needs it too. */
    size_t (*wkv7_scratch)(int64_t head_size);
    void (*wkv7)(const rk_wkv7_args *p, void *scratch);
    void (*wkv7_bwd)(const rk_wkv7_args *p, const rk_wkv7_grads *g, void *scratch);
    /* The same state read twice, y = S^T M (S r) with M (N, N), of the reference alone; dhop (N, N) is
     * added to. The scratch of both is wkv7_hop_scratch(N) bytes. */
    size_t (*wkv7_hop_scratch)(int64_t head_size);
    void (*wkv7_hop)(const rk_wkv7_args *p, const void *hop, void *scratch);
    void (*wkv7_hop_bwd)(const rk_wkv7_args *p, const rk_wkv7_grads *g, const void *hop, void *dhop,
                         void *scratch);

    /* The recurrences of RWKV-5 and -6, y = S^T r + (r . (u k)) v, S <- diag(d) S + k v^T
     * (arXiv 2404.05892), and of RWKV-4 (arXiv 2305.13048, at ref/wkv4.h). */
    size_t (*wkv6_scratch)(int64_t head_size);
    void (*wkv6)(const rk_wkv6_args *p, void *scratch);
    void (*wkv6_bwd)(const rk_wkv6_args *p, const rk_wkv6_grads *g, void *scratch);
    void (*wkv4)(const rk_wkv4_args *p);
    void (*wkv4_bwd)(const rk_wkv4_args *p, const rk_wkv4_grads *g);

    /* Rows of n turned by angles that have these cosines and sines (n / 2): y_j = x_j cos - x_(j + n/2)
     * sin, y_(j + n/2) = x_(j + n/2) cos + x_j sin; back: by the opposite angles. y may be x. */
    void (*rotary)(int64_t rows, int64_t n, const void *cos, const void *sin, bool back,
                   const void *x, void *y);
    /* Attention (ref/attention.h), attend in the long class and attend_few in the short one. They write
     * what the keys of a part add up to, out (rows, N) and the maxima and sums, stats (rows, 2);
     * attend_merge puts the parts' together, in order, into a->out and a->stats. Each query's bits depend
     * on itself and the keys it sees alone. Keys and values are reals of the table, and in f32 of any
     * floating dtype, or blocks that N is a multiple of. */
    size_t (*attend_scratch)(const rk_attend *a);
    void (*attend)(const rk_attend *a, void *out, void *stats, void *scratch);
    void (*attend_few)(const rk_attend *a, void *out, void *stats, void *scratch);
    void (*attend_merge)(const rk_attend *a, const void *outs, const void *stats);
    /* From a->out and a->stats of all parts. */
    size_t (*attend_bwd_scratch)(const rk_attend *a);
    void (*attend_bwd)(const rk_attend *a, const rk_attend_grads *g, void *scratch);

    /* Cross-entropy over vocabulary blocks. logits (rows, n) at ld; targets (rows), < 0: not counted.
     * ce_block updates row[i]; ce_grad replaces the logits by
     *   scale (e^(x - lse) - [col = target] + [col = argmax] l2wrap max)
     * (0 for rows that do not count) with lse = row.max + log(row.sum). */
    void (*ce_block)(int64_t rows, int64_t n, int64_t ld, int64_t col0, const void *logits,
                     const int32_t *targets, rk_ce_row *row);
    void (*ce_grad)(int64_t rows, int64_t n, int64_t ld, int64_t col0, void *logits,
                    const int32_t *targets, const rk_ce_row *row, double scale, double l2wrap);

    /* Optimisers, element-wise. p weights, g gradients (read), m, v moments.
     * AdamW with decoupled decay: m, v updated; p -= lr (m^ / (sqrt(v^) + eps) + weight_decay p). */
    void (*adamw)(int64_t n, const rk_adamw *a, const void *g, void *m, void *v, void *p);
    /* v = momentum v + g (scaled); p -= lr (v + weight_decay p). */
    void (*sgd)(int64_t n, double lr, double momentum, double weight_decay, double grad_scale,
                const void *g, void *v, void *p);

    /* Convert n elements of any floating dtype to reals; convert reals to a dtype (round to nearest
     * even). */
    void (*widen)(int64_t n, const void *x, rk_dtype from, void *y);
    void (*narrow)(int64_t n, const void *x, void *y, rk_dtype to);

    /* Matrix products of the long class (gemm.h drives them). gemm_tile: C (mr, nr) at ldc:
     * c[i][j] is loaded (or starts at 0) and fused multiply-adds over l = 0 .. k-1 in order follow:
     * one rounding each, so cutting k anywhere changes no bit. a (k, mr) and b (k, nr) are packed. */
    int64_t gemm_mr, gemm_nr;
    void (*gemm_tile)(int64_t k, const void *a, const void *b, void *c, int64_t ldc, bool load);
    /* Write `width` columns, padded with zeros from n_valid, of a packed panel (k, width):
     * out[l * width + j] = src[j * js + l * ls], widened; bf16 rounding to bf16 first. */
    void (*gemm_pack)(int64_t k, int64_t width, int64_t n_valid, const void *src, rk_dtype from,
                      int64_t js, int64_t ls, bool round_bf16, void *out);
    /* The same with operands of bf16, where the instruction for it is fast; else both are NULL. pairs
     * merges a panel (k, width) of rounded reals into ((k + 1) / 2, width) pairs of 4 bytes; the tile
     * takes k pairs and continues the same chain, first the even element, then the odd one. Bits
     * differ from gemm_tile's only where a number is subnormal, which counts as zero here. */
    void (*gemm_pairs)(int64_t k, int64_t width, const float *panel, uint32_t *out);
    void (*gemm_tile_pairs)(int64_t k, const void *a, const void *b, void *c, int64_t ldc,
                            bool load);

    /* Matrix products of the short class: y[i][j] (+)= sum over l of x[i][l] W[j][l], for `rows` rows x
     * (ldx), n outputs, weights of any floating dtype. Each sum has one order that depends on k alone.
     * gemv_dot: W (n, k) row-major at ldw. gemv_axpy: W stored (k, n) row-major at ldw. */
    void (*gemv_dot)(int64_t rows, int64_t n, int64_t k, const void *x, int64_t ldx, const void *w,
                     rk_dtype wt, int64_t ldw, void *y, int64_t ldy, bool accumulate);
    void (*gemv_axpy)(int64_t rows, int64_t n, int64_t k, const void *x, int64_t ldx, const void *w,
                      rk_dtype wt, int64_t ldw, void *y, int64_t ldy, bool accumulate);

    /* y[i][j] = sum over l of x[i][l] w[j][l] in whole numbers, for `rows` rows x of blocks (ldx of them apart, what is
     * behind k is 0) and n rows of bytes w (k) at ldw, k <= 2^26. The same on all paths. */
    void (*bytes_dot)(int64_t rows, int64_t n, int64_t k, const rk_x29 *x, int64_t ldx,
                      const uint8_t *w, int64_t ldw, int64_t *y, int64_t ldy);

    /* A sparse channel mix. y[j] = the sum of those of x (k) whose bit in row j is set; rows of ceil(k / 8)
     * bytes, `stride` apart, the first element in the lowest bit. */
    void (*sum_where)(int64_t n, int64_t k, const void *x, const uint8_t *bits, int64_t stride,
                      void *y);
    /* Rows (k) that lie anywhere: y[j] = x . rows[j], as gemv_dot; y (k) += a[j] rows[j] one after the
     * other. */
    void (*gather_dot)(int64_t n, int64_t k, const void *x, const void *const *rows, rk_dtype wt,
                       void *y);
    void (*gather_axpy)(int64_t n, int64_t k, const void *a, const void *const *rows, rk_dtype wt,
                        void *y);

    /* The kernel path (ref/features.h), of the reference alone: heads of tokens [lo, hi).
     * features_gain_bwd returns the gradient of alpha that the i-th adds. */
    size_t (*features_scratch)(int64_t head_size, int64_t n_features);
    void (*features)(const rk_features *p, int64_t lo, int64_t hi, void *scratch);
    void (*features_bwd)(const rk_features *p, const rk_features_grads *g, int64_t lo, int64_t hi,
                         void *scratch);
    /* hat(x) or phi(x) into p, and in the basis into z, (M) each. */
    void (*feature_vector)(const rk_feature_vector *f, void *p, void *z);
    void (*features_read)(const rk_features_back *p, int64_t lo, int64_t hi);
    void (*features_read_bwd)(const rk_features_back *p, const void *dout, int64_t lo, int64_t hi,
                              void *dx);
    double (*features_gain_bwd)(const rk_features_back *p, const void *dout, int64_t i);
} rk_kernels;

extern const rk_kernels rk_kernels_ref_f32, rk_kernels_ref_f64;

/* The f32 table of a path by name, or the best this CPU runs (NULL). Errors: RK_ERR_ARG no such path,
 * with the list; RK_ERR_UNSUPPORTED not on this CPU or not in this build. */
rk_status rk_kernels_find(const rk_kernels **out, const char *path, rk_error *err);
/* The i-th path of this build that this CPU runs, NULL past the end; 0 is "ref". For tests. */
const rk_kernels *rk_kernels_at(int i);

#endif
