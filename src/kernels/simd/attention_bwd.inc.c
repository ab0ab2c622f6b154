/* attention_bwd.inc.c: backward of attention. Weights are computed again as in the forward pass, from the same
 * packed operands, and the maxima and sums that it left. Keys are packed several blocks at a time, so that
 * what has to be packed of queries is packed less often. Gradients of keys and values are one chain over the
 * queries in order for all of them; a query's is a chain over the keys of each such group of blocks. */

enum { ATTEND_BLOCKS = 4 };

typedef struct attend_bwd_memory {
    float *rows;                      /* (GEMM_NR or RK_ATTEND_KEYS, N): gathered */
    float *along;                     /* y . dy of all queries */
    float *k, *v, *k_channels;        /* ATTEND_BLOCKS blocks, packed */
    float *dk, *dv;                   /* theirs: (keys, channels) */
    float *q, *dy;                    /* a tile as lanes: (N, GEMM_NR), */
    float *q_rows, *dy_rows;          /* and as panels of GEMM_NR channels (queries, GEMM_NR) */
    float *p, *ds;                    /* (keys, GEMM_NR) */
    float *dq;                        /* (channels, GEMM_NR) */
    float *turned;                    /* (queries, GEMM_MR) */
    int64_t keys_step, v_step, width; /* from block to block of k, of k_channels; of a row of dk */
} attend_bwd_memory;

static attend_bwd_memory attend_bwd_memory_of(const rk_attend *a, float *scratch, int64_t *used)
{
    const int64_t n = a->size, keys = attend_padded(RK_ATTEND_KEYS, GEMM_MR);
    const int64_t channels = attend_padded(n, GEMM_MR);
    attend_bwd_memory m = {.keys_step = keys * n,
                           .v_step = RK_ATTEND_KEYS * channels,
                           .width = attend_padded(n, GEMM_NR)};
    m.rows = attend_take(scratch, used, RK_ATTEND_KEYS * n);
    m.along = attend_take(scratch, used, a->rows);
    m.k = attend_take(scratch, used, ATTEND_BLOCKS * m.keys_step);
    m.v = attend_take(scratch, used, ATTEND_BLOCKS * m.keys_step);
    m.k_channels = attend_take(scratch, used, ATTEND_BLOCKS * m.v_step);
    m.dk = attend_take(scratch, used, ATTEND_BLOCKS * keys * m.width);
    m.dv = attend_take(scratch, used, ATTEND_BLOCKS * keys * m.width);
    m.q = attend_take(scratch, used, n * GEMM_NR);
    m.dy = attend_take(scratch, used, n * GEMM_NR);
    m.q_rows = attend_take(scratch, used, GEMM_NR * m.width);
    m.dy_rows = attend_take(scratch, used, GEMM_NR * m.width);
    m.p = attend_take(scratch, used, keys * GEMM_NR);
    m.ds = attend_take(scratch, used, keys * GEMM_NR);
    m.dq = attend_take(scratch, used, channels * GEMM_NR);
    m.turned = attend_take(scratch, used, GEMM_NR * GEMM_MR);
    return m;
}

/* The tile of queries from i on. */
typedef struct attend_bwd_tile {
    int64_t i, n;
    float max[GEMM_NR], inv[GEMM_NR], along[GEMM_NR];
} attend_bwd_tile;

/* rows (n, N) as panels of GEMM_NR channels. */
static void attend_pack_wide(const float *rows, int64_t n, int64_t size, float *out)
{
    for (int64_t c = 0; c < size; c += GEMM_NR)
        gemm_pack(n, GEMM_NR, rk_min_i64(GEMM_NR, size - c), rows + c, RK_F32, 1, size, false,
                  out + c * GEMM_NR);
}

