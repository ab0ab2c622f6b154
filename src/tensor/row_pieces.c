/* row_pieces.c: where pieces of rows lie, and the sum of what they leave. */
#include "tensor/row_pieces.h"

#include "base/num.h"

rk_row_pieces rk_row_pieces_of(int64_t rows, int64_t steps)
{
    rk_row_pieces p = {rows, rk_max_i64(steps, 1), 0, 0};
    p.per_sequence = rk_ceil_div(p.steps, RK_GRAIN_ROWS);
    p.n = rk_ceil_div(rows, p.steps) * p.per_sequence;
    return p;
}

void rk_row_piece_at(const rk_row_pieces *p, int64_t i, int64_t *lo, int64_t *hi)
{
    const int64_t first = i / p->per_sequence * p->steps;
    *lo = first + i % p->per_sequence * RK_GRAIN_ROWS;
    *hi = rk_min_i64(*lo + RK_GRAIN_ROWS, first + p->steps);
}

typedef struct sum_job {
    const rk_kernels *kern;
    const rk_tensor *like;
    int64_t n, width;
    const void *sums;
    void *out;
} sum_job;

static void sum_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const sum_job *j = arg;
    (void)worker;
    j->kern->add_rows(j->n, hi - lo, j->width, rk_at(j->like, j->sums, lo),
                      rk_at(j->like, j->out, lo));
}

void rk_add_pieces(rk_ctx *ctx, const rk_tensor *like, const rk_row_pieces *p, int64_t width,
                   const void *sums, void *out)
{
    sum_job j = {rk_ctx_kernels(ctx, like->dtype), like, p->n, width, sums, out};
    if (out)
        rk_parallel(ctx, width, RK_GRAIN_COLS, sum_piece, &j);
}
