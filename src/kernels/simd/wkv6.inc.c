/* wkv6.inc.c: the recurrence of RWKV-5 and -6 for one head, and its backward; the formulas are in
 * ref/wkv6.h. Lanes run along the values, which is how the state lies: what a step adds to y and dv
 * are sums of vectors over keys, and only backward's three sums along values are reduced, all at
 * once for a key. A block of WKV6_BLOCK vectors of values goes through all steps alone. */

enum { WKV6_BLOCK = 4 };

static size_t wkv6_scratch(int64_t n)
{
    return (size_t)(RK_WKV_SEGMENT * n * n) * sizeof(float);
}

static float wkv6_bonus(const rk_wkv6_args *p, int64_t t)
{
    const int64_t at = t * p->stride;
    const float *r = (const float *)p->r + at, *k = (const float *)p->k + at, *u = p->u;
    vf sum = vf_zero();
    for (int64_t i = 0; i < p->head_size; i += VF) {
        const int64_t left = p->head_size - i;
        sum = vf_fma(vf_mul(vf_load_upto(r + i, left), vf_load_upto(u + i, left)),
                     vf_load_upto(k + i, left), sum);
    }
    return vf_sum(sum);
}

/* Vectors of values of a block that begins at j0. */
static inline int wkv6_vectors(int64_t n, int64_t j0)
{
    return (int)rk_min_i64(WKV6_BLOCK, rk_ceil_div(n - j0, VF));
}

/* next = the state after step t from S, for `vectors` vectors at j0; y is added to when not NULL.
 */
RK_INLINE void wkv6_block(const rk_wkv6_args *p, int64_t t, int64_t j0, int vectors, const float *S,
                          float *next, vf *y)
{
    const int64_t n = p->head_size, at = t * p->stride;
    const float *r = (const float *)p->r + at, *k = (const float *)p->k + at,
                *d = (const float *)p->d + t * p->d_stride, *v_ = (const float *)p->v + at + j0;
    vf v[WKV6_BLOCK];
    for (int q = 0; q < vectors; q++)
        v[q] = vf_load_upto(v_ + q * VF, n - j0 - q * VF);
    for (int64_t i = 0; i < n; i++) {
        const vf ri = vf_set1(r[i]), ki = vf_set1(k[i]), di = vf_set1(d[i]);
        const float *row = S + i * n + j0;
        float *out = next + i * n + j0;
        for (int q = 0; q < vectors; q++) {
            const int64_t left = n - j0 - q * VF;
            const vf s = vf_load_upto(row + q * VF, left);
            if (y)
                y[q] = vf_fma(s, ri, y[q]);
            vf_store_upto(out + q * VF, vf_fma(s, di, vf_mul(ki, v[q])), left);
        }
    }
}

/* Step t with its y; whole blocks get a copy in which their size is known. */
static void wkv6_step(const rk_wkv6_args *p, int64_t t, int64_t j0, float *S)
{
    const int64_t n = p->head_size, at = t * p->stride;
    const int vectors = wkv6_vectors(n, j0);
    const vf bonus = vf_set1(wkv6_bonus(p, t));
    vf y[WKV6_BLOCK];
    for (int q = 0; q < vectors; q++) {
        const int64_t j = j0 + q * VF;
        y[q] = vf_mul(bonus, vf_load_upto((const float *)p->v + at + j, n - j));
    }
    if (vectors == WKV6_BLOCK)
        wkv6_block(p, t, j0, WKV6_BLOCK, S, S, y);
    else
        wkv6_block(p, t, j0, vectors, S, S, y);
    for (int q = 0; q < vectors; q++) {
        const int64_t j = j0 + q * VF;
        vf_store_upto((float *)p->y + at + j, y[q], n - j);
    }
}

