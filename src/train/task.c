/* task.c: the table of tasks, and batches of any task's examples. */
#include "train/task.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/num.h"
#include "train/task_distill.h"
#include "train/task_dpo.h"
#include "train/task_next.h"
#include "train/task_observer.h"
#include "train/task_synthetic.h"
#include "train/task_test_time.h"

/* Options that tasks have no use for. */
static const char *const not_of_align[] = {"l2wrap", "dropout", NULL};
static const char *const not_of_distill[] = {"l2wrap", NULL};
static const char *const not_of_dpo[] = {"l2wrap",       "order",       "packing",
                                         "doc-boundary", "data-weight", NULL};
static const char *const not_of_samples[] = {"val-frac",     "order",       "packing",
                                             "doc-boundary", "data-weight", NULL};

const rk_task_kind rk_task_kinds[] = {
    {"next-token", rk_next_token_open, NULL, NULL},
    {"align", rk_distill_open, NULL, not_of_align},
    {"distill", rk_distill_open, NULL, not_of_distill},
    {"dpo", rk_dpo_open, NULL, not_of_dpo},
    {"mqar", rk_synthetic_open, &rk_gen_mqar, not_of_samples},
    {"mqar-filler", rk_synthetic_open, &rk_gen_mqar_filler, not_of_samples},
    {"needle", rk_synthetic_open, &rk_gen_needle, not_of_samples},
    {"retrieval", rk_synthetic_open, &rk_gen_retrieval, not_of_samples},
    {"two-hop", rk_synthetic_open, &rk_gen_two_hop, not_of_samples},
    {"swap", rk_synthetic_open, &rk_gen_swap, not_of_samples},
    {"parity", rk_synthetic_open, &rk_gen_parity, not_of_samples},
    {"s3", rk_synthetic_open, &rk_gen_s3, not_of_samples},
    {"a5", rk_synthetic_open, &rk_gen_a5, not_of_samples},
    {"s5", rk_synthetic_open, &rk_gen_s5, not_of_samples},
    {"copy", rk_synthetic_open, &rk_gen_copy, not_of_samples},
    {"sort", rk_synthetic_open, &rk_gen_sort, not_of_samples},
    {"reverse", rk_synthetic_open, &rk_gen_reverse, not_of_samples},
    {"addition", rk_synthetic_open, &rk_gen_addition, not_of_samples},
    {"longbit", rk_synthetic_open, &rk_gen_longbit, not_of_samples},
    {"classify", rk_synthetic_open, &rk_gen_classify, not_of_samples},
    {"switched", rk_synthetic_open, &rk_gen_switched, not_of_samples},
    {"topic", rk_synthetic_open, &rk_gen_topic, not_of_samples},
    {"othello", rk_synthetic_open, &rk_gen_othello, not_of_samples},
    {"sudoku4", rk_synthetic_open, &rk_gen_sudoku4, not_of_samples},
    {"observer", rk_observer_open, NULL, not_of_distill},
    {"test-time", rk_test_time_open, NULL, NULL},
};
const int rk_n_task_kinds = RK_COUNT(rk_task_kinds);

const rk_task_kind *rk_task_find(const char *name)
{
    for (int i = 0; i < rk_n_task_kinds; i++)
        if (!strcmp(rk_task_kinds[i].name, name))
            return &rk_task_kinds[i];
    return NULL;
}

rk_status rk_task_choose(const rk_task_kind **out, const char *name, rk_error *err)
{
    rk_buf b = {0};
    *out = rk_task_find(name);
    if (*out)
        return RK_OK;
    for (int i = 0; i < rk_n_task_kinds; i++)
        rk_buf_printf(&b, "%s%s", i ? ", " : "", rk_task_kinds[i].name);
    const rk_status st = rk_fail(err, RK_ERR_ARG, "no task '%.40s'; there are %s", name,
                                 b.failed ? "others" : b.data);
    rk_buf_deinit(&b);
    return st;
}

void rk_task_close(rk_task *t)
{
    if (t && t->close)
        t->close(t);
}

/* ---- batches ---- */

static size_t field_bytes(const rk_field *f)
{
    size_t bytes = rk_dtype_bytes(f->dtype);
    for (int d = 0; d < f->n_dims; d++)
        bytes *= (size_t)f->dims[d];
    return bytes;
}

size_t rk_batch_bytes(const rk_task *t, int64_t n)
{
    size_t bytes = 0;
    for (int i = 0; i < t->n_fields; i++)
        bytes += (size_t)n * field_bytes(&t->fields[i]);
    return bytes;
}

rk_status rk_batch_init(rk_batch *b, const rk_task *t, int64_t n, rk_error *err)
{
    *b = (rk_batch){0};
    for (int i = 0; i < t->n_fields; i++) {
        b->fields[i] = calloc((size_t)n, field_bytes(&t->fields[i]));
        if (!b->fields[i]) {
            rk_batch_deinit(b);
            return rk_fail(err, RK_ERR_NOMEM, "out of memory for a batch of %s", t->unit);
        }
    }
    return RK_OK;
}

void rk_batch_deinit(rk_batch *b)
{
    for (int i = 0; i < RK_TASK_FIELDS_MAX; i++)
        free(b->fields[i]);
    *b = (rk_batch){0};
}

void rk_batch_at(const rk_batch *b, const rk_task *t, int64_t i, void **fields)
{
    for (int f = 0; f < t->n_fields; f++)
        fields[f] = (char *)b->fields[f] + (size_t)i * field_bytes(&t->fields[f]);
}

int64_t rk_batch_counted(const rk_batch *b, const rk_task *t, int64_t n)
{
    int64_t sum = t->counted ? 0 : n * t->n_losses;
    for (int64_t i = 0; t->counted && i < n; i++) {
        void *at[RK_TASK_FIELDS_MAX];
        rk_batch_at(b, t, i, at);
        sum += t->counted(t, at);
    }
    return sum;
}

void rk_batch_tensors(rk_ctx *ctx, const rk_batch *b, const rk_task *t, int64_t first, int64_t n,
                      rk_tensor **fields)
{
    void *at[RK_TASK_FIELDS_MAX] = {NULL};
    if (b)
        rk_batch_at(b, t, first, at);
    for (int i = 0; i < t->n_fields; i++) {
        const rk_field *f = &t->fields[i];
        int64_t dims[RK_MAX_DIMS] = {n};
        memcpy(dims + 1, f->dims, (size_t)f->n_dims * sizeof *dims);
        fields[i] = rk_arena_alloc(&ctx->meta, sizeof *fields[i]);
        if (!fields[i]) {
            rk_ctx_fail(ctx, RK_ERR_NOMEM, "out of memory for a batch's description");
            return;
        }
        *fields[i] = rk_tensor_over(f->dtype, 1 + f->n_dims, dims, at[i]);
    }
}