static void attend_bwd_begin_tile(const rk_attend *a, const rk_attend_grads *g,
                                  const attend_bwd_memory *m, attend_bwd_tile *t)
{
    attend_gather(a, a->q, a->ldq, t->i, t->n, a->scale, m->rows);
    attend_pack_lanes(m->rows, t->n, a->size, m->q);
    attend_pack_wide(m->rows, t->n, a->size, m->q_rows);
    attend_gather(a, g->dy, a->ldo, t->i, t->n, 1.0, m->rows);
    attend_pack_lanes(m->rows, t->n, a->size, m->dy);
    attend_pack_wide(m->rows, t->n, a->size, m->dy_rows);
    memset(m->dq, 0, (size_t)(a->size * GEMM_NR) * sizeof *m->dq);
    for (int64_t l = 0; l < GEMM_NR; l++) {
        const int64_t i = rk_min_i64(t->i + l, a->rows - 1);
        const float *s = (const float *)a->stats + attend_at(a, a->ldo, i) / a->size * 2;
        t->max[l] = s[0];
        t->inv[l] = 1.0f / s[1];
        t->along[l] = m->along[i];
    }
}

/* Scores and dy . v of n keys (n, GEMM_NR) into weights and gradients of the scores. */
static void attend_bwd_weights(int64_t n, const attend_bwd_tile *t, const float *seen, float *pp,
                               float *dsp)
{
    for (int c = 0; c < GEMM_NR; c += VF) {
        const vf max = vf_load(t->max + c), inv = vf_load(t->inv + c), all = vf_load(seen + c);
        const vf along = vf_load(t->along + c);
        for (int64_t j = 0; j < n; j++) {
            float *p = pp + j * GEMM_NR + c, *ds = dsp + j * GEMM_NR + c;
            const vf w = vf_mul(vf_exp(vf_sub(vf_load(p), max)), inv);
            const vf x = vf_select(vf_lt(vf_set1((float)j), all), w, vf_zero());
            vf_store(p, x);
            vf_store(ds, vf_mul(x, vf_sub(vf_load(ds), along)));
        }
    }
}

/* dx (keys, width) += the transposed p (n keys, GEMM_NR) times rows of the tile. */
static void attend_bwd_keys(const attend_bwd_memory *m, const attend_bwd_tile *t, int64_t n,
                            int64_t size, const float *p, const float *rows, float *dx)
{
    for (int64_t j = 0; j < n; j += GEMM_MR) {
        gemm_pack(t->n, GEMM_MR, rk_min_i64(GEMM_MR, n - j), p + j * GEMM_NR, RK_F32, GEMM_NR, 1,
                  false, m->turned);
        for (int64_t c = 0; c < size; c += GEMM_NR)
            gemm_tile(t->n, m->turned, rows + c * GEMM_NR, dx + j * m->width + c, m->width, true);
    }
}

/* A tile and block b of those packed, n keys from lo on. */
static void attend_bwd_block(const rk_attend *a, const attend_bwd_memory *m,
                             const attend_bwd_tile *t, int64_t b, int64_t lo, int64_t n)
{
    const int64_t size = a->size, keys = attend_padded(RK_ATTEND_KEYS, GEMM_MR);
    float seen[GEMM_NR];
    bool some;
    n = attend_lanes_seen(a, t->i, lo, n, seen, &some);
    if (n <= 0)
        return;
    attend_product(n, size, m->k + b * m->keys_step, size, m->q, m->p, false);
    attend_product(n, size, m->v + b * m->keys_step, size, m->dy, m->ds, false);
    attend_bwd_weights(n, t, seen, m->p, m->ds);
    attend_product(size, n, m->k_channels + b * m->v_step, RK_ATTEND_KEYS, m->ds, m->dq, true);
    attend_bwd_keys(m, t, n, size, m->p, m->dy_rows, m->dv + b * keys * m->width);
    attend_bwd_keys(m, t, n, size, m->ds, m->q_rows, m->dk + b * keys * m->width);
}

