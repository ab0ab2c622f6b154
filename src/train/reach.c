/* reach.c: gradients by the embeddings of a window, each position's own.
 *
 * The table of embeddings is replaced by one of the window's rows, of which
 * token t is number t: its gradient is then that by each position, from one
 * backward pass, and no architecture knows of it. */
#include "train/reach.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "tensor/ops.h"
#include "train/base.h"

/* The one table that tokens are looked up in; NULL: there are others. */
static rk_param *table_of(const rk_model *m)
{
    rk_param *found = NULL;
    for (int64_t i = 0; i < m->n_params; i++) {
        if (!rk_param_is_table(&m->params[i]))
            continue;
        if (found)
            return NULL;
        found = &m->params[i];
    }
    return found;
}

static rk_tensor *ids(rk_ctx *ctx, int64_t n, int32_t first)
{
    rk_tensor *t = rk_new(ctx, RK_I32, 2, (const int64_t[]){1, n});
    for (int64_t i = 0; t && i < n; i++)
        ((int32_t *)t->data)[i] = first + (int32_t)i;
    return t;
}

/* The loss of `target` behind the whole window. */
static rk_tensor *loss_of(rk_ctx *ctx, const rk_model *m, rk_tensor *head, int64_t n,
                          int32_t target)
{
    rk_tensor **state =
        rk_arena_alloc(&ctx->meta, (size_t)(m->state.n_parts + 1) * sizeof(rk_tensor *));
    if (!state) {
        rk_ctx_fail(ctx, RK_ERR_NOMEM, "out of memory for a state");
        return NULL;
    }
    rk_model_new_state(ctx, m, RK_F32, 1, state);
    rk_forward f = {.in = {ids(ctx, n, 0)}, .state = state};
    rk_tensor *hidden = rk_model_forward(ctx, m, &f);
    if (!hidden)
        return NULL;
    rk_tensor *last = rk_copy(ctx, rk_slice(ctx, hidden, 1, n - 1, n));
    return rk_sum(ctx, rk_cross_entropy(ctx, last, head, ids(ctx, 1, target), 0.0));
}

static void lengths(const float *grad, int64_t n, int64_t width, double *norms)
{
    for (int64_t t = 0; t < n; t++) {
        double sum = 0;
        for (int64_t c = 0; c < width; c++)
            sum += (double)grad[t * width + c] * (double)grad[t * width + c];
        norms[n - 1 - t] = sqrt(sum);
    }
}

static rk_status measure(rk_model *m, rk_engine *e, rk_param *p, rk_tensor *head, int64_t n,
                         int32_t target, double *norms, rk_error *err)
{
    rk_ctx ctx;
    const rk_ctx_params cp = {.kernels = rk_engine_kernels(e),
                              .pool = rk_engine_pool(e),
                              .abort = rk_engine_abort_flag(e),
                              .data_kind = RK_ARENA_GROWING};
    rk_status st = rk_ctx_init(&ctx, &cp, err);
    if (st != RK_OK)
        return st;
    ctx.recording = ctx.long_class = true;
    rk_tensor *loss = loss_of(&ctx, m, head, n, target);
    if (loss)
        rk_backward(&ctx, loss, 1.0);
    st = rk_ctx_status(&ctx, err);
    if (st == RK_OK)
        lengths(rk_grad(&ctx, &p->tensor), n, p->tensor.dims[1], norms);
    rk_ctx_deinit(&ctx);
    return st;
}

rk_status rk_reach_measure(rk_model *m, rk_engine *e, const int32_t *tokens, int64_t n,
                           double *norms, rk_error *err)
{
    rk_param *p = table_of(m);
    if (!p)
        return rk_fail(err, RK_ERR_UNSUPPORTED,
                       "%s models look tokens up in several tables, whose "
                       "gradients by position are "
                       "not measured here",
                       m->arch->name);
    const rk_status head_st = rk_base_check_head(m, err);
    if (head_st != RK_OK)
        return head_st;
    rk_tensor whole = p->tensor;
    const int64_t dims[] = {n, whole.dims[1]};
    float *rows = calloc((size_t)n * (size_t)dims[1], sizeof *rows);
    if (!rows)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for %" PRId64 " rows of embeddings", n);
    for (int64_t t = 0; t < n; t++)
        rk_matrix_row(&whole, RK_OUT_IN, tokens[t], rows + t * dims[1]);
    rk_tensor *head = m->head->matrix == &p->tensor ? &whole : m->head->matrix;
    p->tensor = rk_tensor_over(RK_F32, 2, dims, rows);
    p->tensor.requires_grad = true;
    const rk_status st = measure(m, e, p, head, n, tokens[n], norms, err);
    p->tensor = whole;
    free(rows);
    return st;
}
