/* wkv7.inc.c: the RWKV-7 recurrence of one head, S = S diag(w) + (S a) b^T + v k^T, y = S r, and
 * its backward; the formulas are in ref/wkv7.h.
 *
 * Training and prefill: lanes run over value rows, the state lies transposed in scratch as
 * [key][value lane]. Then S a and S r are sums over keys of whole vectors, without a sum across
 * lanes, and a block of WKV_BLOCK vectors of values goes through all steps alone, in L1. The pass
 * that updates a step's state also sums S a of the next step, so the state is read once a step.
 *
 * Decoding: for up to WKV_FEW steps the state is updated in place, lanes over keys, in two passes
 * over it. Transposing it there and back would cost more than the step.
 *
 * Backward: lanes run over keys, because five of the seven sums (dr, dw, dk, da, db) are sums over
 * value rows and become additions of vectors; dv and dsa, along keys, are reduced for WKV_ROWS rows
 * at once. A block of WKV_ROWS rows is independent of the others but for those five sums: it
 * recomputes its states of a segment and goes back through them in L1. WKV_SIDE blocks are computed
 * side by side: a single block waited a fifth of its time for the sums across lanes (AVX2; three
 * gain nothing more). All that an inner loop reads and writes for one vector of keys is contiguous
 * (see `tile`), so that a few pointers do: with plain rows the pointers spilled, and the backward
 * at N = 64 took 1.2 times as long.
 *
 * Any head size: lanes are padded with zeros to np = N rounded up to WKV_BLOCK vectors. */

enum { WKV_BLOCK = VF == 4 ? 4 : 2, WKV_ROWS = 4, WKV_SIDE = 2, WKV_FEW = 16 };

static inline int64_t wkv_padded(int64_t n)
{
    return rk_ceil_div(n, WKV_BLOCK * VF) * (WKV_BLOCK * VF);
}

/* out (n, ld_out) = in (n, ld_in) transposed, one square of vectors after the other. */
static void wkv_transpose(int64_t n, int64_t ld_in, const float *in, int64_t ld_out, float *out)
{
    for (int64_t i = 0; i < n; i += VF)
        for (int64_t j = 0; j < n; j += VF) {
            vf v[VF];
            for (int64_t q = 0; q < VF; q++)
                v[q] = i + q < n ? vf_load_upto(in + (i + q) * ld_in + j, n - j) : vf_zero();
            vf_transpose(v);
            for (int64_t q = 0; q < VF && j + q < n; q++)
                vf_store_upto(out + (j + q) * ld_out + i, v[q], n - i);
        }
}

/* Keep the WKV_BLOCK vectors of values at i0 of the state, as [key][value], rows of n. */
static void wkv_save(int64_t n, int64_t np, int64_t i0, const float *S, float *saved)
{
    const int64_t end = rk_min_i64(n, i0 + WKV_BLOCK * VF);
    for (int64_t j = 0; j < n; j++)
        for (int64_t i = i0; i < end; i += VF)
            vf_store_upto(saved + j * n + i, vf_load(S + j * np + i), end - i);
}

/* Step t for the WKV_BLOCK vectors of values whose first key is at S. sa is S a, in of this step,
 * out of the next. */
