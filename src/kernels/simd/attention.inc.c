/* attention.inc.c: attention over vf, and rotary embedding.
 *
 * In the long class queries are lanes: with keys and values packed as the narrow operand of gemm_tile and
 * queries as the wide one, scores come out as (keys, queries). So maxima, exponentials and sums of the softmax
 * go straight down, with no sum over lanes, and what they leave is packed already for the product with the
 * values, whose result is (channels, queries). A block of keys is packed once for all queries of a call.
 *
 * A few queries (decoding) would leave most lanes empty. There the products are those of the short class:
 * lanes run along the channels, and keys are read where they lie. */
#include "kernels/blocks.h"

enum { ATTEND_COLS = GEMM_NR / VF };

static void rotary(int64_t rows, int64_t n, const void *cosp, const void *sinp, bool back,
                   const void *xp, void *yp)
{
    const float *c = cosp, *s = sinp, *x = xp;
    const int64_t half = n / 2;
    const vf sign = vf_set1(back ? -1.0f : 1.0f);
    float *y = yp;
    for (int64_t i = 0; i < rows; i++, x += n, y += n)
        for (int64_t j = 0; j < half; j += VF) {
            const int64_t left = half - j;
            const vf a = vf_load_upto(x + j, left), b = vf_load_upto(x + half + j, left);
            const vf cj = vf_load_upto(c + j, left), sj = vf_mul(sign, vf_load_upto(s + j, left));
            vf_store_upto(y + j, vf_fnma(b, sj, vf_mul(a, cj)), left);
            vf_store_upto(y + half + j, vf_fma(a, sj, vf_mul(b, cj)), left);
        }
}

/* ---- what both classes and the backward pass share ---- */

/* n floats of scratch behind those used so far, in cache lines of their own; NULL while they are counted. */
static inline float *attend_take(float *scratch, int64_t *used, int64_t n)
{
    float *p = scratch ? scratch + *used : NULL;
    *used += rk_ceil_div(n, 16) * 16;
    return p;
}

static inline int64_t attend_padded(int64_t n, int64_t unit)
{
    return rk_ceil_div(n, unit) * unit;
}

/* Keys that query i sees. */
static inline int64_t attend_seen(const rk_attend *a, int64_t i)
{
    return a->first + i / a->heads;
}

/* Where query i lies in what has ld reals for a token. */
static inline int64_t attend_at(const rk_attend *a, int64_t ld, int64_t i)
{
    return i / a->heads * ld + i % a->heads * a->size;
}

/* n rows of x (a token's at ld) from query i on, times alpha, into rows (n, N). */
static void attend_gather(const rk_attend *a, const void *x, int64_t ld, int64_t i, int64_t n,
                          double alpha, float *rows)
{
    for (int64_t r = 0; r < n; r++)
        scale(a->size, alpha, (const float *)x + attend_at(a, ld, i + r), rows + r * a->size);
}

/* n numbers in blocks. */
static void attend_widen_blocks(rk_dtype type, int64_t n, const unsigned char *x, float *y)
{
    enum { BLOCK = 32, BYTES = 34 }; /* of Q8_0: a scale in f16 and bytes */
    if (type != RK_Q8_0) {
        rk_blocks_widen(type, n, x, y);
        return;
    }
    for (int64_t i = 0; i < n; i += BLOCK, x += BYTES) {
        uint16_t scale_bits;
        memcpy(&scale_bits, x, sizeof scale_bits);
        const vf d = vf_set1(rk_f16_to_f32(scale_bits));
        for (int j = 0; j < BLOCK; j += VF)
            vf_store(y + i + j, vf_mul(d, vf_load_i8(x + sizeof scale_bits + j)));
    }
}

/* Rows [lo, lo + n) of one block as a matrix that products can read; block formats are widened into `wide`
 * (RK_ATTEND_KEYS, N). */
typedef struct attend_matrix {
    const unsigned char *data;
    rk_dtype type;
    int64_t ld;
} attend_matrix;

static attend_matrix attend_rows_of(const rk_attend *a, const rk_attend_rows *rows, int64_t lo,
                                    int64_t n, float *wide)
{
    if (!rk_dtype_is_blocks(rows->type))
        return (attend_matrix){rk_attend_row(rows, lo), rows->type,
                               (int64_t)(rows->row_bytes / rk_dtype_bytes(rows->type))};
    for (int64_t j = 0; j < n; j++)
        attend_widen_blocks(rows->type, a->size, rk_attend_row(rows, lo + j), wide + j * a->size);
    return (attend_matrix){(const unsigned char *)wide, RK_F32, a->size};
}

