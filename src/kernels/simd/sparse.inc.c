/* sparse.inc.c: products of a sparse channel mix, over vf.
 *
 *   sum_where    an input is kept or is zero by its bit: a few instructions for VF weights of one bit. Tables
 *                with the sums of 8 inputs, one look-up for 8 bits, take k / 8 KiB: from k = 512 on they
 *                are no longer in the first cache.
 *   gather_dot   the sums of gemv_dot, whose bits it has
 *   gather_axpy  one chain of fused multiply-adds over the rows in order; rows are read in groups, so that
 *                an output is loaded and stored once for several of them */

/* The bits of elements [i, i + VF), i a multiple of VF. */
RK_INLINE unsigned bits_at(const uint8_t *row, int64_t i)
{
    if (VF == 4)
        return row[i / 8] >> (i & 4) & 15u;
    return VF == 8 ? row[i / 8] : row[i / 8] | (unsigned)row[i / 8 + 1] << 8;
}

/* Those of the last n < VF. */
RK_INLINE unsigned bits_at_n(const uint8_t *row, int64_t i, int n)
{
    unsigned bits = (unsigned)row[i / 8] >> (i & 7);
    if ((i & 7) + n > 8)
        bits |= (unsigned)row[i / 8 + 1] << 8;
    return bits & ((1u << n) - 1);
}

static void sum_where(int64_t n, int64_t k, const void *x_, const uint8_t *bits, int64_t stride,
                      void *y)
{
    enum { ROWS = 8 };
    const float *x = x_;
    for (int64_t j = 0; j < n; j += ROWS) {
        const uint8_t *row[ROWS];
        vf sum[ROWS];
        float out[ROWS];
        int64_t l = 0;
        for (int b = 0; b < ROWS; b++) {
            row[b] = bits + rk_min_i64(j + b, n - 1) * stride;
            sum[b] = vf_zero();
        }
        for (; l + VF <= k; l += VF) {
            const vf xl = vf_load(x + l);
            for (int b = 0; b < ROWS; b++)
                sum[b] = vf_add(sum[b], vf_keep(xl, bits_at(row[b], l)));
        }
        if (l < k) {
            const vf xl = vf_load_n(x + l, (int)(k - l));
            for (int b = 0; b < ROWS; b++)
                sum[b] = vf_add(sum[b], vf_keep(xl, bits_at_n(row[b], l, (int)(k - l))));
        }
        vf_sum4(sum[0], sum[1], sum[2], sum[3], out);
        vf_sum4(sum[4], sum[5], sum[6], sum[7], out + 4);
        memcpy((float *)y + j, out, (size_t)rk_min_i64(n - j, ROWS) * sizeof *out);
    }
}

/* y[0 .. n) of n <= 4 rows; the last stands for those that are missing. */
RK_INLINE void gather_dot4(int64_t n, int64_t k, const float *x, const void *const *rows,
                           rk_dtype wt, float *y)
{
    const void *row[4];
    vf sum[4];
    float out[4];
    int64_t l = 0;
    for (int b = 0; b < 4; b++) {
        row[b] = rows[rk_min_i64(b, n - 1)];
        sum[b] = vf_zero();
    }
    for (; l + VF <= k; l += VF) {
        const vf xl = vf_load(x + l);
        for (int b = 0; b < 4; b++)
            sum[b] = vf_fma(xl, weights(row[b], wt, l), sum[b]);
    }
    if (l < k) {
        const vf xl = vf_load_n(x + l, (int)(k - l));
        for (int b = 0; b < 4; b++)
            sum[b] = vf_fma(xl, weights_n(row[b], wt, l, (int)(k - l)), sum[b]);
    }
    vf_sum4(sum[0], sum[1], sum[2], sum[3], out);
    memcpy(y, out, (size_t)n * sizeof *y);
}

RK_INLINE void gather_dot_of(int64_t n, int64_t k, const float *x, const void *const *rows,
                             rk_dtype wt, float *y)
{
    for (int64_t j = 0; j < n; j += 4)
        gather_dot4(rk_min_i64(n - j, 4), k, x, rows + j, wt, y + j);
}

static void gather_dot(int64_t n, int64_t k, const void *x, const void *const *rows, rk_dtype wt,
                       void *y)
{
    if (wt == RK_F32)
        gather_dot_of(n, k, x, rows, RK_F32, y);
    else if (wt == RK_BF16)
        gather_dot_of(n, k, x, rows, RK_BF16, y);
    else
        gather_dot_of(n, k, x, rows, RK_F16, y);
}

/* y += the sum of a[b] rows[b], `n` a constant of the caller's. */
RK_INLINE void gather_axpy_group(int n, int64_t k, const float *a, const void *const *rows,
                                 rk_dtype wt, float *y)
{
    int64_t l = 0;
    for (; l + VF <= k; l += VF) {
        vf sum = vf_load(y + l);
        for (int b = 0; b < n; b++)
            sum = vf_fma(vf_set1(a[b]), weights(rows[b], wt, l), sum);
        vf_store(y + l, sum);
    }
    if (l < k) {
        const int last = (int)(k - l);
        vf sum = vf_load_n(y + l, last);
        for (int b = 0; b < n; b++)
            sum = vf_fma(vf_set1(a[b]), weights_n(rows[b], wt, l, last), sum);
        vf_store_n(y + l, sum, last);
    }
}

RK_INLINE void gather_axpy_of(int64_t n, int64_t k, const float *a, const void *const *rows,
                              rk_dtype wt, float *y)
{
    int64_t j = 0;
    for (; j + 8 <= n; j += 8)
        gather_axpy_group(8, k, a + j, rows + j, wt, y);
    for (; j < n; j++)
        gather_axpy_group(1, k, a + j, rows + j, wt, y);
}

static void gather_axpy(int64_t n, int64_t k, const void *a, const void *const *rows, rk_dtype wt,
                        void *y)
{
    if (wt == RK_F32)
        gather_axpy_of(n, k, a, rows, RK_F32, y);
    else if (wt == RK_BF16)
        gather_axpy_of(n, k, a, rows, RK_BF16, y);
    else
        gather_axpy_of(n, k, a, rows, RK_F16, y);
}