static inline void wkv_block_step(const rk_wkv7_args *p, int64_t t, int64_t i0, float *S, vf *sa)
{
    const int64_t n = p->head_size, np = wkv_padded(n), at = t * p->stride;
    const float *r = (const float *)p->r + at, *w = (const float *)p->w + at,
                *k = (const float *)p->k + at, *b = (const float *)p->b + at,
                *a_next = (const float *)p->a + (t + 1 < p->n_steps ? at + p->stride : at);
    vf v[WKV_BLOCK], y[WKV_BLOCK], sum[WKV_BLOCK];
    for (int q = 0; q < WKV_BLOCK; q++) {
        const int64_t i = i0 + q * VF;
        v[q] = i < n ? vf_load_upto((const float *)p->v + at + i, n - i) : vf_zero();
        y[q] = sum[q] = vf_zero();
    }
    for (int64_t j = 0; j < n; j++, S += np) {
        const vf rj = vf_set1(r[j]), wj = vf_set1(w[j]), kj = vf_set1(k[j]);
        const vf bj = vf_set1(b[j]), aj = vf_set1(a_next[j]);
        for (int q = 0; q < WKV_BLOCK; q++) {
            const vf in = vf_fma(sa[q], bj, vf_mul(v[q], kj));
            const vf s = vf_fma(vf_load(S + q * VF), wj, in);
            vf_store(S + q * VF, s);
            y[q] = vf_fma(s, rj, y[q]);
            sum[q] = vf_fma(s, aj, sum[q]);
        }
    }
    for (int q = 0; q < WKV_BLOCK; q++) {
        const int64_t i = i0 + q * VF;
        if (i < n)
            vf_store_upto((float *)p->y + at + i, y[q], n - i);
        sa[q] = sum[q];
    }
}

/* All steps for the WKV_BLOCK vectors of values at i0. */
static void wkv_block(const rk_wkv7_args *p, int64_t i0, float *S)
{
    const int64_t n = p->head_size, np = wkv_padded(n);
    const float *a = p->a;
    float *saved = p->saved;
    vf sa[WKV_BLOCK];
    for (int q = 0; q < WKV_BLOCK; q++)
        sa[q] = vf_zero();
    for (int64_t j = 0; j < n; j++)
        for (int q = 0; q < WKV_BLOCK; q++)
            sa[q] = vf_fma(vf_load(S + j * np + i0 + q * VF), vf_set1(a[j]), sa[q]);
    for (int64_t t = 0; t < p->n_steps; t++) {
        if (saved && t % RK_WKV_SEGMENT == 0)
            wkv_save(n, np, i0, S, saved + t / RK_WKV_SEGMENT * n * n);
        wkv_block_step(p, t, i0, S + i0, sa);
    }
}

/* One step of `rows` <= WKV_ROWS value rows at i, in place, lanes over keys. */
RK_INLINE void wkv_rows_step(const int rows, const rk_wkv7_args *p, int64_t t, int64_t i)
{
    const int64_t n = p->head_size, at = t * p->stride;
    const float *r = (const float *)p->r + at, *w = (const float *)p->w + at,
                *k = (const float *)p->k + at, *a = (const float *)p->a + at,
                *b = (const float *)p->b + at;
    float *S = (float *)p->state + i * n, sa[WKV_ROWS], y[WKV_ROWS];
    vf sum[WKV_ROWS] = {vf_zero(), vf_zero(), vf_zero(), vf_zero()}, u[WKV_ROWS], v[WKV_ROWS];
    for (int64_t j = 0; j < n; j += VF)
        for (int q = 0; q < rows; q++)
            sum[q] = vf_fma(vf_load_upto(S + q * n + j, n - j), vf_load_upto(a + j, n - j), sum[q]);
    vf_sum4(sum[0], sum[1], sum[2], sum[3], sa);
    for (int q = 0; q < rows; q++) {
        u[q] = vf_set1(sa[q]);
        v[q] = vf_set1(((const float *)p->v)[at + i + q]);
        sum[q] = vf_zero();
    }
    for (int64_t j = 0; j < n; j += VF) {
        const int64_t left = n - j;
        const vf rj = vf_load_upto(r + j, left), wj = vf_load_upto(w + j, left);
        const vf kj = vf_load_upto(k + j, left), bj = vf_load_upto(b + j, left);
        for (int q = 0; q < rows; q++) {
            const vf in = vf_fma(u[q], bj, vf_mul(v[q], kj));
            const vf s = vf_fma(vf_load_upto(S + q * n + j, left), wj, in);
            vf_store_upto(S + q * n + j, s, left);
            sum[q] = vf_fma(s, rj, sum[q]);
        }
    }
    vf_sum4(sum[0], sum[1], sum[2], sum[3], y);
    memcpy((float *)p->y + at + i, y, (size_t)rows * sizeof *y);
}