static void wkv6(const rk_wkv6_args *p, void *scratch)
{
    const int64_t n = p->head_size, nn = n * n;
    float *S = p->state, *saved = p->saved;
    (void)scratch;
    for (int64_t t = 0; t < p->n_steps; t++) {
        if (saved && t % RK_WKV_SEGMENT == 0)
            memcpy(saved + t / RK_WKV_SEGMENT * nn, S, (size_t)nn * sizeof *S);
        for (int64_t j0 = 0; j0 < n; j0 += WKV6_BLOCK * VF)
            wkv6_step(p, t, j0, S);
    }
}

/* Key i of step t: S its row before the step, G the row of the gradient of the state after it. */
static inline void wkv6_key_bwd(const rk_wkv6_args *p, const rk_wkv6_grads *g, int64_t t, int64_t i,
                                float c, const float *S, float *G)
{
    const int64_t n = p->head_size, at = t * p->stride;
    const float *v = (const float *)p->v + at, *dy = (const float *)g->dy + at;
    const float r = ((const float *)p->r)[at + i], k = ((const float *)p->k)[at + i];
    const float u = ((const float *)p->u)[i];
    float *dv = (float *)g->dv + at, sums[4];
    const vf d = vf_set1(((const float *)p->d)[t * p->d_stride + i]), rv = vf_set1(r),
             kv = vf_set1(k);
    vf dr = vf_zero(), dk = vf_zero(), dd = vf_zero();
    for (int64_t j = 0; j < n; j += VF) {
        const int64_t left = n - j;
        const vf s = vf_load_upto(S + j, left), h = vf_load_upto(G + j, left);
        const vf y = vf_load_upto(dy + j, left);
        dr = vf_fma(s, y, dr);
        dk = vf_fma(h, vf_load_upto(v + j, left), dk);
        dd = vf_fma(h, s, dd);
        vf_add_upto(dv + j, vf_mul(h, kv), left);
        vf_store_upto(G + j, vf_fma(h, d, vf_mul(rv, y)), left);
    }
    vf_sum4(dr, dk, dd, vf_zero(), sums);
    ((float *)g->dr)[at + i] += sums[0] + u * k * c;
    ((float *)g->dk)[at + i] += sums[1] + u * r * c;
    ((float *)g->dd)[t * p->d_stride + i] += sums[2];
    ((float *)g->du)[i] += r * k * c;
}

static void wkv6_step_bwd(const rk_wkv6_args *p, const rk_wkv6_grads *g, int64_t t, const float *S,
                          float *G)
{
    const int64_t n = p->head_size, at = t * p->stride;
    const float *dy = (const float *)g->dy + at;
    const float c = row_dot(n, (const float *)p->v + at, dy);
    const vf bonus = vf_set1(wkv6_bonus(p, t));
    for (int64_t j = 0; j < n; j += VF)
        vf_add_upto((float *)g->dv + at + j, vf_mul(bonus, vf_load_upto(dy + j, n - j)), n - j);
    for (int64_t i = 0; i < n; i++)
        wkv6_key_bwd(p, g, t, i, c, S + i * n, G + i * n);
}

static void wkv6_bwd(const rk_wkv6_args *p, const rk_wkv6_grads *g, void *scratch)
{
    const int64_t n = p->head_size, nn = n * n;
    float *states = scratch;
    for (int64_t seg = rk_ceil_div(p->n_steps, RK_WKV_SEGMENT) - 1; seg >= 0; seg--) {
        const int64_t t0 = seg * RK_WKV_SEGMENT;
        const int64_t steps = rk_min_i64(RK_WKV_SEGMENT, p->n_steps - t0);
        memcpy(states, (const float *)p->saved + seg * nn, (size_t)nn * sizeof *states);
        for (int64_t s = 0; s + 1 < steps; s++)
            for (int64_t j0 = 0; j0 < n; j0 += WKV6_BLOCK * VF)
                wkv6_block(p, t0 + s, j0, wkv6_vectors(n, j0), states + s * nn,
                           states + (s + 1) * nn, NULL);
        for (int64_t s = steps - 1; s >= 0; s--)
            wkv6_step_bwd(p, g, t0 + s, states + s * nn, g->dstate);
    }
}
