/* loss.inc.c: cross-entropy over a block of the vocabulary, row by row.
 *
 * The sum of a row's block is taken in vectors and handed to the double sum every CE_CHUNK columns:
 * 65,536 terms in one float chain would lose three digits. */

enum { CE_CHUNK = 64 * VF };

/* The first column of x that equals max; n when none does (NaN). */
static inline int64_t first_equal(int64_t n, const float *x, float max)
{
    int64_t i = 0;
    for (; i + VF <= n; i += VF) {
        const unsigned hit = vm_bits(vf_eq(vf_load(x + i), vf_set1(max)));
        if (hit)
            return i + __builtin_ctz(hit);
    }
    while (i < n && x[i] != max)
        i++;
    return i;
}

/* Sum of e^(x - max); zeros past the end of a row must not count, hence -inf there. */
static inline double sum_exp(int64_t n, const float *x, float max)
{
    double total = 0.0;
    for (int64_t c = 0; c < n; c += CE_CHUNK) {
        const int64_t end = rk_min_i64(n, c + CE_CHUNK);
        vf s = vf_zero();
        for (int64_t i = c; i < end; i += VF) {
            float last[VF];
            const float *from = x + i;
            if (end - i < VF) {
                vf_store(last, vf_set1(-INFINITY));
                from = memcpy(last, from, (size_t)(end - i) * sizeof *x);
            }
            s = vf_add(s, vf_exp(vf_sub(vf_load(from), vf_set1(max))));
        }
        total += (double)vf_sum(s);
    }
    return total;
}

static void ce_block(int64_t rows, int64_t n, int64_t ld, int64_t col0, const void *logits,
                     const int32_t *targets, rk_ce_row *row)
{
    for (int64_t r = 0; r < rows; r++) {
        const float *x = (const float *)logits + r * ld;
        const float max = row_max(n, x);
        if ((double)max > row[r].max) {
            row[r].sum *= exp(row[r].max - (double)max);
            row[r].max = (double)max;
            row[r].argmax = col0 + first_equal(n, x, max);
        }
        row[r].sum += sum_exp(n, x, (float)row[r].max);
        if (targets[r] >= col0 && targets[r] < col0 + n)
            row[r].target = (double)x[targets[r] - col0];
    }
}

/* e^(x - lse) is computed as e^(x - max) / sum: lse itself, rounded to float, would cost a digit.
 */
static void ce_grad(int64_t rows, int64_t n, int64_t ld, int64_t col0, void *logits,
                    const int32_t *targets, const rk_ce_row *row, double scale_by, double l2wrap)
{
    for (int64_t r = 0; r < rows; r++) {
        float *x = (float *)logits + r * ld;
        if (targets[r] < 0) {
            memset(x, 0, (size_t)n * sizeof *x);
            continue;
        }
        const vf max = vf_set1((float)row[r].max), f = vf_set1((float)(scale_by / row[r].sum));
        for (int64_t i = 0; i < n; i += VF) {
            const vf e = vf_exp(vf_sub(vf_load_upto(x + i, n - i), max));
            vf_store_upto(x + i, vf_mul(e, f), n - i);
        }
        const int64_t target = targets[r] - col0, top = row[r].argmax - col0;
        if (target >= 0 && target < n)
            x[target] -= (float)scale_by;
        if (top >= 0 && top < n)
            x[top] += (float)(scale_by * l2wrap * row[r].max);
    }
}