/* x (n, N) as panels of GEMM_MR rows, (N, GEMM_MR) each: what is multiplied with queries. */
static void attend_pack_rows(const attend_matrix *x, int64_t n, int64_t size, float *out)
{
    const size_t bytes = rk_dtype_bytes(x->type);
    for (int64_t p = 0; p < n; p += GEMM_MR)
        gemm_pack(size, GEMM_MR, rk_min_i64(GEMM_MR, n - p), x->data + (size_t)(p * x->ld) * bytes,
                  x->type, x->ld, 1, false, out + p * size);
}

/* x (n, N) as panels of GEMM_MR channels, (n, GEMM_MR) each, RK_ATTEND_KEYS GEMM_MR apart: what is
 * multiplied with weights of keys. */
static void attend_pack_channels(const attend_matrix *x, int64_t n, int64_t size, float *out)
{
    const size_t bytes = rk_dtype_bytes(x->type);
    for (int64_t p = 0; p < size; p += GEMM_MR)
        gemm_pack(n, GEMM_MR, rk_min_i64(GEMM_MR, size - p), x->data + (size_t)p * bytes, x->type,
                  1, x->ld, false, out + p * RK_ATTEND_KEYS);
}

/* rows (n, N), n <= GEMM_NR, as the wide operand: (N, GEMM_NR). */
static void attend_pack_lanes(const float *rows, int64_t n, int64_t size, float *out)
{
    gemm_pack(size, GEMM_NR, n, rows, RK_F32, size, 1, false, out);
}

/* Lanes (N, GEMM_NR) as rows (n, N) again. */
static void attend_unpack_lanes(const float *lanes, int64_t n, int64_t size, float *rows)
{
    gemm_pack(n, size, size, lanes, RK_F32, GEMM_NR, 1, false, rows);
}

/* Panels of GEMM_MR of the packed x, (k, GEMM_MR) each `step` apart, times lanes (k, GEMM_NR): rows [0, n) of
 * y (.., GEMM_NR). */
static void attend_product(int64_t n, int64_t k, const float *x, int64_t step, const float *lanes,
                           float *y, bool load)
{
    for (int64_t p = 0; p < n; p += GEMM_MR)
        gemm_tile(k, x + p * step, lanes, y + p * GEMM_NR, GEMM_NR, load);
}

/* ---- the long class ---- */

typedef struct attend_memory {
    float *rows;      /* gathered or widened: (RK_ATTEND_KEYS, N) */
    float *q;         /* tiles of (N, GEMM_NR), times scale */
    float *k, *v;     /* a block, packed */
    float *scores;    /* (keys, GEMM_NR) */
    float *out;       /* tiles of (channels, GEMM_NR) */
    float *max, *sum; /* tiles of (GEMM_NR) */
    int64_t out_step; /* from tile to tile of out */
} attend_memory;

static attend_memory attend_memory_of(const rk_attend *a, float *scratch, int64_t *used)
{
    const int64_t lanes = attend_padded(a->rows, GEMM_NR), n = a->size;
    const int64_t keys = attend_padded(RK_ATTEND_KEYS, GEMM_MR);
    attend_memory m = {.out_step = attend_padded(n, GEMM_MR) * GEMM_NR};
    m.rows = attend_take(scratch, used, RK_ATTEND_KEYS * n);
    m.q = attend_take(scratch, used, lanes * n);
    m.k = attend_take(scratch, used, keys * n);
    m.v = attend_take(scratch, used, RK_ATTEND_KEYS * attend_padded(n, GEMM_MR));
    m.scores = attend_take(scratch, used, keys * GEMM_NR);
    m.out = attend_take(scratch, used, lanes / GEMM_NR * m.out_step);
    m.max = attend_take(scratch, used, lanes);
    m.sum = attend_take(scratch, used, lanes);
    return m;
}

/* How many of the n keys of a block that begins with lo the queries of a tile see; *some: not all of them
 * see as many. Beyond the last query lanes do as the last one. */
static int64_t attend_lanes_seen(const rk_attend *a, int64_t first, int64_t lo, int64_t n,
                                 float *seen, bool *some)
{
    int64_t last = 0;
    *some = false;
    for (int64_t i = 0; i < GEMM_NR; i++) {
        last = rk_min_i64(n, attend_seen(a, rk_min_i64(first + i, a->rows - 1)) - lo);
        seen[i] = (float)last;
        *some = *some || seen[i] != seen[0];
    }
    return last;
}

/* Scores of n keys (n, GEMM_NR) of VF queries into their weights beside the maximum so far, which moves with
 * the sum; returns by what was added before is to be multiplied. */