/* Prefetches the state that is needed next; behind its end lies the next head's. */
static void wkv_step_in_place(const rk_wkv7_args *p, int64_t t)
{
    const int64_t ahead = WKV_ROWS * p->head_size;
    int64_t i = 0;
    for (; i + WKV_ROWS <= p->head_size; i += WKV_ROWS) {
        const float *soon = (const float *)p->state + i * p->head_size + 2 * ahead;
        for (int64_t j = 0; j < ahead; j += 64 / (int64_t)sizeof(float))
            rk_prefetch(soon + j);
        wkv_rows_step(WKV_ROWS, p, t, i);
    }
    for (; i < p->head_size; i++)
        wkv_rows_step(1, p, t, i);
}

static void wkv7(const rk_wkv7_args *p, void *scratch)
{
    const int64_t n = p->head_size, np = wkv_padded(n);
    if (p->n_steps <= WKV_FEW && !p->saved) {
        for (int64_t t = 0; t < p->n_steps; t++)
            wkv_step_in_place(p, t);
        return;
    }
    float *S = memset(scratch, 0, (size_t)(n * np) * sizeof *S);
    wkv_transpose(n, n, p->state, np, S);
    for (int64_t i = 0; i < n; i += WKV_BLOCK * VF)
        wkv_block(p, i, S);
    wkv_transpose(n, np, S, n, p->state);
}

/* ------------------------------------------------------------------------------------ backward */

/* What the loops over keys read and add to: for each step and vector of keys one vector of each. */
enum { IN_R, IN_W, IN_K, IN_A, IN_B, IN_COUNT };
enum { SUM_DR, SUM_DW, SUM_DK, SUM_DA, SUM_DB, SUM_COUNT };

/* Scratch of the backward. A matrix (np value rows, np keys) lies as blocks of WKV_ROWS rows, a
 * block as [vector of keys][row][lane]. */
typedef struct wkv_scratch {
    float *h;           /* (np, np): gradient of the state */
    float *start;       /* (np, np): the state before the segment */
    float *states;      /* (16 + 1) of each block: before each of its steps and after them */
    float *in, *sums;   /* (16, np / VF, IN_COUNT or SUM_COUNT, VF) */
    float *v, *dy, *dv; /* (16, np) */
} wkv_scratch;

static int64_t wkv_scratch_floats(int64_t np)
{
    return np * (2 * np + WKV_SIDE * WKV_ROWS * (RK_WKV_SEGMENT + 1) +
                 RK_WKV_SEGMENT * (IN_COUNT + SUM_COUNT + 3));
}

static size_t wkv7_scratch(int64_t n)
{
    return (size_t)wkv_scratch_floats(wkv_padded(n)) * sizeof(float);
}

static wkv_scratch wkv_carve(int64_t np, float *f)
{
    wkv_scratch m = {.h = f, .start = f + np * np, .states = f + 2 * np * np};
    m.in = m.states + WKV_SIDE * WKV_ROWS * (RK_WKV_SEGMENT + 1) * np;
    m.sums = m.in + RK_WKV_SEGMENT * IN_COUNT * np;
    m.v = m.sums + RK_WKV_SEGMENT * SUM_COUNT * np;
    m.dy = m.v + RK_WKV_SEGMENT * np;
    m.dv = m.dy + RK_WKV_SEGMENT * np;
    return m;
}

/* Where keys j .. j + VF of value row i lie in such a matrix. */
static inline float *tile(float *matrix, int64_t np, int64_t i, int64_t j)
{
    return matrix + i / WKV_ROWS * WKV_ROWS * np + j * WKV_ROWS + i % WKV_ROWS * VF;
}

/* Step t of a block, in the order of time: next = the state after it; what it adds to dr; sa, the
 * block's S a, in of this step, out of the next one. */
