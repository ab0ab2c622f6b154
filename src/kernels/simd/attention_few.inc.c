/* attention_few.inc.c: attention of a few queries, and parts of attention put together. */

static inline float attend_exp(float x)
{
    float y;
    vf_store_n(&y, vf_exp(vf_set1(x)), 1);
    return y;
}

/* Scores p of a query into weights beside max, zeros behind the n keys it sees up to n_all; returns their sum:
 * VF partial sums in order, then the tree of vf_sum. */
static inline float attend_row(int64_t n, int64_t n_all, float max, float *p)
{
    const vf top = vf_set1(max);
    vf sum = vf_zero();
    int64_t j = 0;
    for (; j + VF <= n; j += VF) {
        const vf x = vf_exp(vf_sub(vf_load(p + j), top));
        vf_store(p + j, x);
        sum = vf_add(sum, x);
    }
    if (j < n) {
        vf_store_n(p + j, vf_exp(vf_sub(vf_load_n(p + j, (int)(n - j)), top)), (int)(n - j));
        sum = vf_add(sum, vf_load_n(p + j, (int)(n - j)));
    }
    for (j = n; j < n_all; j++)
        p[j] = 0.0f;
    return vf_sum(sum);
}

typedef struct attend_few_memory {
    float *q, *p, *wide; /* (rows, N), (rows, RK_ATTEND_KEYS), (RK_ATTEND_KEYS, N) */
    float *max, *keep;   /* (rows) */
} attend_few_memory;

static attend_few_memory attend_few_memory_of(const rk_attend *a, float *scratch, int64_t *used)
{
    attend_few_memory m;
    m.q = attend_take(scratch, used, a->rows * a->size);
    m.p = attend_take(scratch, used, a->rows * RK_ATTEND_KEYS);
    m.wide = attend_take(scratch, used, RK_ATTEND_KEYS * a->size);
    m.max = attend_take(scratch, used, a->rows);
    m.keep = attend_take(scratch, used, a->rows);
    return m;
}

RK_INLINE void attend_widen_rows(const attend_matrix *m, rk_dtype type, int64_t n, int64_t size,
                                 float *wide)
{
    for (int64_t j = 0; j < n; j++, wide += size) {
        int64_t c = 0;
        for (; c + VF <= size; c += VF)
            vf_store(wide + c, weights(m->data, type, j * m->ld + c));
        if (c < size)
            vf_store_n(wide + c, weights_n(m->data, type, j * m->ld + c, (int)(size - c)),
                       (int)(size - c));
    }
}

/* Rows [lo, lo + n) of a block as floats at *ld, side by side in `wide` where they are none: each number is
 * widened once for all queries. */
static const float *attend_floats(const rk_attend *a, const rk_attend_rows *rows, int64_t lo,
                                  int64_t n, float *wide, int64_t *ld)
{
    const attend_matrix m = attend_rows_of(a, rows, lo, n, wide);
    const void *data = m.data;
    *ld = m.ld;
    if (m.type == RK_F32)
        return data;
    *ld = a->size;
    if (m.type == RK_F16)
        attend_widen_rows(&m, RK_F16, n, a->size, wide);
    else
        attend_widen_rows(&m, RK_BF16, n, a->size, wide);
    return wide;
}

/* Rows of a head that are read next: without asking for them a history that lies in no cache is read at half
 * the speed. */
typedef struct attend_ahead {
    const unsigned char *rows; /* NULL: none */
    size_t row_bytes, n_bytes;
} attend_ahead;

static attend_ahead attend_ahead_of(const rk_attend *a, const rk_attend_rows *rows, int64_t lo)
{
    const size_t n = (size_t)(a->size / rk_dtype_block(rows->type)) * rk_dtype_bytes(rows->type);
    return (attend_ahead){rk_attend_row(rows, lo), rows->row_bytes, n};
}

RK_INLINE void attend_prefetch(const attend_ahead *ahead, int64_t j)
{
    const unsigned char *row = ahead->rows + (size_t)j * ahead->row_bytes;
    for (size_t b = 0; b < ahead->n_bytes; b += 64)
        rk_prefetch(row + b);
}

