/* rwkv7.inc.c: RWKV-7 before and after its recurrence, one head of one token at a time.
 *
 * Each head is passed over twice: once for its sums (a head lies in L1), once for its outputs.
 * Results of the first pass are kept in output arrays where one is free, and computed again where
 * none is: a sigmoid costs less than a store and a load from L2. */

static const float decay_scale = 0.60653065971263342360f; /* e^(-1/2) */

/* sigmoid(bias + logit) of up to VF channels. */
static inline vf gate_upto(const float *bias, const float *logit, int64_t left)
{
    return vf_sigmoid(vf_add(vf_load_upto(bias, left), vf_load_upto(logit, left)));
}

/* Up to VF channels of an array that may be missing. */
static inline vf load_or(const float *x, int64_t i, float other, int64_t left)
{
    return x ? vf_load_upto(x + i, left) : vf_set1(other);
}

static inline const float *from(const void *x, int64_t i)
{
    return x ? (const float *)x + i : NULL;
}

/* One head: c its first channel, at its first element. na holds z = k0 k_k, b holds the iclr a,
 * until the length of z is known. */
static void prepare_head(int64_t n, int64_t c, int64_t at, const rk_rwkv7_prepare *p)
{
    const float *w0 = (const float *)p->w0 + c, *a0 = (const float *)p->a0 + c,
                *k_k = from(p->k_k, c), *k_a = from(p->k_a, c), *wl = (const float *)p->wl + at,
                *al = (const float *)p->al + at, *k0 = (const float *)p->k0 + at;
    float *w = (float *)p->w + at, *k = (float *)p->k + at, *na = (float *)p->na + at,
          *b = (float *)p->b + at;
    vf squares = vf_zero();
    for (int64_t i = 0; i < n; i += VF) {
        const int64_t left = n - i;
        const vf s = gate_upto(w0 + i, wl + i, left), a = gate_upto(a0 + i, al + i, left);
        const vf key = vf_load_upto(k0 + i, left), z = vf_mul(key, load_or(k_k, i, 1.0f, left));
        const vf d = vf_exp(vf_mul(vf_set1(-decay_scale), s));
        const vf rate =
            k_a ? vf_mul(vf_sub(a, vf_set1(1.0f)), vf_load_upto(k_a + i, left)) : vf_sub(a, d);
        squares = vf_fma(z, z, squares);
        vf_store_upto(w + i, d, left);
        vf_store_upto(k + i, vf_fma(key, rate, key), left);
        vf_store_upto(na + i, z, left);
        vf_store_upto(b + i, a, left);
    }
    const vf inv = vf_set1(inverse_length(vf_sum(squares)));
    for (int64_t i = 0; i < n; i += VF) {
        const vf kk = vf_mul(vf_load_upto(na + i, n - i), inv);
        vf_store_upto(na + i, vf_sub(vf_zero(), kk), n - i);
        vf_store_upto(b + i, vf_mul(kk, vf_load_upto(b + i, n - i)), n - i);
    }
}

static void value_residual(int64_t n, int64_t at, const rk_rwkv7_prepare *p)
{
    const float *v0 = p->v0, *vl = (const float *)p->vl + at, *v_in = (const float *)p->v_in + at,
                *v_first = (const float *)p->v_first + at;
    float *v = (float *)p->v + at;
    for (int64_t i = 0; i < n; i += VF) {
        const int64_t left = n - i;
        const vf own = vf_load_upto(v_in + i, left);
        const vf d = vf_sub(vf_load_upto(v_first + i, left), own);
        vf_store_upto(v + i, vf_fma(d, gate_upto(v0 + i, vl + i, left), own), left);
    }
}

static void rwkv7_prepare(int64_t rows, int64_t h, int64_t n, const rk_rwkv7_prepare *p)
{
    for (int64_t head = 0; head < rows * h; head++)
        prepare_head(n, head % h * n, head * n, p);
    for (int64_t r = 0; p->v_first && r < rows; r++)
        value_residual(h * n, r * h * n, p);
}

/* What the backward needs of a head before its second pass: 1 / |z|, and kk . dkk over |z|, which
 * is 0 where the length is held at its floor. */