static void wkv_states_step(int64_t t, int64_t np, int64_t i0, const wkv_scratch *m,
                            const float *sa, float *sa_next)
{
    const float *S = m->states + t * WKV_ROWS * np, *in = m->in + t * IN_COUNT * np;
    const float *in_next = t + 1 < RK_WKV_SEGMENT ? in + IN_COUNT * np : in;
    float *next = m->states + (t + 1) * WKV_ROWS * np, *sums = m->sums + t * SUM_COUNT * np;
    vf u[WKV_ROWS], v[WKV_ROWS], dy[WKV_ROWS], sum[WKV_ROWS];
    for (int q = 0; q < WKV_ROWS; q++) {
        u[q] = vf_set1(sa[q]);
        v[q] = vf_set1(m->v[t * np + i0 + q]);
        dy[q] = vf_set1(m->dy[t * np + i0 + q]);
        sum[q] = vf_zero();
    }
    for (int64_t j = 0; j < np; j += VF) {
        const vf w = vf_load(in + IN_W * VF), k = vf_load(in + IN_K * VF);
        const vf b = vf_load(in + IN_B * VF), a = vf_load(in_next + IN_A * VF);
        vf dr = vf_load(sums + SUM_DR * VF);
        for (int q = 0; q < WKV_ROWS; q++) {
            const vf add_to = vf_fma(u[q], b, vf_mul(v[q], k));
            const vf s = vf_fma(vf_load(S + q * VF), w, add_to);
            vf_store(next + q * VF, s);
            dr = vf_fma(s, dy[q], dr);
            sum[q] = vf_fma(s, a, sum[q]);
        }
        vf_store(sums + SUM_DR * VF, dr);
        in += IN_COUNT * VF;
        in_next += IN_COUNT * VF;
        sums += SUM_COUNT * VF;
        S += WKV_ROWS * VF;
        next += WKV_ROWS * VF;
    }
    vf_sum4(sum[0], sum[1], sum[2], sum[3], sa_next);
}

/* Step t of a block, going back: H becomes G = H + dy r^T; what it adds to dw, dk, db; its dv, and
 * dsa = G b. */
static void wkv_step_g(int64_t t, int64_t np, int64_t i0, const wkv_scratch *m, const float *sa,
                       float *dsa)
{
    const float *S = m->states + t * WKV_ROWS * np, *in = m->in + t * IN_COUNT * np;
    float *H = m->h + i0 * np, *sums = m->sums + t * SUM_COUNT * np;
    vf u[WKV_ROWS], v[WKV_ROWS], dy[WKV_ROWS], gk[WKV_ROWS], gb[WKV_ROWS];
    for (int q = 0; q < WKV_ROWS; q++) {
        u[q] = vf_set1(sa[q]);
        v[q] = vf_set1(m->v[t * np + i0 + q]);
        dy[q] = vf_set1(m->dy[t * np + i0 + q]);
        gk[q] = gb[q] = vf_zero();
    }
    for (int64_t j = 0; j < np; j += VF) {
        const vf r = vf_load(in + IN_R * VF), k = vf_load(in + IN_K * VF);
        const vf b = vf_load(in + IN_B * VF);
        vf dw = vf_load(sums + SUM_DW * VF), dk = vf_load(sums + SUM_DK * VF);
        vf db = vf_load(sums + SUM_DB * VF);
        for (int q = 0; q < WKV_ROWS; q++) {
            const vf G = vf_fma(dy[q], r, vf_load(H + q * VF));
            vf_store(H + q * VF, G);
            dw = vf_fma(G, vf_load(S + q * VF), dw);
            dk = vf_fma(G, v[q], dk);
            db = vf_fma(G, u[q], db);
            gk[q] = vf_fma(G, k, gk[q]);
            gb[q] = vf_fma(G, b, gb[q]);
        }
        vf_store(sums + SUM_DW * VF, dw);
        vf_store(sums + SUM_DK * VF, dk);
        vf_store(sums + SUM_DB * VF, db);
        in += IN_COUNT * VF;
        sums += SUM_COUNT * VF;
        S += WKV_ROWS * VF;
        H += WKV_ROWS * VF;
    }
    vf_sum4(gk[0], gk[1], gk[2], gk[3], m->dv + t * np + i0);
    vf_sum4(gb[0], gb[1], gb[2], gb[3], dsa);
}

