/* wkv7.inc.c: the RWKV-7 recurrence of one head, S = S diag(w) + (S a) b^T + v k^T, y = S r, and
 * its backward; the formulas are in ref/wkv7.h.
 *
 * Forward: lanes run over value rows, the state lies transposed in scratch as [key][value lane].
 * Then S a and S r are sums over keys of whole vectors, without a sum across lanes, and a block of
 * WKV_BLOCK vectors of values goes through all steps alone, in L1. The pass that updates a step's
 * state also sums S a of the next step, so the state is read once a step. (Rows of keys, with two
 * sums across lanes a row and step, took 1.3 times as long at N = 64.)
 *
 * Backward: lanes run over keys, because five of the seven sums (dr, dw, dk, da, db) are sums over
 * value rows and become additions of vectors; dv and dsa, along keys, are reduced for WKV_ROWS rows
 * at once. A block of WKV_ROWS rows is independent of the others but for those five sums: it
 * computes its states of a segment again and walks back through them in L1.
 *
 * Any head size: lanes are padded with zeros to np = N rounded up to VF. */

enum { WKV_BLOCK = VF_REGISTERS >= 32 ? 4 : 2, WKV_ROWS = 4 };

static inline int64_t wkv_padded(int64_t n)
{
    return (n + VF - 1) / VF * VF;
}

/* The backward's scratch, carved from one block; each row is np floats. */
typedef struct wkv_scratch {
    float *h;                           /* (np, np): gradient of the state */
    float *r, *w, *k, *v, *a, *b, *dy;  /* (16, np): the segment's inputs */
    float *dr, *dw, *dk, *dv, *da, *db; /* (16, np): its sums */
    float *states;                      /* (17, WKV_ROWS, np): a block's states */
} wkv_scratch;
enum { WKV_STEP_ARRAYS = 13 };

static size_t wkv7_scratch(int64_t n)
{
    const int64_t np = wkv_padded(n);
    const int64_t per_step = WKV_STEP_ARRAYS * RK_WKV_SEGMENT + WKV_ROWS * (RK_WKV_SEGMENT + 1);
    return (size_t)(np * (np + per_step)) * sizeof(float);
}

static wkv_scratch wkv_carve(int64_t np, float *f)
{
    const int64_t step = RK_WKV_SEGMENT * np;
    float *s = f + np * np;
    return (wkv_scratch){.h = f,
                         .r = s,
                         .w = s + step,
                         .k = s + 2 * step,
                         .v = s + 3 * step,
                         .a = s + 4 * step,
                         .b = s + 5 * step,
                         .dy = s + 6 * step,
                         .dr = s + 7 * step,
                         .dw = s + 8 * step,
                         .dk = s + 9 * step,
                         .dv = s + 10 * step,
                         .da = s + 11 * step,
                         .db = s + 12 * step,
                         .states = s + WKV_STEP_ARRAYS * step};
}

/* Keep the block of nb vectors of values at i0 of the state, as [key][value], rows of n. */
static void wkv_save(int nb, int64_t n, int64_t np, int64_t i0, const float *S, float *saved)
{
    for (int64_t j = 0; j < n; j++)
        for (int64_t i = i0; i < i0 + nb * VF && i < n; i += VF)
            vf_store_upto(saved + j * n + i, vf_load(S + j * np + i), n - i);
}