typedef struct head_length {
    float inv, along;
} head_length;

static head_length prepare_head_length(int64_t n, int64_t c, int64_t at, const rk_rwkv7_prepare *p,
                                       const rk_rwkv7_prepare_grads *g)
{
    const float *a0 = (const float *)p->a0 + c, *k_k = from(p->k_k, c),
                *al = (const float *)p->al + at, *k0 = (const float *)p->k0 + at,
                *dna = (const float *)g->dna + at, *db = (const float *)g->db + at;
    vf squares = vf_zero(), dot = vf_zero();
    for (int64_t i = 0; i < n; i += VF) {
        const int64_t left = n - i;
        const vf a = gate_upto(a0 + i, al + i, left);
        const vf z = vf_mul(vf_load_upto(k0 + i, left), load_or(k_k, i, 1.0f, left));
        const vf dkk = vf_sub(vf_mul(vf_load_upto(db + i, left), a), vf_load_upto(dna + i, left));
        squares = vf_fma(z, z, squares);
        dot = vf_fma(z, dkk, dot);
    }
    const float len2 = vf_sum(squares), inv = inverse_length(len2);
    return (head_length){inv, sqrtf(len2) > (float)RK_L2_EPS ? vf_sum(dot) * inv * inv : 0.0f};
}

static void prepare_head_bwd(int64_t n, int64_t c, int64_t at, const rk_rwkv7_prepare *p,
                             const rk_rwkv7_prepare_grads *g)
{
    const float *w0 = (const float *)p->w0 + c, *a0 = (const float *)p->a0 + c,
                *k_k = from(p->k_k, c), *k_a = from(p->k_a, c), *wl = (const float *)p->wl + at,
                *al = (const float *)p->al + at, *k0 = (const float *)p->k0 + at;
    const float *dw = (const float *)g->dw + at, *dk = (const float *)g->dk + at,
                *dna = (const float *)g->dna + at, *db = (const float *)g->db + at;
    float *dwl = (float *)g->dwl + at, *dal = (float *)g->dal + at, *dk0 = (float *)g->dk0 + at,
          *dk_k = (float *)g->dk_k_rows + at, *dk_a = (float *)g->dk_a_rows + at;
    const head_length len = prepare_head_length(n, c, at, p, g);
    const vf one = vf_set1(1.0f), inv = vf_set1(len.inv), along = vf_set1(len.along);
    const vf scale_w = vf_set1(-decay_scale);
    for (int64_t i = 0; i < n; i += VF) {
        const int64_t left = n - i;
        const vf s = gate_upto(w0 + i, wl + i, left), a = gate_upto(a0 + i, al + i, left);
        const vf key = vf_load_upto(k0 + i, left), kk_of = load_or(k_k, i, 1.0f, left);
        const vf ka = load_or(k_a, i, 1.0f, left), gk = vf_load_upto(dk + i, left);
        const vf gb = vf_load_upto(db + i, left), z = vf_mul(key, kk_of);
        const vf gk_key = vf_mul(gk, key);

        const vf w = vf_exp(vf_mul(scale_w, s)), slope = vf_mul(s, vf_sub(one, s));
        const vf a_less_1 = vf_sub(a, k_a ? one : w), dw_all = vf_load_upto(dw + i, left);
        const vf gw_of = k_a ? dw_all : vf_sub(dw_all, gk_key);
        const vf gw = vf_mul(vf_mul(gw_of, w), vf_mul(scale_w, slope));
        vf_add_upto(dwl + i, gw, left);

        const vf ga = vf_fma(gb, vf_mul(z, inv), vf_mul(gk_key, ka));
        vf_add_upto(dal + i, vf_mul(ga, vf_fnma(a, a, a)), left);

        const vf gkk = vf_sub(vf_mul(gb, a), vf_load_upto(dna + i, left));
        const vf gz = vf_mul(vf_fnma(z, along, gkk), inv);
        vf_add_upto(dk0 + i, vf_fma(gz, kk_of, vf_mul(gk, vf_fma(a_less_1, ka, one))), left);
        vf_store_upto(dk_k + i, vf_mul(gz, key), left);
        vf_store_upto(dk_a + i, vf_mul(gk_key, a_less_1), left);
    }
}

