/* attention_few.inc.c: attention of a few queries, and parts of attention put together. */

static inline float attend_exp(float x)
{
    float y;
    vf_store_n(&y, vf_exp(vf_set1(x)), 1);
    return y;
}

/* As attend_weights for the n keys of a row that one query sees, zeros after them up to n_all. */
static void attend_row(int64_t n, int64_t n_all, int64_t size, float *p, float *stats, float *out)
{
    const float max = fmaxf(stats[0], row_max(n, p)), keep = attend_exp(stats[0] - max);
    for (int64_t j = 0; j < n; j += VF)
        vf_store_upto(p + j, vf_exp(vf_sub(vf_load_upto(p + j, n - j), vf_set1(max))), n - j);
    memset(p + n, 0, (size_t)(n_all - n) * sizeof *p);
    stats[0] = max;
    stats[1] = stats[1] * keep + row_sum(n, p);
    if (keep != 1.0f)
        scale(size, (double)keep, out, out);
}

typedef struct attend_few_memory {
    float *q, *p, *wide; /* (rows, N), (rows, RK_ATTEND_KEYS), (RK_ATTEND_KEYS, N) */
} attend_few_memory;

static attend_few_memory attend_few_memory_of(const rk_attend *a, float *scratch, int64_t *used)
{
    attend_few_memory m;
    m.q = attend_take(scratch, used, a->rows * a->size);
    m.p = attend_take(scratch, used, a->rows * RK_ATTEND_KEYS);
    m.wide = attend_take(scratch, used, RK_ATTEND_KEYS * a->size);
    return m;
}

/* A block of n keys from lo on, and the queries that see any of them: those of the last tokens. */
static void attend_few_block(const rk_attend *a, const attend_few_memory *m, int64_t lo, int64_t n,
                             float *out, float *stats)
{
    const int64_t i0 = rk_max_i64(0, (lo + 1 - a->first) * a->heads), rows = a->rows - i0;
    float *p = m->p + i0 * RK_ATTEND_KEYS;
    const attend_matrix k = attend_rows_of(a, &a->k, lo, n, m->wide);
    gemv_dot(rows, n, a->size, m->q + i0 * a->size, a->size, k.data, k.type, k.ld, p,
             RK_ATTEND_KEYS, false);
    for (int64_t i = i0; i < a->rows; i++)
        attend_row(rk_min_i64(n, attend_seen(a, i) - lo), n, a->size, m->p + i * RK_ATTEND_KEYS,
                   stats + 2 * i, out + i * a->size);
    const attend_matrix v = attend_rows_of(a, &a->v, lo, n, m->wide);
    gemv_axpy(rows, a->size, n, p, RK_ATTEND_KEYS, v.data, v.type, v.ld, out + i0 * a->size,
              a->size, true);
}

static void attend_few(const rk_attend *a, void *outp, void *statsp, void *scratch)
{
    const int64_t end = attend_seen(a, a->rows - 1);
    float *out = outp, *stats = statsp;
    int64_t used = 0;
    const attend_few_memory m = attend_few_memory_of(a, scratch, &used);
    attend_gather(a, a->q, a->ldq, 0, a->rows, a->scale, m.q);
    memset(out, 0, (size_t)(a->rows * a->size) * sizeof *out);
    for (int64_t i = 0; i < a->rows; i++) {
        stats[2 * i] = -INFINITY;
        stats[2 * i + 1] = 0.0f;
    }
    for (int64_t lo = 0; lo < end; lo += RK_ATTEND_KEYS)
        if (rk_attend_part(lo / RK_ATTEND_KEYS, a->n_parts) == a->part)
            attend_few_block(a, &m, lo, rk_min_i64(RK_ATTEND_KEYS, end - lo), out, stats);
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
        if (!(s[1] > 0.0f))
            continue; /* sees no key of it */
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