RK_INLINE vf attend_weights(int64_t n, float *s, vf seen, bool some, float *maxp, float *sump)
{
    const vf before = vf_load(maxp);
    vf max = before;
    for (int64_t j = 0; j < n; j++) {
        const vf x = vf_load(s + j * GEMM_NR);
        max = vf_max(some ? vf_select(vf_lt(vf_set1((float)j), seen), x, max) : x, max);
    }
    const vf keep = vf_exp(vf_sub(before, max));
    vf sum = vf_mul(vf_load(sump), keep);
    for (int64_t j = 0; j < n; j++) {
        vf p = vf_exp(vf_sub(vf_load(s + j * GEMM_NR), max));
        if (some)
            p = vf_select(vf_lt(vf_set1((float)j), seen), p, vf_zero());
        sum = vf_add(sum, p);
        vf_store(s + j * GEMM_NR, p);
    }
    vf_store(maxp, max);
    vf_store(sump, sum);
    return keep;
}

static void attend_scale_lanes(int64_t channels, const vf *keep, float *out)
{
    unsigned same = 1;
    for (int c = 0; c < ATTEND_COLS; c++)
        same &= vm_bits(vf_eq(keep[c], vf_set1(1.0f))) == (1u << VF) - 1u;
    for (int64_t i = 0; !same && i < channels; i++)
        for (int c = 0; c < ATTEND_COLS; c++) {
            float *at = out + i * GEMM_NR + c * VF;
            vf_store(at, vf_mul(vf_load(at), keep[c]));
        }
}

/* A tile of queries and a block of keys, both packed. */
static void attend_tile(const rk_attend *a, const attend_memory *m, int64_t tile, int64_t lo,
                        int64_t n)
{
    float seen[GEMM_NR], *out = m->out + tile * m->out_step;
    vf keep[ATTEND_COLS];
    bool some;
    n = attend_lanes_seen(a, tile * GEMM_NR, lo, n, seen, &some);
    if (n <= 0)
        return;
    attend_product(n, a->size, m->k, a->size, m->q + tile * GEMM_NR * a->size, m->scores, false);
    for (int c = 0; c < ATTEND_COLS; c++) {
        const int64_t at = tile * GEMM_NR + c * VF;
        float *s = m->scores + c * VF;
        keep[c] = some
                      ? attend_weights(n, s, vf_load(seen + c * VF), true, m->max + at, m->sum + at)
                      : attend_weights(n, s, vf_zero(), false, m->max + at, m->sum + at);
    }
    attend_scale_lanes(a->size, keep, out);
    attend_product(a->size, n, m->v, RK_ATTEND_KEYS, m->scores, out, true);
}

static void attend_begin(const rk_attend *a, const attend_memory *m, int64_t tiles)
{
    for (int64_t t = 0; t < tiles; t++) {
        const int64_t n = rk_min_i64(GEMM_NR, a->rows - t * GEMM_NR);
        attend_gather(a, a->q, a->ldq, t * GEMM_NR, n, a->scale, m->rows);
        attend_pack_lanes(m->rows, n, a->size, m->q + t * GEMM_NR * a->size);
    }
    for (int64_t i = 0; i < tiles * GEMM_NR; i++)
        m->max[i] = -INFINITY;
    memset(m->sum, 0, (size_t)(tiles * GEMM_NR) * sizeof *m->sum);
    memset(m->out, 0, (size_t)(tiles * m->out_step) * sizeof *m->out);
}

static void attend(const rk_attend *a, void *outp, void *statsp, void *scratch)
{
    const int64_t tiles = rk_ceil_div(a->rows, GEMM_NR), end = attend_seen(a, a->rows - 1);
    float *out = outp, *stats = statsp;
    int64_t used = 0;
    const attend_memory m = attend_memory_of(a, scratch, &used);
    attend_begin(a, &m, tiles);
    for (int64_t lo = 0; lo < end; lo += RK_ATTEND_KEYS) {
        const int64_t n = rk_min_i64(RK_ATTEND_KEYS, end - lo);
        if (rk_attend_part(lo / RK_ATTEND_KEYS, a->n_parts) != a->part)
            continue;
        const attend_matrix k = attend_rows_of(a, &a->k, lo, n, m.rows);
        attend_pack_rows(&k, n, a->size, m.k);
        const attend_matrix v = attend_rows_of(a, &a->v, lo, n, m.rows);
        attend_pack_channels(&v, n, a->size, m.v);
        for (int64_t t = 0; t < tiles; t++)
            attend_tile(a, &m, t, lo, n);
    }
    for (int64_t t = 0; t < tiles; t++) {
        const int64_t at = t * GEMM_NR, n = rk_min_i64(GEMM_NR, a->rows - at);
        attend_unpack_lanes(m.out + t * m.out_step, n, a->size, out + at * a->size);
    }
    for (int64_t i = 0; i < a->rows; i++) {
        stats[2 * i] = m.max[i];
        stats[2 * i + 1] = m.sum[i];
    }
}