static void value_residual_bwd(int64_t n, int64_t at, const rk_rwkv7_prepare *p,
                               const rk_rwkv7_prepare_grads *g)
{
    const float *v0 = p->v0, *vl = (const float *)p->vl + at, *v_in = (const float *)p->v_in + at,
                *v_first = (const float *)p->v_first + at, *dv = (const float *)g->dv + at;
    float *dvl = (float *)g->dvl + at, *dv_in = (float *)g->dv_in + at,
          *dv_first = (float *)g->dv_first + at;
    for (int64_t i = 0; i < n; i += VF) {
        const int64_t left = n - i;
        const vf nu = gate_upto(v0 + i, vl + i, left), gv = vf_load_upto(dv + i, left);
        const vf d = vf_sub(vf_load_upto(v_first + i, left), vf_load_upto(v_in + i, left));
        vf_add_upto(dv_in + i, vf_fnma(gv, nu, gv), left);
        vf_add_upto(dv_first + i, vf_mul(gv, nu), left);
        vf_add_upto(dvl + i, vf_mul(vf_mul(gv, d), vf_fnma(nu, nu, nu)), left);
    }
}

static void rwkv7_prepare_bwd(int64_t rows, int64_t h, int64_t n, const rk_rwkv7_prepare *p,
                              const rk_rwkv7_prepare_grads *g)
{
    for (int64_t head = 0; head < rows * h; head++)
        prepare_head_bwd(n, head % h * n, head * n, p, g);
    for (int64_t r = 0; p->v_first && r < rows; r++)
        value_residual_bwd(h * n, r * h * n, p, g);
}

/* The bonus of a head, sum_j r k r_k; r_k NULL: there is none. */
static inline float bonus(int64_t n, const float *r, const float *k, const float *r_k)
{
    vf s = vf_zero();
    for (int64_t i = 0; r_k && i < n; i += VF) {
        const vf rk = vf_mul(vf_load_upto(r + i, n - i), vf_load_upto(k + i, n - i));
        s = vf_fma(rk, vf_load_upto(r_k + i, n - i), s);
    }
    return vf_sum(s);
}

/* The gate of up to VF channels. */
static inline vf gate_of(const rk_rwkv7_output *p, const float *g, int64_t i, int64_t left)
{
    return g ? vf_add(vf_set1((float)p->gate_base), vf_load_upto(g + i, left)) : vf_set1(1.0f);
}

static void rwkv7_output(int64_t rows, int64_t h, int64_t n, const rk_rwkv7_output *p)
{
    for (int64_t head = 0; head < rows * h; head++) {
        const int64_t c = head % h * n, at = head * n;
        const float *y = (const float *)p->y + at, *v = (const float *)p->v + at,
                    *g = from(p->g, at), *w = from(p->ln_w, c), *b = from(p->ln_b, c);
        float *z = (float *)p->z + at, st[2] = {0.0f, (float)p->scale};
        const float s =
            bonus(n, (const float *)p->r + at, (const float *)p->k + at, from(p->r_k, c));
        if (w)
            row_stats(n, y, p->eps, st);
        for (int64_t i = 0; i < n; i += VF) {
            const int64_t left = n - i;
            const vf d = vf_sub(vf_load_upto(y + i, left), vf_set1(st[0]));
            const vf hat = vf_mul(d, vf_set1(st[1]));
            const vf out = vf_fma(hat, load_or(w, i, 1.0f, left), load_or(b, i, 0.0f, left));
            const vf sum_v = vf_fma(vf_set1(s), vf_load_upto(v + i, left), out);
            vf_store_upto(z + i, vf_mul(sum_v, gate_of(p, g, i, left)), left);
        }
        if (p->stats)
            memcpy((float *)p->stats + 2 * head, st, sizeof st);
    }
}

/* Sums over a head that its backward needs, with dp = dz g: ds = dp . v, and the means of
 * dhat = dp ln_w and of dhat hat. */
typedef struct head_sums {
    float ds, mean_d, mean_dh;
} head_sums;