/* All steps for the nb <= 4 vectors of values at i0. nb is a constant where this is inlined. */
static inline void wkv_block(const int nb, const rk_wkv7_args *p, int64_t i0, float *S)
{
    const int64_t n = p->head_size, np = wkv_padded(n);
    const float *a = p->a;
    vf sa[4] = {vf_zero(), vf_zero(), vf_zero(), vf_zero()};
    for (int64_t j = 0; j < n; j++)
        for (int q = 0; q < nb; q++)
            sa[q] = vf_fma(vf_load(S + j * np + i0 + q * VF), vf_set1(a[j]), sa[q]);

    for (int64_t t = 0; t < p->n_steps; t++) {
        const int64_t at = t * p->stride, next = t + 1 < p->n_steps ? at + p->stride : at;
        const float *r = (const float *)p->r + at, *w = (const float *)p->w + at,
                    *k = (const float *)p->k + at, *b = (const float *)p->b + at,
                    *a_next = a + next;
        if (p->saved && t % RK_WKV_SEGMENT == 0)
            wkv_save(nb, n, np, i0, S, (float *)p->saved + t / RK_WKV_SEGMENT * n * n);
        vf v[4], y[4], sum[4];
        for (int q = 0; q < nb; q++) {
            const int64_t i = i0 + q * VF;
            v[q] = vf_load_upto((const float *)p->v + at + i, n - i);
            y[q] = sum[q] = vf_zero();
        }
        for (int64_t j = 0; j < n; j++) {
            const vf rj = vf_set1(r[j]), wj = vf_set1(w[j]), kj = vf_set1(k[j]);
            const vf bj = vf_set1(b[j]), aj = vf_set1(a_next[j]);
            for (int q = 0; q < nb; q++) {
                float *at_s = S + j * np + i0 + q * VF;
                const vf in = vf_fma(sa[q], bj, vf_mul(v[q], kj));
                const vf s = vf_fma(vf_load(at_s), wj, in);
                vf_store(at_s, s);
                y[q] = vf_fma(s, rj, y[q]);
                sum[q] = vf_fma(s, aj, sum[q]);
            }
        }
        for (int q = 0; q < nb; q++) {
            const int64_t i = i0 + q * VF;
            vf_store_upto((float *)p->y + at + i, y[q], n - i);
            sa[q] = sum[q];
        }
    }
}

/* out (cols, ld_out) = in (rows, ld_in) transposed. */
static void transpose(int64_t rows, int64_t cols, int64_t ld_in, const float *in, int64_t ld_out,
                      float *out)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            out[j * ld_out + i] = in[i * ld_in + j];
}

static void wkv7(const rk_wkv7_args *p, void *scratch)
{
    const int64_t n = p->head_size, np = wkv_padded(n);
    float *S = memset(scratch, 0, (size_t)(n * np) * sizeof *S);
    if (p->n_steps == 0)
        return;
    transpose(n, n, n, p->state, np, S);
    for (int64_t i = 0; i < np;) {
        const int64_t vectors = (np - i) / VF;
        if (WKV_BLOCK >= 4 && vectors >= 4) {
            wkv_block(4, p, i, S);
            i += 4 * VF;
        } else if (vectors >= 2) {
            wkv_block(2, p, i, S);
            i += 2 * VF;
        } else {
            wkv_block(1, p, i, S);
            i += VF;
        }
    }
    transpose(n, n, np, S, n, p->state);
}

/* Copy steps rows of n at ld to rows of np, followed by zeros. */
static void wkv_gather(int64_t steps, int64_t n, int64_t ld, const float *in, float *out)
{
    const int64_t np = wkv_padded(n);
    for (int64_t t = 0; t < steps; t++) {
        memset(out + (t + 1) * np - VF, 0, VF * sizeof *out);
        memcpy(out + t * np, in + t * ld, (size_t)n * sizeof *out);
    }
}

/* Add steps rows of np, less their padding, to rows of n at ld. */
static void wkv_scatter(int64_t steps, int64_t n, int64_t ld, const float *in, float *out)
{
    for (int64_t t = 0; t < steps; t++)
        add(n, out + t * ld, in + t * wkv_padded(n), out + t * ld);
}

/* One row per value; sa[t] = S_t a_t of the block's rows. Computes states 1 .. steps of the block
 * from state 0, and what it adds to dr. */
