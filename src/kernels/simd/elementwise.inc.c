/* elementwise.inc.c: what works on each element alone, the sums over an array, and conversions.
 *
 * One loop serves body and tail (vf_load_upto): the test for the tail is predicted, the loops are
 * bound by memory or by the polynomials, and a second copy of each formula would have to be kept
 * equal by hand. */

static inline vf unary_value(rk_unary op, vf x)
{
    switch (op) {
    case RK_SIGMOID:
        return vf_sigmoid(x);
    case RK_TANH:
        return vf_tanh(x);
    case RK_EXP:
        return vf_exp(x);
    case RK_RELU2: {
        const vf pos = vf_max(vf_zero(), x);
        return vf_mul(pos, pos);
    }
    case RK_RELU:
        return vf_max(vf_zero(), x);
    default:
        return vf_div(x, vf_add(vf_set1(1.0f), vf_exp(vf_sub(vf_zero(), x)))); /* silu */
    }
}

static void unary(rk_unary op, int64_t n, const void *xp, void *yp)
{
    const float *x = xp;
    float *y = yp;
    for (int64_t i = 0; i < n; i += VF)
        vf_store_upto(y + i, unary_value(op, vf_load_upto(x + i, n - i)), n - i);
}

static inline vf unary_slope(rk_unary op, vf x, vf y)
{
    const vf one = vf_set1(1.0f);
    switch (op) {
    case RK_SIGMOID:
        return vf_mul(y, vf_sub(one, y));
    case RK_TANH:
        return vf_fnma(y, y, one);
    case RK_EXP:
        return y;
    case RK_RELU2:
        return vf_mul(vf_set1(2.0f), vf_max(vf_zero(), x));
    case RK_RELU:
        return vf_select(vf_lt(vf_zero(), x), one, vf_zero());
    default: { /* silu: s (1 + x (1 - s)) */
        const vf s = vf_sigmoid(x);
        return vf_mul(s, vf_fma(x, vf_sub(one, s), one));
    }
    }
}

static void unary_bwd(rk_unary op, int64_t n, const void *xp, const void *yp, const void *dyp,
                      void *dxp)
{
    const float *x = xp, *y = yp, *dy = dyp;
    float *dx = dxp;
    for (int64_t i = 0; i < n; i += VF) {
        const int64_t left = n - i;
        const vf f = unary_slope(op, vf_load_upto(x + i, left), vf_load_upto(y + i, left));
        const vf sum = vf_fma(vf_load_upto(dy + i, left), f, vf_load_upto(dx + i, left));
        vf_store_upto(dx + i, sum, left);
    }
}

static void swiglu(int64_t n, const void *gatep, const void *upp, void *yp)
{
    const float *gate = gatep, *up = upp;
    float *y = yp;
    for (int64_t i = 0; i < n; i += VF) {
        const vf g = unary_value(RK_SILU, vf_load_upto(gate + i, n - i));
        vf_store_upto(y + i, vf_mul(g, vf_load_upto(up + i, n - i)), n - i);
    }
}

/* With s the sigmoid of the gate g: d gate = dy up s (1 + g (1 - s)), d up = dy g s. */
static void swiglu_bwd(int64_t n, const void *gatep, const void *upp, const void *dyp, void *dgatep,
                       void *dupp)
{
    const float *gate = gatep, *up = upp, *dy = dyp;
    float *dgate = dgatep, *dup = dupp;
    for (int64_t i = 0; i < n; i += VF) {
        const int64_t left = n - i;
        const vf g = vf_load_upto(gate + i, left), d = vf_load_upto(dy + i, left);
        const vf s = vf_sigmoid(g);
        if (dgate) {
            const vf slope = vf_mul(s, vf_fma(g, vf_sub(vf_set1(1.0f), s), vf_set1(1.0f)));
            vf_add_upto(dgate + i, vf_mul(vf_mul(d, vf_load_upto(up + i, left)), slope), left);
        }
        if (dup)
            vf_add_upto(dup + i, vf_mul(d, vf_mul(g, s)), left);
    }
}

static void add(int64_t n, const void *xp, const void *yp, void *zp)
{
    const float *x = xp, *y = yp;
    float *z = zp;
    for (int64_t i = 0; i < n; i += VF) {
        const vf a = vf_load_upto(x + i, n - i), b = vf_load_upto(y + i, n - i);
        vf_store_upto(z + i, vf_add(a, b), n - i);
    }
}

static void mul(int64_t n, const void *xp, const void *yp, void *zp)
{
    const float *x = xp, *y = yp;
    float *z = zp;
    for (int64_t i = 0; i < n; i += VF) {
        const vf a = vf_load_upto(x + i, n - i), b = vf_load_upto(y + i, n - i);
        vf_store_upto(z + i, vf_mul(a, b), n - i);
    }
}

static void mul_add(int64_t n, const void *xp, const void *yp, void *zp)
{
    const float *x = xp, *y = yp;
    float *z = zp;
    for (int64_t i = 0; i < n; i += VF) {
        const vf a = vf_load_upto(x + i, n - i), b = vf_load_upto(y + i, n - i);
        vf_store_upto(z + i, vf_fma(a, b, vf_load_upto(z + i, n - i)), n - i);
    }
}

