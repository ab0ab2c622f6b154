/* examples.c: forward and backward passes over examples of a batch: the model's inputs are found among
 * the task's fields, its outputs are given to the task, whose losses are added up in order. */
#include "train/examples.h"

#include <string.h>

static rk_tensor **first_state(rk_ctx *ctx, const rk_model *m, int64_t batch)
{
    const int n = m->state.n_parts;
    rk_tensor **state = rk_arena_alloc(&ctx->meta, (size_t)n * sizeof(rk_tensor *));
    if (!state) {
        rk_ctx_fail(ctx, RK_ERR_NOMEM, "out of memory for a state's description");
        return NULL;
    }
    rk_model_new_state(ctx, m, RK_F32, batch, state);
    return state;
}

/* The field of this name; NULL when there is none. */
static rk_tensor *find_field(const rk_task *t, rk_tensor *const *fields, const char *name)
{
    for (int i = 0; i < t->n_fields; i++)
        if (!strcmp(t->fields[i].name, name))
            return fields[i];
    return NULL;
}

/* The field that bears the name of an input; NULL and the sentence when there is none. */
static rk_tensor *input_named(rk_ctx *ctx, const rk_examples *j, const char *name,
                              rk_tensor **fields)
{
    rk_tensor *field = find_field(j->task, fields, name);
    if (!field)
        rk_ctx_fail(ctx, RK_ERR_ARG, "the task %s has no '%s', which an %s model takes",
                    j->task->name, name, j->model->arch->name);
    return field;
}

/* Losses of examples [first, first + n) of the batch. */
static rk_tensor *losses(rk_ctx *ctx, const rk_examples *j, int64_t first, int64_t n,
                         double *metrics)
{
    const rk_model *m = j->model;
    rk_tensor *fields[RK_TASK_FIELDS_MAX];
    ctx->long_class = true;
    ctx->round_bf16 = j->p->bf16;
    ctx->seed = j->p->seed;
    rk_batch_tensors(ctx, j->batch, j->task, first, n, fields);
    ctx->adapting = m->adapting;
    ctx->begins = find_field(j->task, fields, "begins");
    rk_forward f = {.dropout = j->p->dropout,
                    .recompute = j->p->checkpoint_blocks,
                    .detached = j->task->detached,
                    .drop_rows = true};
    for (int i = 0; i < m->arch->n_inputs && !rk_ctx_failed(ctx); i++)
        f.in[i] = input_named(ctx, j, m->arch->inputs[i].name, fields);
    if (!rk_ctx_failed(ctx))
        f.state = first_state(ctx, m, n);
    if (rk_ctx_failed(ctx) || (!j->task->runs_model && !rk_model_forward(ctx, m, &f)))
        return NULL;
    const rk_pass pass = {.model = m,
                          .fields = fields,
                          .out = f.out,
                          .state = f.state,
                          .recompute = j->p->checkpoint_blocks,
                          .dropout = j->p->dropout,
                          .share = j->share,
                          .metrics = j->batch ? metrics : NULL};
    return j->task->losses(ctx, j->task, &pass);
}

static void add_losses(const rk_tensor *losses, double *sum)
{
    for (int64_t i = 0; losses && i < rk_tensor_count(losses); i++)
        *sum += (double)((const float *)losses->data)[i];
}

void rk_examples_forward(rk_ctx *ctx, const rk_examples *j, int64_t first, int64_t n,
                         rk_example_sums *to)
{
    const rk_tensor *nll = losses(ctx, j, first, n, to->metrics);
    if (!ctx->planning)
        add_losses(nll, &to->loss);
}

void rk_examples_backward(rk_ctx *ctx, const rk_examples *j, int64_t first, int64_t n,
                          rk_example_sums *to)
{
    ctx->recording = true;
    rk_tensor *nll = losses(ctx, j, first, n, to->metrics);
    if (!ctx->planning)
        add_losses(nll, &to->loss);
    if (nll)
        rk_backward(ctx, nll, j->share);
    ctx->recording = false;
}

rk_aside rk_step_aside(rk_ctx *ctx)
{
    const rk_aside was = {ctx->recording, ctx->adapting, ctx->watch};
    ctx->recording = false;
    ctx->adapting = NULL;
    ctx->watch = NULL;
    return was;
}

void rk_come_back(rk_ctx *ctx, rk_aside was)
{
    ctx->recording = was.recording;
    ctx->adapting = was.adapting;
    ctx->watch = was.watch;
}