static head_sums output_head_sums(const rk_rwkv7_output *p, int64_t n, const float *y,
                                  const float *st, const float *v, const float *g, const float *dz,
                                  const float *ln_w)
{
    const vf mean = vf_set1(st[0]), rstd = vf_set1(st[1]);
    vf ds = vf_zero(), sum_d = vf_zero(), sum_dh = vf_zero();
    for (int64_t i = 0; i < n; i += VF) {
        const int64_t left = n - i;
        const vf dp = vf_mul(vf_load_upto(dz + i, left), gate_of(p, g, i, left));
        const vf dhat = vf_mul(dp, load_or(ln_w, i, 1.0f, left));
        const vf hat = vf_mul(vf_sub(vf_load_upto(y + i, left), mean), rstd);
        ds = vf_fma(dp, vf_load_upto(v + i, left), ds);
        sum_d = vf_add(sum_d, dhat);
        sum_dh = vf_fma(dhat, hat, sum_dh);
    }
    if (!ln_w)
        return (head_sums){vf_sum(ds), 0.0f, 0.0f};
    return (head_sums){vf_sum(ds), vf_sum(sum_d) / (float)n, vf_sum(sum_dh) / (float)n};
}

static void output_head_bwd(int64_t n, int64_t c, int64_t at, const float *st,
                            const rk_rwkv7_output *p, const rk_rwkv7_output_grads *d)
{
    const float *y = (const float *)p->y + at, *r = (const float *)p->r + at,
                *k = (const float *)p->k + at, *v = (const float *)p->v + at, *g = from(p->g, at),
                *dz = (const float *)d->dz + at, *r_k = from(p->r_k, c), *ln_w = from(p->ln_w, c),
                *ln_b = from(p->ln_b, c);
    float *dy = (float *)d->dy + at, *dr = (float *)d->dr + at, *dk = (float *)d->dk + at,
          *dv = (float *)d->dv + at, *dg = (float *)d->dg + at, *dr_k = (float *)d->dr_k_rows + at,
          *dln_w = (float *)d->dln_w_rows + at, *dln_b = (float *)d->dln_b_rows + at;
    const head_sums sums = output_head_sums(p, n, y, st, v, g, dz, ln_w);
    const vf mean = vf_set1(st[0]), rstd = vf_set1(st[1]), s = vf_set1(bonus(n, r, k, r_k));
    const vf ds = vf_set1(sums.ds), mean_d = vf_set1(sums.mean_d), mean_dh = vf_set1(sums.mean_dh);
    for (int64_t i = 0; i < n; i += VF) {
        const int64_t left = n - i;
        const vf hat = vf_mul(vf_sub(vf_load_upto(y + i, left), mean), rstd);
        const vf w = load_or(ln_w, i, 1.0f, left), val = vf_load_upto(v + i, left);
        const vf gz = vf_load_upto(dz + i, left), dp = vf_mul(gz, gate_of(p, g, i, left));
        const vf out = vf_fma(s, val, vf_fma(hat, w, load_or(ln_b, i, 0.0f, left)));
        const vf ds_rk = vf_mul(ds, load_or(r_k, i, 0.0f, left));
        const vf rec = vf_load_upto(r + i, left), key = vf_load_upto(k + i, left);
        const vf dhat = vf_fnma(hat, mean_dh, vf_sub(vf_mul(dp, w), mean_d));
        if (g)
            vf_add_upto(dg + i, vf_mul(gz, out), left);
        vf_add_upto(dv + i, vf_mul(s, dp), left);
        vf_add_upto(dr + i, vf_mul(ds_rk, key), left);
        vf_add_upto(dk + i, vf_mul(ds_rk, rec), left);
        vf_add_upto(dy + i, vf_mul(dhat, rstd), left);
        vf_store_upto(dr_k + i, vf_mul(ds, vf_mul(rec, key)), left);
        vf_store_upto(dln_w + i, vf_mul(dp, hat), left);
        vf_store_upto(dln_b + i, dp, left);
    }
}

static void rwkv7_output_bwd(int64_t rows, int64_t h, int64_t n, const rk_rwkv7_output *p,
                             const rk_rwkv7_output_grads *d)
{
    for (int64_t head = 0; head < rows * h; head++)
        output_head_bwd(n, head % h * n, head * n, (const float *)p->stats + 2 * head, p, d);
}
