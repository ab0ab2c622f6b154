/* wkv4.inc.c: the recurrence of RWKV-4, lanes over channels, and its backward; the formulas are in
 * ref/wkv4.h. */

typedef struct wkv4_state {
    vf aa, bb, pp;
} wkv4_state;

static inline wkv4_state wkv4_load(const float *state, int64_t width, int64_t left)
{
    return (wkv4_state){vf_load_upto(state, left), vf_load_upto(state + width, left),
                        vf_load_upto(state + 2 * width, left)};
}

static inline void wkv4_store(float *state, int64_t width, int64_t left, wkv4_state s)
{
    vf_store_upto(state, s.aa, left);
    vf_store_upto(state + width, s.bb, left);
    vf_store_upto(state + 2 * width, s.pp, left);
}

/* The state after a step. */
static inline wkv4_state wkv4_next(wkv4_state s, vf w, vf k, vf v)
{
    const vf pw = vf_add(s.pp, w), q = vf_max(pw, k);
    const vf e1 = vf_exp(vf_sub(pw, q)), e2 = vf_exp(vf_sub(k, q));
    return (wkv4_state){vf_fma(e1, s.aa, vf_mul(e2, v)), vf_fma(e1, s.bb, e2), q};
}

/* All steps of the VF channels at c, of which `left` are there. */
static void wkv4_channels(const rk_wkv4_args *p, int64_t c, int64_t left)
{
    const int64_t width = p->width;
    const vf w = vf_load_upto((const float *)p->w + c, left);
    const vf u = vf_load_upto((const float *)p->u + c, left);
    wkv4_state s = wkv4_load((const float *)p->state + c, width, left);
    for (int64_t t = 0; t < p->n_steps; t++) {
        const vf k = vf_load_upto((const float *)p->k + t * width + c, left);
        const vf v = vf_load_upto((const float *)p->v + t * width + c, left);
        if (p->saved && t % RK_WKV_SEGMENT == 0)
            wkv4_store((float *)p->saved + t / RK_WKV_SEGMENT * 3 * width + c, width, left, s);
        const vf uk = vf_add(u, k), q = vf_max(s.pp, uk);
        const vf e1 = vf_exp(vf_sub(s.pp, q)), e2 = vf_exp(vf_sub(uk, q));
        vf_store_upto((float *)p->y + t * width + c,
                      vf_div(vf_fma(e1, s.aa, vf_mul(e2, v)), vf_fma(e1, s.bb, e2)), left);
        s = wkv4_next(s, w, k, v);
    }
    wkv4_store((float *)p->state + c, width, left, s);
}

static void wkv4(const rk_wkv4_args *p)
{
    for (int64_t c = p->c0; c < p->c1; c += VF)
        wkv4_channels(p, c, p->c1 - c);
}

typedef struct wkv4_carry {
    vf ah, bh, rho, dw, du;
} wkv4_carry;

static inline void wkv4_step_bwd(const rk_wkv4_args *p, const rk_wkv4_grads *g, int64_t at,
                                 int64_t left, vf w, vf u, wkv4_state s, wkv4_carry *x)
{
    const vf k = vf_load_upto((const float *)p->k + at, left);
    const vf v = vf_load_upto((const float *)p->v + at, left);
    const vf uk = vf_add(u, k), m = vf_max(s.pp, uk);
    const vf e1 = vf_exp(vf_sub(s.pp, m)), eu = vf_exp(vf_sub(uk, m));
    const vf den = vf_fma(e1, s.bb, eu), y = vf_div(vf_fma(e1, s.aa, vf_mul(eu, v)), den);
    const vf qq = vf_div(vf_load_upto((const float *)g->dy + at, left), den);
    const vf wr = vf_add(w, x->rho);
    const vf ek = vf_exp(vf_add(k, x->rho)), ew = vf_exp(vf_add(wr, s.pp));
    const vf euq = vf_mul(eu, qq), du = vf_mul(euq, vf_sub(v, y));
    vf_add_upto((float *)g->dk + at, vf_fma(ek, vf_fma(x->ah, v, x->bh), du), left);
    vf_add_upto((float *)g->dv + at, vf_fma(ek, x->ah, euq), left);
    x->du = vf_add(x->du, du);
    x->dw = vf_fma(ew, vf_fma(s.aa, x->ah, vf_mul(s.bb, x->bh)), x->dw);
    const vf nm = vf_sub(vf_zero(), m), rho = vf_max(wr, nm);
    const vf a = vf_exp(vf_sub(wr, rho)), b = vf_mul(qq, vf_exp(vf_sub(nm, rho)));
    x->ah = vf_fma(a, x->ah, b);
    x->bh = vf_sub(vf_mul(a, x->bh), vf_mul(b, y));
    x->rho = rho;
}

static void wkv4_channels_bwd(const rk_wkv4_args *p, const rk_wkv4_grads *g, int64_t c,
                              int64_t left)
{
    const int64_t width = p->width;
    const vf w = vf_load_upto((const float *)p->w + c, left);
    const vf u = vf_load_upto((const float *)p->u + c, left);
    float *dstate = (float *)g->dstate + c;
    const vf pp = vf_load_upto((const float *)p->state + 2 * width + c, left);
    wkv4_carry x = {vf_load_upto(dstate, left), vf_load_upto(dstate + width, left),
                    vf_sub(vf_zero(), pp), vf_load_upto((const float *)g->dw + c, left),
                    vf_load_upto((const float *)g->du + c, left)};
    for (int64_t seg = rk_ceil_div(p->n_steps, RK_WKV_SEGMENT) - 1; seg >= 0; seg--) {
        const int64_t t0 = seg * RK_WKV_SEGMENT;
        const int64_t steps = rk_min_i64(RK_WKV_SEGMENT, p->n_steps - t0);
        wkv4_state s[RK_WKV_SEGMENT];
        s[0] = wkv4_load((const float *)p->saved + seg * 3 * width + c, width, left);
        for (int64_t i = 0; i + 1 < steps; i++)
            s[i + 1] =
                wkv4_next(s[i], w, vf_load_upto((const float *)p->k + (t0 + i) * width + c, left),
                          vf_load_upto((const float *)p->v + (t0 + i) * width + c, left));
        for (int64_t i = steps - 1; i >= 0; i--)
            wkv4_step_bwd(p, g, (t0 + i) * width + c, left, w, u, s[i], &x);
    }
    const vf first = vf_load_upto((const float *)p->saved + 2 * width + c, left);
    const vf scale = vf_exp(vf_add(x.rho, first));
    wkv4_store(dstate, width, left,
               (wkv4_state){vf_mul(x.ah, scale), vf_mul(x.bh, scale), vf_zero()});
    vf_store_upto((float *)g->dw + c, x.dw, left);
    vf_store_upto((float *)g->du + c, x.du, left);
}

static void wkv4_bwd(const rk_wkv4_args *p, const rk_wkv4_grads *g)
{
    for (int64_t c = p->c0; c < p->c1; c += VF)
        wkv4_channels_bwd(p, g, c, p->c1 - c);
}