static void wkv_states(int64_t steps, int64_t np, int64_t i0, const wkv_scratch *m,
                       float sa[][WKV_ROWS])
{
    const int64_t block = WKV_ROWS * np;
    vf sum[WKV_ROWS] = {vf_zero(), vf_zero(), vf_zero(), vf_zero()};
    for (int64_t j = 0; j < np; j += VF)
        for (int q = 0; q < WKV_ROWS; q++)
            sum[q] = vf_fma(vf_load(m->states + q * np + j), vf_load(m->a + j), sum[q]);
    vf_sum4(sum[0], sum[1], sum[2], sum[3], sa[0]);

    for (int64_t t = 0; t < steps; t++) {
        const float *w = m->w + t * np, *k = m->k + t * np, *b = m->b + t * np;
        const float *a_next = t + 1 < steps ? m->a + (t + 1) * np : m->a;
        const float *S = m->states + t * block;
        float *S_next = m->states + (t + 1) * block, *dr = m->dr + t * np;
        vf u[WKV_ROWS], v[WKV_ROWS], dy[WKV_ROWS];
        for (int q = 0; q < WKV_ROWS; q++) {
            u[q] = vf_set1(sa[t][q]);
            v[q] = vf_set1(m->v[t * np + i0 + q]);
            dy[q] = vf_set1(m->dy[t * np + i0 + q]);
            sum[q] = vf_zero();
        }
        for (int64_t j = 0; j < np; j += VF) {
            const vf wj = vf_load(w + j), kj = vf_load(k + j), bj = vf_load(b + j);
            const vf aj = vf_load(a_next + j);
            vf drj = vf_load(dr + j);
            for (int q = 0; q < WKV_ROWS; q++) {
                const vf in = vf_fma(u[q], bj, vf_mul(v[q], kj));
                const vf s = vf_fma(vf_load(S + q * np + j), wj, in);
                vf_store(S_next + q * np + j, s);
                drj = vf_fma(s, dy[q], drj);
                sum[q] = vf_fma(s, aj, sum[q]);
            }
            vf_store(dr + j, drj);
        }
        vf_sum4(sum[0], sum[1], sum[2], sum[3], sa[t + 1]);
    }
}

/* Step t of the walk back, first half: H becomes G = H + dy r^T; what the block adds to dw, dk, db;
 * its dv, and dsa = G b. */
static void wkv_step_g(int64_t t, int64_t np, int64_t i0, const wkv_scratch *m,
                       const float sa[WKV_ROWS], float dsa[WKV_ROWS])
{
    const float *r = m->r + t * np, *k = m->k + t * np, *b = m->b + t * np;
    const float *S = m->states + t * WKV_ROWS * np;
    float *H = m->h + i0 * np, *dw = m->dw + t * np, *dk = m->dk + t * np, *db = m->db + t * np;
    vf u[WKV_ROWS], v[WKV_ROWS], dy[WKV_ROWS], gk[WKV_ROWS], gb[WKV_ROWS];
    for (int q = 0; q < WKV_ROWS; q++) {
        u[q] = vf_set1(sa[q]);
        v[q] = vf_set1(m->v[t * np + i0 + q]);
        dy[q] = vf_set1(m->dy[t * np + i0 + q]);
        gk[q] = gb[q] = vf_zero();
    }
    for (int64_t j = 0; j < np; j += VF) {
        const vf rj = vf_load(r + j), kj = vf_load(k + j), bj = vf_load(b + j);
        vf dwj = vf_load(dw + j), dkj = vf_load(dk + j), dbj = vf_load(db + j);
        for (int q = 0; q < WKV_ROWS; q++) {
            const vf G = vf_fma(dy[q], rj, vf_load(H + q * np + j));
            vf_store(H + q * np + j, G);
            dwj = vf_fma(G, vf_load(S + q * np + j), dwj);
            dkj = vf_fma(G, v[q], dkj);
            dbj = vf_fma(G, u[q], dbj);
            gk[q] = vf_fma(G, kj, gk[q]);
            gb[q] = vf_fma(G, bj, gb[q]);
        }
        vf_store(dw + j, dwj);
        vf_store(dk + j, dkj);
        vf_store(db + j, dbj);
    }
    vf_sum4(gk[0], gk[1], gk[2], gk[3], m->dv + t * np + i0);
    vf_sum4(gb[0], gb[1], gb[2], gb[3], dsa);
}