/* Scores of r queries and the j <= n keys [0, n): chains of VF partial sums along the channels, then the tree of
 * vf_sum4. Of j keys beyond the last it is done again. */
RK_INLINE void attend_dot_tile(int r, int j, int64_t n, int64_t size, const float *q,
                               const float *k, int64_t ld, float *p)
{
    vf sum[GEMV_TILE_MAX];
    int64_t c = 0;
    for (int i = 0; i < r * j; i++)
        sum[i] = vf_zero();
    for (; c + VF <= size; c += VF)
        for (int b = 0; b < j; b++) {
            const vf x = vf_load(k + rk_min_i64(b, n - 1) * ld + c);
            for (int i = 0; i < r; i++)
                sum[i * j + b] = vf_fma(vf_load(q + i * size + c), x, sum[i * j + b]);
        }
    if (c < size)
        for (int b = 0; b < j; b++) {
            const vf x = vf_load_n(k + rk_min_i64(b, n - 1) * ld + c, (int)(size - c));
            for (int i = 0; i < r; i++)
                sum[i * j + b] =
                    vf_fma(vf_load_n(q + i * size + c, (int)(size - c)), x, sum[i * j + b]);
        }
    for (int i = 0; i < r; i++)
        for (int b = 0; b < j; b += 4) {
            const vf *s = sum + i * j + b;
            vf_sum4(s[0], s[1], s[2], s[3], p + i * RK_ATTEND_KEYS + b);
        }
}

/* Of r queries and all n keys of a block; p has room for a multiple of 8. */
RK_INLINE void attend_dot_rows(int r, int64_t n, int64_t size, const float *q, const float *k,
                               int64_t ld, float *p, const attend_ahead *ahead)
{
    const int step = r == 1 ? 8 : 4;
    int64_t j = 0;
    for (; j + step <= n; j += step) {
        for (int b = 0; ahead && b < step; b++)
            attend_prefetch(ahead, j + b);
        attend_dot_tile(r, step, step, size, q, k + j * ld, ld, p + j);
    }
    if (j < n)
        attend_dot_tile(r, step, n - j, size, q, k + j * ld, ld, p + j);
}

RK_INLINE void attend_dots_of(int64_t rows, int64_t n, int64_t size, const float *q, const float *k,
                              int64_t ld, float *p, const attend_ahead *ahead)
{
    int64_t i = 0;
    for (; i + 3 <= rows; i += 3, ahead = NULL)
        attend_dot_rows(3, n, size, q + i * size, k, ld, p + i * RK_ATTEND_KEYS, ahead);
    if (rows - i == 2)
        attend_dot_rows(2, n, size, q + i * size, k, ld, p + i * RK_ATTEND_KEYS, ahead);
    else if (rows - i == 1)
        attend_dot_rows(1, n, size, q + i * size, k, ld, p + i * RK_ATTEND_KEYS, ahead);
}

/* q (rows, N) times the keys: p (rows, RK_ATTEND_KEYS). The sizes that models have get code of their own. */
static void attend_dots(int64_t rows, int64_t n, int64_t size, const float *q, const float *k,
                        int64_t ld, float *p, const attend_ahead *ahead)
{
    if (size == 64)
        attend_dots_of(rows, n, 64, q, k, ld, p, ahead);
    else if (size == 128)
        attend_dots_of(rows, n, 128, q, k, ld, p, ahead);
    else
        attend_dots_of(rows, n, size, q, k, ld, p, ahead);
}

