/* norm.inc.c: layer and group norm, L2 normalisation, softmax: rows, and sums along them.
 *
 * The variance is a second pass over the centred values, as in the reference: a row lies in L1, and
 * E[x^2] - E[x]^2 cancels. */

/* Mean and 1 / sqrt(variance + eps) of a row. */
static inline void row_stats(int64_t n, const float *x, double eps, float stats[2])
{
    const float mean = row_sum(n, x) / (float)n;
    const vf m = vf_set1(mean);
    vf s = vf_zero();
    int64_t i = 0;
    for (; i + VF <= n; i += VF) {
        const vf d = vf_sub(vf_load(x + i), m);
        s = vf_fma(d, d, s);
    }
    float squares = vf_sum(s);
    for (; i < n; i++)
        squares = fmaf(x[i] - mean, x[i] - mean, squares);
    stats[0] = mean;
    stats[1] = 1.0f / sqrtf(squares / (float)n + (float)eps);
}

static void norm(int64_t rows, int64_t groups, int64_t n, const void *xp, const void *wp,
                 const void *bp, double eps, void *yp, void *statsp)
{
    for (int64_t r = 0; r < rows * groups; r++) {
        const float *x = (const float *)xp + r * n, *w = (const float *)wp + r % groups * n,
                    *b = (const float *)bp + r % groups * n;
        float *y = (float *)yp + r * n, st[2];
        row_stats(n, x, eps, st);
        for (int64_t i = 0; i < n; i += VF) {
            const int64_t left = n - i;
            const vf d = vf_sub(vf_load_upto(x + i, left), vf_set1(st[0]));
            const vf hat = vf_mul(d, vf_set1(st[1]));
            vf_store_upto(y + i, vf_fma(hat, vf_load_upto(w + i, left), vf_load_upto(b + i, left)),
                          left);
        }
        if (statsp)
            memcpy((float *)statsp + 2 * r, st, sizeof st);
    }
}

/* dx += rstd (g - mean(g) - hat mean(g hat)) with g = dy w, hat = (x - mean) rstd. */
static void norm_bwd_x(int64_t rows, int64_t groups, int64_t n, const void *xp, const void *wp,
                       const void *statsp, const void *dyp, void *dxp)
{
    for (int64_t r = 0; r < rows * groups; r++) {
        const float *x = (const float *)xp + r * n, *w = (const float *)wp + r % groups * n,
                    *dy = (const float *)dyp + r * n, *st = (const float *)statsp + 2 * r;
        float *dx = (float *)dxp + r * n;
        const vf mean = vf_set1(st[0]), rstd = vf_set1(st[1]);
        vf sum_g = vf_zero(), sum_gh = vf_zero();
        for (int64_t i = 0; i < n; i += VF) {
            const vf g = vf_mul(vf_load_upto(dy + i, n - i), vf_load_upto(w + i, n - i));
            const vf hat = vf_mul(vf_sub(vf_load_upto(x + i, n - i), mean), rstd);
            sum_g = vf_add(sum_g, g);
            sum_gh = vf_fma(g, hat, sum_gh);
        }
        const vf mean_g = vf_set1(vf_sum(sum_g) / (float)n);
        const vf mean_gh = vf_set1(vf_sum(sum_gh) / (float)n);
        for (int64_t i = 0; i < n; i += VF) {
            const vf g = vf_mul(vf_load_upto(dy + i, n - i), vf_load_upto(w + i, n - i));
            const vf hat = vf_mul(vf_sub(vf_load_upto(x + i, n - i), mean), rstd);
            const vf d = vf_fnma(hat, mean_gh, vf_sub(g, mean_g));
            vf_store_upto(dx + i, vf_fma(d, rstd, vf_load_upto(dx + i, n - i)), n - i);
        }
    }
}

/* dw and db of the channels [c0, c1), which lie in one group, from one row. */
static inline void norm_row_bwd_w(int64_t c0, int64_t c1, const float *x, const float *st,
                                  const float *dy, float *dw, float *db)
{
    const vf mean = vf_set1(st[0]), rstd = vf_set1(st[1]);
    for (int64_t c = c0; c < c1; c += VF) {
        const vf g = vf_load_upto(dy + c, c1 - c);
        const vf hat = vf_mul(vf_sub(vf_load_upto(x + c, c1 - c), mean), rstd);
        vf_store_upto(dw + c, vf_fma(g, hat, vf_load_upto(dw + c, c1 - c)), c1 - c);
        vf_add_upto(db + c, g, c1 - c);
    }
}

static void norm_bwd_w(int64_t rows, int64_t groups, int64_t n, int64_t c0, int64_t c1,
                       const void *xp, const void *statsp, const void *dyp, void *dw, void *db)
{
    for (int64_t r = 0; r < rows; r++) {
        const float *x = (const float *)xp + r * groups * n,
                    *dy = (const float *)dyp + r * groups * n;
        for (int64_t c = c0, end; c < c1; c = end) {
            end = rk_min_i64(c1, (c / n + 1) * n);
            norm_row_bwd_w(c, end, x, (const float *)statsp + 2 * (r * groups + c / n), dy, dw, db);
        }
    }
}

