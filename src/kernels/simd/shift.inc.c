/* shift.inc.c: the token shift with all its mixes in one pass over x. */

static void shift_mix(int64_t t0, int64_t t1, int64_t c, const void *xp, const void *prevp,
                      int64_t n_mix, const void *const *mu, void *yp, int64_t y_stride)
{
    for (int64_t t = t0; t < t1; t++) {
        const float *x = (const float *)xp + t * c, *before = t > 0 ? x - c : prevp;
        float *y = (float *)yp + t * c;
        for (int64_t i = 0; i < c; i += VF) {
            const vf now = vf_load_upto(x + i, c - i);
            const vf d = vf_sub(vf_load_upto(before + i, c - i), now);
            for (int64_t q = 0; q < n_mix; q++) {
                const vf m = vf_load_upto((const float *)mu[q] + i, c - i);
                vf_store_upto(y + q * y_stride + i, vf_fma(d, m, now), c - i);
            }
        }
    }
}

static void shift_mix_bwd_x(int64_t t0, int64_t t1, int64_t n_steps, int64_t c, int64_t n_mix,
                            const void *const *mu, const void *dyp, int64_t dy_stride, void *dxp)
{
    for (int64_t t = t0; t < t1; t++) {
        const float *dy = (const float *)dyp + t * c;
        float *dx = (float *)dxp + t * c;
        for (int64_t i = 0; i < c; i += VF) {
            vf s = vf_load_upto(dx + i, c - i);
            for (int64_t q = 0; q < n_mix; q++) {
                const float *at = dy + q * dy_stride + i;
                const vf now = vf_load_upto(at, c - i);
                const vf next = t + 1 < n_steps ? vf_load_upto(at + c, c - i) : vf_zero();
                const vf m = vf_load_upto((const float *)mu[q] + i, c - i);
                s = vf_fma(vf_sub(next, now), m, vf_add(s, now));
            }
            vf_store_upto(dx + i, s, c - i);
        }
    }
}

/* The gradient of prev: the first step's mixes took mu_q of it. */
static void shift_bwd_prev(int64_t c0, int64_t c1, int64_t n_mix, const void *const *mu,
                           const float *dy, int64_t dy_stride, float *dprev)
{
    for (int64_t q = 0; q < n_mix; q++)
        mul_add(c1 - c0, dy + q * dy_stride + c0, (const float *)mu[q] + c0, dprev + c0);
}

static void shift_mix_bwd_mu(int64_t n_steps, int64_t c, int64_t c0, int64_t c1, const void *xp,
                             const void *prevp, int64_t n_mix, const void *const *mu,
                             const void *dyp, int64_t dy_stride, void *const *dmu, void *dprev)
{
    const float *dy = dyp;
    for (int64_t t = 0; t < n_steps; t++) {
        const float *x = (const float *)xp + t * c, *before = t > 0 ? x - c : prevp;
        for (int64_t i = c0; i < c1; i += VF) {
            const vf now = vf_load_upto(x + i, c1 - i);
            const vf d = vf_sub(vf_load_upto(before + i, c1 - i), now);
            for (int64_t q = 0; q < n_mix; q++) {
                float *out = (float *)dmu[q] + i;
                const vf g = vf_load_upto(dy + q * dy_stride + t * c + i, c1 - i);
                vf_store_upto(out, vf_fma(g, d, vf_load_upto(out, c1 - i)), c1 - i);
            }
        }
    }
    if (dprev && n_steps > 0)
        shift_bwd_prev(c0, c1, n_mix, mu, dy, dy_stride, dprev);
}