/* out += p v for r queries and c vectors of channels, the last of which has `last` lanes: chains over the keys. */
RK_INLINE void attend_value_tile(int r, int c, int last, int64_t n, int64_t size, const float *p,
                                 const float *v, int64_t ld, float *out, const attend_ahead *ahead)
{
    vf sum[GEMV_TILE_MAX];
    for (int i = 0; i < r * c; i++)
        sum[i] = vf_zero();
    for (int64_t j = 0; j < n; j++) {
        vf x[8];
        if (ahead)
            attend_prefetch(ahead, j);
        for (int b = 0; b < c; b++)
            x[b] = b + 1 < c || last == VF ? vf_load(v + j * ld + b * VF)
                                           : vf_load_n(v + j * ld + b * VF, last);
        for (int i = 0; i < r; i++) {
            const vf w = vf_set1(p[i * RK_ATTEND_KEYS + j]);
            for (int b = 0; b < c; b++)
                sum[i * c + b] = vf_fma(w, x[b], sum[i * c + b]);
        }
    }
    for (int i = 0; i < r; i++)
        for (int b = 0; b < c; b++)
            vf_add_upto(out + i * size + b * VF, sum[i * c + b], b + 1 < c ? VF : last);
}

/* Of r queries and all channels, c vectors at a time. */
RK_INLINE void attend_value_rows(int r, int c, int64_t n, int64_t size, const float *p,
                                 const float *v, int64_t ld, float *out, const attend_ahead *ahead)
{
    int64_t at = 0;
    for (; at + c * VF <= size; at += c * VF, ahead = NULL)
        if (ahead)
            attend_value_tile(r, c, VF, n, size, p, v + at, ld, out + at, ahead);
        else
            attend_value_tile(r, c, VF, n, size, p, v + at, ld, out + at, NULL);
    for (; at < size; at += VF)
        attend_value_tile(r, 1, (int)rk_min_i64(size - at, VF), n, size, p, v + at, ld, out + at,
                          NULL);
}

/* out (rows, N) += p (rows, RK_ATTEND_KEYS) times the values. */
static void attend_values(int64_t rows, int64_t n, int64_t size, const float *p, const float *v,
                          int64_t ld, float *out, const attend_ahead *ahead)
{
    int64_t i = 0;
    for (; rows - i >= 3 && rows - i != 4; i += 3, ahead = NULL)
        attend_value_rows(3, 4, n, size, p + i * RK_ATTEND_KEYS, v, ld, out + i * size, ahead);
    for (; rows - i >= 2; i += 2, ahead = NULL)
        attend_value_rows(2, 4, n, size, p + i * RK_ATTEND_KEYS, v, ld, out + i * size, ahead);
    if (rows - i == 1)
        attend_value_rows(1, 8, n, size, p + i * RK_ATTEND_KEYS, v, ld, out + i * size, ahead);
}

/* Scores of the queries from i0 on into weights, as attend_weights; all maxima first, then what is kept of all,
 * so that one query's chain of instructions does not wait for another's. */
static void attend_few_weights(const rk_attend *a, const attend_few_memory *m, int64_t i0,
                               int64_t lo, int64_t n, float *out, float *stats)
{
    for (int64_t i = i0; i < a->rows; i++) {
        const int64_t seen = rk_min_i64(n, attend_seen(a, i) - lo);
        m->max[i] = fmaxf(stats[2 * i], row_max(seen, m->p + i * RK_ATTEND_KEYS));
        m->keep[i] = stats[2 * i] - m->max[i];
    }
    for (int64_t i = i0; i < a->rows; i += VF)
        vf_store_upto(m->keep + i, vf_exp(vf_load_upto(m->keep + i, a->rows - i)), a->rows - i);
    for (int64_t i = i0; i < a->rows; i++) {
        const int64_t seen = rk_min_i64(n, attend_seen(a, i) - lo);
        const float sum = attend_row(seen, n, m->max[i], m->p + i * RK_ATTEND_KEYS);
        stats[2 * i] = m->max[i];
        stats[2 * i + 1] = stats[2 * i + 1] * m->keep[i] + sum;
        if (m->keep[i] != 1.0f)
            scale(a->size, (double)m->keep[i], out + i * a->size, out + i * a->size);
    }
}

/* A block of n keys from lo on, and the queries that see any of them: those of the last tokens. next: where
 * the next block begins; negative: there is none. */