/* The rest of the step: what it adds to da, and H = G diag(w) + dsa a^T. */
static void wkv_step_h(int64_t t, int64_t np, int64_t i0, const wkv_scratch *m, const float *dsa)
{
    const float *S = m->states + t * WKV_ROWS * np, *in = m->in + t * IN_COUNT * np;
    float *H = m->h + i0 * np, *sums = m->sums + t * SUM_COUNT * np;
    vf u[WKV_ROWS];
    for (int q = 0; q < WKV_ROWS; q++)
        u[q] = vf_set1(dsa[q]);
    for (int64_t j = 0; j < np; j += VF) {
        const vf w = vf_load(in + IN_W * VF), a = vf_load(in + IN_A * VF);
        vf da = vf_load(sums + SUM_DA * VF);
        for (int q = 0; q < WKV_ROWS; q++) {
            const vf G = vf_load(H + q * VF);
            da = vf_fma(vf_load(S + q * VF), u[q], da);
            vf_store(H + q * VF, vf_fma(G, w, vf_mul(u[q], a)));
        }
        vf_store(sums + SUM_DA * VF, da);
        in += IN_COUNT * VF;
        sums += SUM_COUNT * VF;
        S += WKV_ROWS * VF;
        H += WKV_ROWS * VF;
    }
}

/* A block of WKV_ROWS value rows on its way through a segment. */
typedef struct wkv_rows {
    int64_t i0;
    wkv_scratch m; /* with states of its own */
    float sa[RK_WKV_SEGMENT + 1][WKV_ROWS], dsa[WKV_ROWS];
} wkv_rows;

static void wkv_rows_start(int64_t np, wkv_rows *b)
{
    vf sum[WKV_ROWS];
    memcpy(b->m.states, b->m.start + b->i0 * np, (size_t)(WKV_ROWS * np) * sizeof *b->m.states);
    for (int q = 0; q < WKV_ROWS; q++) {
        sum[q] = vf_zero();
        for (int64_t j = 0; j < np; j += VF)
            sum[q] = vf_fma(vf_load(tile(b->m.states, np, q, j)),
                            vf_load(b->m.in + j * IN_COUNT + IN_A * VF), sum[q]);
    }
    vf_sum4(sum[0], sum[1], sum[2], sum[3], b->sa[0]);
}

/* Blocks of rows through one segment, there and back. Each pass ends in sums across lanes that its
 * next one waits for; `n` blocks side by side fill that time. */
static void wkv_rows_bwd(int64_t steps, int64_t np, int n, wkv_rows *b)
{
    for (int i = 0; i < n; i++)
        wkv_rows_start(np, &b[i]);
    for (int64_t t = 0; t < steps; t++)
        for (int i = 0; i < n; i++)
            wkv_states_step(t, np, b[i].i0, &b[i].m, b[i].sa[t], b[i].sa[t + 1]);
    for (int64_t t = steps - 1; t >= 0; t--) {
        for (int i = 0; i < n; i++)
            wkv_step_g(t, np, b[i].i0, &b[i].m, b[i].sa[t], b[i].dsa);
        for (int i = 0; i < n; i++)
            wkv_step_h(t, np, b[i].i0, &b[i].m, b[i].dsa);
    }
}

/* m->start from what the forward saved: [key][value], rows of n. */
static void wkv_load_start(int64_t n, const float *saved, const wkv_scratch *m)
{
    const int64_t np = wkv_padded(n);
    for (int64_t i = 0; i < np; i += VF)
        for (int64_t j = 0; j < np; j += VF) {
            vf v[VF];
            for (int64_t q = 0; q < VF; q++)
                v[q] =
                    i < n && j + q < n ? vf_load_upto(saved + (j + q) * n + i, n - i) : vf_zero();
            vf_transpose(v);
            for (int64_t q = 0; q < VF; q++)
                vf_store(tile(m->start, np, i + q, j), v[q]);
        }
}