static void rms_norm(int64_t rows, int64_t n, const void *xp, const void *wp, double eps, void *yp,
                     void *statsp)
{
    const float *w = wp;
    for (int64_t r = 0; r < rows; r++) {
        const float *x = (const float *)xp + r * n;
        float *y = (float *)yp + r * n;
        const float rstd = 1.0f / sqrtf(row_dot(n, x, x) / (float)n + (float)eps);
        for (int64_t i = 0; i < n; i += VF) {
            const vf hat = vf_mul(vf_load_upto(x + i, n - i), vf_set1(rstd));
            vf_store_upto(y + i, vf_mul(hat, vf_load_upto(w + i, n - i)), n - i);
        }
        if (statsp)
            ((float *)statsp)[r] = rstd;
    }
}

/* dx += rstd (g - hat mean(g hat)) with g = dy w, hat = x rstd. */
static void rms_norm_bwd_x(int64_t rows, int64_t n, const void *xp, const void *wp,
                           const void *statsp, const void *dyp, void *dxp)
{
    const float *w = wp;
    for (int64_t r = 0; r < rows; r++) {
        const float *x = (const float *)xp + r * n, *dy = (const float *)dyp + r * n;
        float *dx = (float *)dxp + r * n;
        const vf rstd = vf_set1(((const float *)statsp)[r]);
        vf sum = vf_zero();
        for (int64_t i = 0; i < n; i += VF) {
            const vf g = vf_mul(vf_load_upto(dy + i, n - i), vf_load_upto(w + i, n - i));
            sum = vf_fma(g, vf_mul(vf_load_upto(x + i, n - i), rstd), sum);
        }
        const vf mean = vf_set1(vf_sum(sum) / (float)n);
        for (int64_t i = 0; i < n; i += VF) {
            const vf g = vf_mul(vf_load_upto(dy + i, n - i), vf_load_upto(w + i, n - i));
            const vf d = vf_fnma(vf_mul(vf_load_upto(x + i, n - i), rstd), mean, g);
            vf_store_upto(dx + i, vf_fma(d, rstd, vf_load_upto(dx + i, n - i)), n - i);
        }
    }
}

static void rms_norm_bwd_w(int64_t rows, int64_t n, const void *xp, const void *statsp,
                           const void *dyp, void *dwp)
{
    float *dw = dwp;
    for (int64_t r = 0; r < rows; r++) {
        const float *x = (const float *)xp + r * n, *dy = (const float *)dyp + r * n;
        const vf rstd = vf_set1(((const float *)statsp)[r]);
        for (int64_t i = 0; i < n; i += VF) {
            const vf hat = vf_mul(vf_load_upto(x + i, n - i), rstd);
            vf_store_upto(dw + i,
                          vf_fma(vf_load_upto(dy + i, n - i), hat, vf_load_upto(dw + i, n - i)),
                          n - i);
        }
    }
}

/* 1 / max(|x|, eps). */
static inline float inverse_length(float squares)
{
    return 1.0f / fmaxf(sqrtf(squares), (float)RK_L2_EPS);
}

static void l2norm(int64_t rows, int64_t n, const void *xp, void *yp)
{
    for (int64_t r = 0; r < rows; r++) {
        const float *x = (const float *)xp + r * n;
        float *y = (float *)yp + r * n;
        const vf inv = vf_set1(inverse_length(row_dot(n, x, x)));
        for (int64_t i = 0; i < n; i += VF)
            vf_store_upto(y + i, vf_mul(vf_load_upto(x + i, n - i), inv), n - i);
    }
}

/* dx += (dy - y (y . dy)) / |x|, or dy / eps where the length is held at eps. */
static void l2norm_bwd(int64_t rows, int64_t n, const void *xp, const void *dyp, void *dxp)
{
    for (int64_t r = 0; r < rows; r++) {
        const float *x = (const float *)xp + r * n, *dy = (const float *)dyp + r * n;
        float *dx = (float *)dxp + r * n;
        const float squares = row_dot(n, x, x), inv = inverse_length(squares);
        const bool held = sqrtf(squares) <= (float)RK_L2_EPS;
        const float along = held ? 0.0f : row_dot(n, x, dy) * inv * inv;
        for (int64_t i = 0; i < n; i += VF) {
            const vf d =
                vf_fnma(vf_load_upto(x + i, n - i), vf_set1(along), vf_load_upto(dy + i, n - i));
            const vf old = vf_load_upto(dx + i, n - i);
            vf_store_upto(dx + i, vf_fma(d, vf_set1(inv), old), n - i);
        }
    }
}

static void softmax(int64_t rows, int64_t n, const void *xp, void *yp)
{
    for (int64_t r = 0; r < rows; r++) {
        const float *x = (const float *)xp + r * n;
        float *y = (float *)yp + r * n;
        const vf max = vf_set1(row_max(n, x));
        for (int64_t i = 0; i < n; i += VF)
            vf_store_upto(y + i, vf_exp(vf_sub(vf_load_upto(x + i, n - i), max)), n - i);
        scale(n, (double)(1.0f / row_sum(n, y)), y, y);
    }
}

static void softmax_bwd(int64_t rows, int64_t n, const void *yp, const void *dyp, void *dxp)
{
    for (int64_t r = 0; r < rows; r++) {
        const float *y = (const float *)yp + r * n, *dy = (const float *)dyp + r * n;
        float *dx = (float *)dxp + r * n;
        const vf mean = vf_set1(row_dot(n, y, dy));
        for (int64_t i = 0; i < n; i += VF) {
            const vf d = vf_sub(vf_load_upto(dy + i, n - i), mean);
            const vf old = vf_load_upto(dx + i, n - i);
            vf_store_upto(dx + i, vf_fma(vf_load_upto(y + i, n - i), d, old), n - i);
        }
    }
}