static void attend_bwd_pack(const rk_attend *a, const attend_bwd_memory *m, int64_t b, int64_t lo,
                            int64_t n)
{
    const attend_matrix k = attend_rows_of(a, &a->k, lo, n, m->rows);
    attend_pack_rows(&k, n, a->size, m->k + b * m->keys_step);
    attend_pack_channels(&k, n, a->size, m->k_channels + b * m->v_step);
    const attend_matrix v = attend_rows_of(a, &a->v, lo, n, m->rows);
    attend_pack_rows(&v, n, a->size, m->v + b * m->keys_step);
}

static void attend_bwd_end_tile(const rk_attend *a, const rk_attend_grads *g,
                                const attend_bwd_memory *m, const attend_bwd_tile *t)
{
    attend_unpack_lanes(m->dq, t->n, a->size, m->rows);
    for (int64_t l = 0; l < t->n; l++)
        axpy(a->size, a->scale, m->rows + l * a->size,
             (float *)g->dq + attend_at(a, a->ldq, t->i + l));
}

/* Blocks of keys [lo, end), at most ATTEND_BLOCKS, and all queries. */
static void attend_bwd_group(const rk_attend *a, const rk_attend_grads *g,
                             const attend_bwd_memory *m, int64_t lo, int64_t end)
{
    const int64_t keys = attend_padded(RK_ATTEND_KEYS, GEMM_MR),
                  blocks = rk_ceil_div(end - lo, RK_ATTEND_KEYS);
    const int64_t first = rk_max_i64(0, (lo + 1 - a->first) * a->heads) / GEMM_NR * GEMM_NR;
    memset(m->dk, 0, (size_t)(ATTEND_BLOCKS * keys * m->width) * sizeof *m->dk);
    memset(m->dv, 0, (size_t)(ATTEND_BLOCKS * keys * m->width) * sizeof *m->dv);
    for (int64_t b = 0; b < blocks; b++)
        attend_bwd_pack(a, m, b, lo + b * RK_ATTEND_KEYS,
                        rk_min_i64(RK_ATTEND_KEYS, end - lo - b * RK_ATTEND_KEYS));
    for (int64_t i = first; i < a->rows; i += GEMM_NR) {
        attend_bwd_tile t = {.i = i, .n = rk_min_i64(GEMM_NR, a->rows - i)};
        attend_bwd_begin_tile(a, g, m, &t);
        for (int64_t b = 0; b < blocks; b++)
            attend_bwd_block(a, m, &t, b, lo + b * RK_ATTEND_KEYS,
                             rk_min_i64(RK_ATTEND_KEYS, end - lo - b * RK_ATTEND_KEYS));
        attend_bwd_end_tile(a, g, m, &t);
    }
    for (int64_t j = lo; j < end; j++) {
        const int64_t at = ((j - lo) / RK_ATTEND_KEYS * keys + j % RK_ATTEND_KEYS) * m->width;
        axpy(a->size, 1.0, m->dk + at, (float *)g->dk + j * g->ld);
        axpy(a->size, 1.0, m->dv + at, (float *)g->dv + j * g->ld);
    }
}

static size_t attend_bwd_scratch(const rk_attend *a)
{
    int64_t used = 0;
    attend_bwd_memory_of(a, NULL, &used);
    return (size_t)used * sizeof(float);
}

static void attend_bwd(const rk_attend *a, const rk_attend_grads *g, void *scratch)
{
    const int64_t end = attend_seen(a, a->rows - 1), step = ATTEND_BLOCKS * RK_ATTEND_KEYS;
    int64_t used = 0;
    const attend_bwd_memory m = attend_bwd_memory_of(a, scratch, &used);
    for (int64_t i = 0; i < a->rows; i++) {
        const int64_t at = attend_at(a, a->ldo, i);
        m.along[i] = row_dot(a->size, (const float *)a->out + at, (const float *)g->dy + at);
    }
    for (int64_t lo = 0; lo < end; lo += step)
        attend_bwd_group(a, g, &m, lo, rk_min_i64(end, lo + step));
}
