/* sparse.inc.c: products of a sparse channel mix, over vf.
 *
 *   sum_where    an input is kept or is zero by its bit: a few instructions for VF weights of one bit. Tables
 *                with the sums of 8 inputs, one look-up for 8 bits, take k / 8 KiB: from k = 512 on they
 *                are no longer in the first cache.
 *   gather_dot   the sums of gemv_dot, whose bits it has
 *   gather_axpy  one chain of fused multiply-adds over the rows in order; rows are read in groups, so that
 *                an output is loaded and stored once for several of them */

enum { WORD = 32, SUM_ROWS = 8 };

/* The bits of elements [at, at + n), at a multiple of WORD, n <= WORD. */
RK_INLINE vb word_at(const uint8_t *row, int64_t at, int64_t n)
{
    uint32_t bits = 0;
    memcpy(&bits, row + at / 8, (size_t)(n + 7) / 8); /* in the order of little-endian machines */
    return vb_set(bits);
}

/* sum[b] += those of x (n) whose bits are set. */
RK_INLINE void add_word(int64_t n, const float *x, const uint8_t *const *row, int64_t at, vf *sum)
{
    vb bits[SUM_ROWS];
    for (int b = 0; b < SUM_ROWS; b++)
        bits[b] = word_at(row[b], at, n);
    for (int part = 0; part * VF < n; part++) {
        const int64_t left = n - part * VF;
        const float *from = x + at + part * VF;
        const vf xl = left >= VF ? vf_load(from) : vf_load_n(from, (int)left);
        for (int b = 0; b < SUM_ROWS; b++)
            sum[b] = vf_add(sum[b], vf_keep(xl, bits[b], part));
    }
}

static void sum_where(int64_t n, int64_t k, const void *x, const uint8_t *bits, int64_t stride,
                      void *y)
{
    for (int64_t j = 0; j < n; j += SUM_ROWS) {
        const uint8_t *row[SUM_ROWS];
        vf sum[SUM_ROWS];
        float out[SUM_ROWS];
        int64_t at = 0;
        for (int b = 0; b < SUM_ROWS; b++) {
            row[b] = bits + rk_min_i64(j + b, n - 1) * stride;
            sum[b] = vf_zero();
        }
        for (; at + WORD <= k; at += WORD)
            add_word(WORD, x, row, at, sum);
        if (at < k)
            add_word(k - at, x, row, at, sum);
        vf_sum4(sum[0], sum[1], sum[2], sum[3], out);
        vf_sum4(sum[4], sum[5], sum[6], sum[7], out + 4);
        memcpy((float *)y + j, out, (size_t)rk_min_i64(n - j, SUM_ROWS) * sizeof *out);
    }
}

/* Rows lie anywhere, so the processor does not know which comes next: while one group is computed the next one
 * is fetched, line by line. */
RK_INLINE void fetch_ahead(int n, const void *const *rows, rk_dtype wt, int64_t at)
{
    const int64_t line = wt == RK_F32 ? 16 : 32; /* elements */
    if (at % line == 0)
        for (int b = 0; b < n; b++)
            __builtin_prefetch((const char *)rows[b] + at * (wt == RK_F32 ? 4 : 2));
}

enum { DOT_ROWS = 4, AXPY_ROWS = 8 };

/* y[0 .. n) of n <= DOT_ROWS rows; the last stands for those that are missing. more: rows behind them. */
RK_INLINE void gather_dots(int64_t n, int64_t k, const float *x, const void *const *rows, bool more,
                           rk_dtype wt, float *y)
{
    const void *row[DOT_ROWS];
    vf sum[DOT_ROWS];
    float out[DOT_ROWS];
    int64_t l = 0;
    for (int b = 0; b < DOT_ROWS; b++) {
        row[b] = rows[rk_min_i64(b, n - 1)];
        sum[b] = vf_zero();
    }
    for (; l + VF <= k; l += VF) {
        const vf xl = vf_load(x + l);
        if (more)
            fetch_ahead(DOT_ROWS, rows + DOT_ROWS, wt, l);
        for (int b = 0; b < DOT_ROWS; b++)
            sum[b] = vf_fma(xl, weights(row[b], wt, l), sum[b]);
    }
    if (l < k) {
        const vf xl = vf_load_n(x + l, (int)(k - l));
        for (int b = 0; b < DOT_ROWS; b++)
            sum[b] = vf_fma(xl, weights_n(row[b], wt, l, (int)(k - l)), sum[b]);
    }
    vf_sum4(sum[0], sum[1], sum[2], sum[3], out);
    memcpy(y, out, (size_t)n * sizeof *y);
}

RK_INLINE void gather_dot_of(int64_t n, int64_t k, const float *x, const void *const *rows,
                             rk_dtype wt, float *y)
{
    for (int64_t j = 0; j < n; j += DOT_ROWS)
        gather_dots(rk_min_i64(n - j, DOT_ROWS), k, x, rows + j, j + 2 * DOT_ROWS <= n, wt, y + j);
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
RK_INLINE void gather_axpys(int n, int64_t k, const float *a, const void *const *rows, bool more,
                            rk_dtype wt, float *y)
{
    int64_t l = 0;
    for (; l + VF <= k; l += VF) {
        vf sum = vf_load(y + l);
        if (more)
            fetch_ahead(n, rows + n, wt, l);
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
    for (; j + AXPY_ROWS <= n; j += AXPY_ROWS)
        gather_axpys(AXPY_ROWS, k, a + j, rows + j, j + 2 * AXPY_ROWS <= n, wt, y);
    for (; j < n; j++)
        gather_axpys(1, k, a + j, rows + j, false, wt, y);
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