/* The segment's inputs from t0 on, followed by zeros. */
static void wkv_gather(const rk_wkv7_args *p, const float *dy, int64_t t0, int64_t steps,
                       const wkv_scratch *m)
{
    const int64_t n = p->head_size, np = wkv_padded(n);
    const float *const in[IN_COUNT] = {p->r, p->w, p->k, p->a, p->b};
    for (int64_t t = 0; t < steps; t++)
        for (int64_t j = 0; j < np; j += VF) {
            const int64_t at = (t0 + t) * p->stride + j, to = t * np + j, left = n - j;
            const bool any = left > 0;
            for (int q = 0; q < IN_COUNT; q++)
                vf_store(m->in + to * IN_COUNT + q * VF,
                         any ? vf_load_upto(in[q] + at, left) : vf_zero());
            vf_store(m->v + to, any ? vf_load_upto((const float *)p->v + at, left) : vf_zero());
            vf_store(m->dy + to, any ? vf_load_upto(dy + at, left) : vf_zero());
        }
}

/* Add the segment's sums to the gradients. */
static void wkv_scatter(const rk_wkv7_args *p, const rk_wkv7_grads *g, int64_t t0, int64_t steps,
                        const wkv_scratch *m)
{
    const int64_t n = p->head_size, np = wkv_padded(n);
    float *const out[SUM_COUNT] = {g->dr, g->dw, g->dk, g->da, g->db};
    for (int64_t t = 0; t < steps; t++)
        for (int64_t j = 0; j < n; j += VF) {
            const int64_t at = (t0 + t) * p->stride + j, from = t * np + j;
            for (int q = 0; q < SUM_COUNT; q++)
                vf_add_upto(out[q] + at, vf_load(m->sums + from * SUM_COUNT + q * VF), n - j);
            vf_add_upto((float *)g->dv + at, vf_load(m->dv + from), n - j);
        }
}

static void wkv_segment_bwd(const rk_wkv7_args *p, const rk_wkv7_grads *g, int64_t segment,
                            const wkv_scratch *m)
{
    const int64_t n = p->head_size, np = wkv_padded(n), t0 = segment * RK_WKV_SEGMENT;
    const int64_t steps = rk_min_i64(RK_WKV_SEGMENT, p->n_steps - t0);
    wkv_load_start(n, (const float *)p->saved + segment * n * n, m);
    wkv_gather(p, g->dy, t0, steps, m);
    memset(m->sums, 0, (size_t)(steps * SUM_COUNT * np) * sizeof *m->sums);
    for (int64_t i = 0; i < n; i += WKV_SIDE * WKV_ROWS) {
        wkv_rows b[WKV_SIDE];
        int blocks = 0;
        for (; blocks < WKV_SIDE && i + blocks * WKV_ROWS < n; blocks++) {
            b[blocks].i0 = i + blocks * WKV_ROWS;
            b[blocks].m = *m;
            b[blocks].m.states += blocks * WKV_ROWS * (RK_WKV_SEGMENT + 1) * np;
        }
        wkv_rows_bwd(steps, np, blocks, b);
    }
    wkv_scatter(p, g, t0, steps, m);
}

static void wkv7_bwd(const rk_wkv7_args *p, const rk_wkv7_grads *g, void *scratch)
{
    const int64_t n = p->head_size, np = wkv_padded(n);
    const wkv_scratch m = wkv_carve(np, scratch);
    float *dstate = g->dstate;
    memset(m.h, 0, (size_t)(np * np) * sizeof *m.h);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j += VF)
            vf_store(tile(m.h, np, i, j), vf_load_upto(dstate + i * n + j, n - j));
    for (int64_t segment = rk_ceil_div(p->n_steps, RK_WKV_SEGMENT); segment-- > 0;)
        wkv_segment_bwd(p, g, segment, &m);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j += VF)
            vf_store_upto(dstate + i * n + j, vf_load(tile(m.h, np, i, j)), n - j);
}