/* Second half: da, and H = G diag(w) + dsa a^T. */
static void wkv_step_h(int64_t t, int64_t np, int64_t i0, const wkv_scratch *m,
                       const float dsa[WKV_ROWS])
{
    const float *w = m->w + t * np, *a = m->a + t * np, *S = m->states + t * WKV_ROWS * np;
    float *H = m->h + i0 * np, *da = m->da + t * np;
    vf u[WKV_ROWS];
    for (int q = 0; q < WKV_ROWS; q++)
        u[q] = vf_set1(dsa[q]);
    for (int64_t j = 0; j < np; j += VF) {
        const vf wj = vf_load(w + j), aj = vf_load(a + j);
        vf daj = vf_load(da + j);
        for (int q = 0; q < WKV_ROWS; q++) {
            const vf G = vf_load(H + q * np + j);
            daj = vf_fma(vf_load(S + q * np + j), u[q], daj);
            vf_store(H + q * np + j, vf_fma(G, wj, vf_mul(u[q], aj)));
        }
        vf_store(da + j, daj);
    }
}

/* The block of WKV_ROWS value rows at i0 through one segment. */
static void wkv_rows_bwd(int64_t steps, int64_t n, int64_t i0, const float *saved,
                         const wkv_scratch *m)
{
    const int64_t np = wkv_padded(n);
    float sa[RK_WKV_SEGMENT + 1][WKV_ROWS], dsa[WKV_ROWS];
    memset(m->states, 0, (size_t)(WKV_ROWS * np) * sizeof *m->states);
    transpose(n, rk_min_i64(WKV_ROWS, n - i0), n, saved + i0, np, m->states);
    wkv_states(steps, np, i0, m, sa);
    for (int64_t t = steps - 1; t >= 0; t--) {
        wkv_step_g(t, np, i0, m, sa[t], dsa);
        wkv_step_h(t, np, i0, m, dsa);
    }
}

static void wkv_segment_bwd(const rk_wkv7_args *p, const rk_wkv7_grads *g, int64_t t0,
                            const wkv_scratch *m)
{
    const int64_t n = p->head_size, np = wkv_padded(n), ld = p->stride, at = t0 * ld;
    const int64_t steps = rk_min_i64(RK_WKV_SEGMENT, p->n_steps - t0);
    const float *const in[] = {p->r, p->w, p->k, p->v, p->a, p->b, g->dy};
    float *const in_rows[] = {m->r, m->w, m->k, m->v, m->a, m->b, m->dy};
    float *const out[] = {g->dr, g->dw, g->dk, g->dv, g->da, g->db};
    float *const out_rows[] = {m->dr, m->dw, m->dk, m->dv, m->da, m->db};
    for (size_t i = 0; i < RK_COUNT(in); i++)
        wkv_gather(steps, n, ld, in[i] + at, in_rows[i]);
    for (size_t i = 0; i < RK_COUNT(out); i++)
        memset(out_rows[i], 0, (size_t)(steps * np) * sizeof(float));
    for (int64_t i = 0; i < n; i += WKV_ROWS)
        wkv_rows_bwd(steps, n, i, (const float *)p->saved + t0 / RK_WKV_SEGMENT * n * n, m);
    for (size_t i = 0; i < RK_COUNT(out); i++)
        wkv_scatter(steps, n, ld, out_rows[i], out[i] + at);
}

static void wkv7_bwd(const rk_wkv7_args *p, const rk_wkv7_grads *g, void *scratch)
{
    const int64_t n = p->head_size, np = wkv_padded(n);
    const wkv_scratch m = wkv_carve(np, scratch);
    float *H = g->dstate;
    memset(m.h, 0, (size_t)(np * np) * sizeof *m.h);
    for (int64_t i = 0; i < n; i++)
        memcpy(m.h + i * np, H + i * n, (size_t)n * sizeof *H);
    for (int64_t seg = rk_ceil_div(p->n_steps, RK_WKV_SEGMENT) - 1; seg >= 0; seg--)
        wkv_segment_bwd(p, g, seg * RK_WKV_SEGMENT, &m);
    for (int64_t i = 0; i < n; i++)
        memcpy(H + i * n, m.h + i * np, (size_t)n * sizeof *H);
}
