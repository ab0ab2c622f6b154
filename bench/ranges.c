/* ranges.c: what a product with a square matrix of bytes with ranges costs, as a ratio to the same in f16, in turns
 * in one run. Matrices follow one another, so that weights come from memory.
 *
 *   build/bench_ranges [channels tokens MiB rounds threads]      (1024 1 256 31 1)
 *
 * MiB of the f16 matrices; tokens of a call: up to 16 are the short class of forwards, more the long one. */
#include "kernels/ranges.h"
#include "forms.h"

enum { MATRICES_MAX = 1024 };

typedef struct pair {
    rk_tensor half, bytes;
    rk_ranges ranges;
} pair;

typedef struct matrices {
    int64_t n;
    pair pairs[MATRICES_MAX];
} matrices;

/* The same numbers in both types. */
static void begin(pair *p, uint64_t seed, int64_t c)
{
    const int64_t dims[2] = {c, c};
    float *w = forms_take(c * c, sizeof *w), *side = forms_take(4 * c, sizeof *side);
    uint16_t *half = forms_take(c * c, sizeof *half);
    uint8_t *q = forms_take(c * c, 1);
    for (int64_t i = 0; i < c * c; i++) {
        w[i] = forms_random(seed, i) / (float)c;
        half[i] = rk_f32_to_f16(w[i]);
    }
    rk_ranges_narrow(c, c, w, side, side + c, side + 2 * c, side + 3 * c, q);
    p->ranges = (rk_ranges){side, side + c, side + 2 * c, side + 3 * c};
    p->half = rk_tensor_over(RK_F16, 2, dims, half);
    p->bytes = rk_tensor_over(RK_RANGED, 2, dims, q);
    p->bytes.ranges = &p->ranges;
    free(w);
}

static void products(rk_ctx *ctx, void *user, int form, rk_tensor *x)
{
    matrices *m = user;
    for (int64_t i = 0; i < m->n; i++)
        rk_linear(ctx, x, rk_weight_of(form ? &m->pairs[i].bytes : &m->pairs[i].half, RK_OUT_IN),
                  NULL);
}

int main(int argc, char **argv)
{
    static matrices m;
    double args[] = {1024, 1, 256, 31, 1};
    for (int i = 1; i < argc && i <= (int)RK_COUNT(args); i++)
        args[i - 1] = atof(argv[i]);
    const int64_t c = (int64_t)args[0], tokens = (int64_t)args[1];
    m.n = rk_min_i64(rk_max_i64((int64_t)(args[2] * 524288) / (c * c), 1), MATRICES_MAX);
    for (int64_t i = 0; i < m.n; i++)
        begin(&m.pairs[i], (uint64_t)i + 1, c);
    forms_bench b = {.run = products,
                     .user = &m,
                     .dims = {tokens, c},
                     .long_class = tokens > 16,
                     .rounds = (int64_t)args[3]};
    const char *kernels = forms_run(&b, (int)args[4]);
    printf(
        "C %d, %d tokens, %s, %d threads: f16 %.4f ms a matrix, bytes with ranges %.4f ms: %.3f x "
        "(%.3f to %.3f in the middle half)\n",
        (int)c, (int)tokens, kernels, (int)args[4], 1e3 * b.of[0] / (double)m.n,
        1e3 * b.of[1] / (double)m.n, b.ratio, b.low, b.high);
    for (int64_t i = 0; i < m.n; i++) {
        free(m.pairs[i].half.data);
        free(m.pairs[i].bytes.data);
        free((void *)(uintptr_t)m.pairs[i].ranges.mx);
    }
    return 0;
}