static void lerp(int64_t n, const void *xp, const void *yp, const void *wp, void *zp)
{
    const float *x = xp, *y = yp, *w = wp;
    float *z = zp;
    for (int64_t i = 0; i < n; i += VF) {
        const vf a = vf_load_upto(x + i, n - i), b = vf_load_upto(y + i, n - i);
        vf_store_upto(z + i, vf_fma(vf_sub(b, a), vf_load_upto(w + i, n - i), a), n - i);
    }
}

static void lerp_bwd(int64_t n, const void *xp, const void *yp, const void *wp, const void *dzp,
                     void *dxp, void *dyp, void *dwp)
{
    const float *x = xp, *y = yp, *w = wp, *dz = dzp;
    float *dx = dxp, *dy = dyp, *dw = dwp;
    for (int64_t i = 0; i < n; i += VF) {
        const int64_t left = n - i;
        const vf g = vf_load_upto(dz + i, left), part = vf_mul(g, vf_load_upto(w + i, left));
        if (dx)
            vf_add_upto(dx + i, vf_sub(g, part), left);
        if (dy)
            vf_add_upto(dy + i, part, left);
        if (dw) {
            const vf d = vf_sub(vf_load_upto(y + i, left), vf_load_upto(x + i, left));
            vf_add_upto(dw + i, vf_mul(g, d), left);
        }
    }
}

static void axpy(int64_t n, double alpha, const void *xp, void *yp)
{
    const float *x = xp;
    float *y = yp;
    const vf a = vf_set1((float)alpha);
    for (int64_t i = 0; i < n; i += VF) {
        const vf sum = vf_fma(a, vf_load_upto(x + i, n - i), vf_load_upto(y + i, n - i));
        vf_store_upto(y + i, sum, n - i);
    }
}

static void scale(int64_t n, double alpha, const void *xp, void *yp)
{
    const float *x = xp;
    float *y = yp;
    const vf a = vf_set1((float)alpha);
    for (int64_t i = 0; i < n; i += VF)
        vf_store_upto(y + i, vf_mul(a, vf_load_upto(x + i, n - i)), n - i);
}

/* Eight partial sums in double: element i goes to i mod 8, then i with i + 4, i + 2, i + 1. */
static inline double v8d_tree(v8d a)
{
    double s[8];
    v8d_store(s, a);
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}
/* The last n < 8 elements, followed by zeros. */
static inline v8d v8d_load_n(const float *x, int64_t n)
{
    float last[8] = {0.0f};
    memcpy(last, x, (size_t)n * sizeof *x);
    return v8d_load(last);
}

static double sum(int64_t n, const void *xp)
{
    const float *x = xp;
    v8d s = v8d_zero();
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        s = v8d_add(s, v8d_load(x + i));
    if (i < n)
        s = v8d_add(s, v8d_load_n(x + i, n - i));
    return v8d_tree(s);
}

static double sum_squares(int64_t n, const void *xp)
{
    const float *x = xp;
    v8d s = v8d_zero();
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const v8d v = v8d_load(x + i);
        s = v8d_fma(v, v, s);
    }
    if (i < n) {
        const v8d v = v8d_load_n(x + i, n - i);
        s = v8d_fma(v, v, s);
    }
    return v8d_tree(s);
}

static void add_rows(int64_t rows, int64_t n, int64_t ld, const void *xp, void *outp)
{
    const float *x = xp;
    float *out = outp;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < n; c += VF)
            vf_add_upto(out + c, vf_load_upto(x + r * ld + c, n - c), n - c);
}

/* Up to VF elements of 16 bits at p, of which left > 0 remain. */
static inline vf load_half(const uint16_t *p, rk_dtype from, int64_t left)
{
    uint16_t last[VF] = {0};
    if (left < VF)
        p = memcpy(last, p, (size_t)left * sizeof *p);
    return from == RK_BF16 ? vf_load_bf16(p) : vf_load_f16(p);
}

static void widen(int64_t n, const void *xp, rk_dtype from, void *yp)
{
    float *y = yp;
    if (from == RK_F32) {
        memcpy(y, xp, (size_t)n * sizeof *y);
    } else if (from == RK_F64) {
        for (int64_t i = 0; i < n; i++)
            y[i] = (float)((const double *)xp)[i];
    } else {
        const uint16_t *x = xp;
        for (int64_t i = 0; i < n; i += VF)
            vf_store_upto(y + i, load_half(x + i, from, n - i), n - i);
    }
}

static inline void store_half(uint16_t *p, rk_dtype to, vf x, int64_t left)
{
    uint16_t last[VF] = {0}, *at = left < VF ? last : p;
    if (to == RK_BF16)
        vf_store_bf16(at, x);
    else
        vf_store_f16(at, x);
    if (left < VF)
        memcpy(p, last, (size_t)left * sizeof *p);
}

static void narrow(int64_t n, const void *xp, void *yp, rk_dtype to)
{
    const float *x = xp;
    if (to == RK_F32) {
        memcpy(yp, x, (size_t)n * sizeof *x);
    } else if (to == RK_F64) {
        for (int64_t i = 0; i < n; i++)
            ((double *)yp)[i] = (double)x[i];
    } else {
        uint16_t *y = yp;
        for (int64_t i = 0; i < n; i += VF)
            store_half(y + i, to, vf_load_upto(x + i, n - i), n - i);
    }
}