static void attend_few_block(const rk_attend *a, const attend_few_memory *m, int64_t lo, int64_t n,
                             int64_t next, float *out, float *stats)
{
    const int64_t i0 = rk_max_i64(0, (lo + 1 - a->first) * a->heads), rows = a->rows - i0;
    const attend_ahead values = attend_ahead_of(a, &a->v, lo);
    const attend_ahead keys = next < 0 ? (attend_ahead){0} : attend_ahead_of(a, &a->k, next);
    float *p = m->p + i0 * RK_ATTEND_KEYS;
    int64_t ld;
    const float *k = attend_floats(a, &a->k, lo, n, m->wide, &ld);
    attend_dots(rows, n, a->size, m->q + i0 * a->size, k, ld, p, &values);
    attend_few_weights(a, m, i0, lo, n, out, stats);
    const float *v = attend_floats(a, &a->v, lo, n, m->wide, &ld);
    attend_values(rows, n, a->size, p, v, ld, out + i0 * a->size, next < 0 ? NULL : &keys);
}

/* The first key of the part's next block behind the one at lo, below end; negative: there is none. */
static int64_t attend_next(const rk_attend *a, int64_t lo, int64_t end)
{
    const int64_t block = lo / RK_ATTEND_KEYS + 1;
    const int64_t skip = block % RK_ATTEND_RUN ? 0 : RK_ATTEND_RUN * (a->n_parts - 1);
    const int64_t next = (block + skip) * RK_ATTEND_KEYS;
    return next < end ? next : -1;
}

static void attend_few(const rk_attend *a, void *outp, void *statsp, void *scratch)
{
    const int64_t end = attend_seen(a, a->rows - 1);
    float *out = outp, *stats = statsp;
    int64_t used = 0;
    const attend_few_memory m = attend_few_memory_of(a, scratch, &used);
    for (int64_t i = 0; i < a->rows; i++) {
        stats[2 * i] = -INFINITY;
        stats[2 * i + 1] = 0.0f;
    }
    if (a->part * RK_ATTEND_RUN * RK_ATTEND_KEYS >= end)
        return; /* no query sees any key of it */
    attend_gather(a, a->q, a->ldq, 0, a->rows, a->scale, m.q);
    memset(out, 0, (size_t)(a->rows * a->size) * sizeof *out);
    for (int64_t lo = a->part * RK_ATTEND_RUN * RK_ATTEND_KEYS, next; lo >= 0; lo = next) {
        next = attend_next(a, lo, end);
        attend_few_block(a, &m, lo, rk_min_i64(RK_ATTEND_KEYS, end - lo), next, out, stats);
    }
}

/* Of query i: the parts' results, in order, each beside the largest maximum. */
static void attend_merge_row(const rk_attend *a, int64_t i, const float *outs, const float *stats,
                             float *out, float *to)
{
    float max = -INFINITY, sum = 0.0f;
    for (int64_t p = 0; p < a->n_parts; p++)
        max = fmaxf(max, stats[(p * a->rows + i) * 2]);
    memset(out, 0, (size_t)a->size * sizeof *out);
    for (int64_t p = 0; p < a->n_parts; p++) {
        const float *s = stats + (p * a->rows + i) * 2;
        if (s[1] == 0.0f)
            continue; /* sees no key of it; a NaN stays one */
        const float weight = attend_exp(s[0] - max);
        sum += s[1] * weight;
        axpy(a->size, (double)weight, outs + (p * a->rows + i) * a->size, out);
    }
    scale(a->size, (double)(1.0f / sum), out, out);
    if (to) {
        to[0] = max;
        to[1] = sum;
    }
}

static void attend_merge(const rk_attend *a, const void *outs, const void *stats)
{
    for (int64_t i = 0; i < a->rows; i++) {
        const int64_t at = attend_at(a, a->ldo, i);
        attend_merge_row(a, i, outs, stats, (float *)a->out + at,
                         a->stats ? (float *)a->stats + at / a->size * 2 : NULL);
    }
}

static size_t attend_scratch(const rk_attend *a)
{
    int64_t many = 0, few = 0;
    attend_memory_of(a, NULL, &many);
    attend_few_memory_of(a, NULL, &few);
    return (size_t)rk_max_i64(many, few) * sizeof(float);
}
