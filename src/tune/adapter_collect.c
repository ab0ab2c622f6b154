/* adapter_collect.c: tensors that name the same matrix are brought together by sorting, so that neither
 * their order in the file nor their number matters. */
#include "tune/adapter_collect.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"

/* A tensor and its name taken apart. */
typedef struct entry {
    rk_adapter_name name;
    const rk_file_tensor *t;
} entry;

static int by_name(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    const int order = strcmp(x->name.param, y->name.param);
    return order ? order : (int)x->name.kind - (int)y->name.kind;
}

/* The tensors of one matrix; NULL: not in the file. */
typedef struct group {
    const char *param, *module;
    const rk_file_tensor *of[RK_ADAPTER_KINDS];
} group;

/* ---- values ---- */

/* The (rows, cols) matrices of data are transposed into out. */
static void straighten(const float *data, int64_t n, int64_t rows, int64_t cols, float *out)
{
    for (int64_t m = 0; m < n; m++, data += rows * cols, out += rows * cols)
        for (int64_t r = 0; r < rows; r++)
            for (int64_t c = 0; c < cols; c++)
                out[r * cols + c] = data[c * rows + r];
}

/* All values of a float tensor, in the order of its dimensions. */
static rk_status read_values(const rk_file *f, const rk_file_tensor *t, float *out, rk_error *err)
{
    const int64_t n = rk_file_tensor_count(t);
    float *as_stored = t->exchanged ? malloc((size_t)n * sizeof *as_stored) : out;
    if (!as_stored)
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", rk_file_name(f));
    rk_file_floats(t, 0, n, as_stored);
    if (t->exchanged) {
        const int64_t rows = t->dims[t->n_dims - 2], cols = t->dims[t->n_dims - 1];
        straighten(as_stored, n / (rows * cols), rows, cols, out);
        free(as_stored);
    }
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(out[i]))
            return rk_fail(err, RK_ERR_FORMAT, "%s: tensor '%s' holds a value that is not finite",
                           rk_file_name(f), t->name);
    return RK_OK;
}

static rk_status fail_shape(const rk_file *f, const rk_file_tensor *t, const char *expected,
                            rk_error *err)
{
    char shape[128] = "";
    size_t at = 0;
    for (int d = 0; d < t->n_dims && at < sizeof shape - 24; d++)
        at += (size_t)snprintf(shape + at, sizeof shape - at, "%s%" PRId64, d ? ", " : "",
                               t->dims[d]);
    return rk_fail(err, RK_ERR_FORMAT, "%s: tensor '%s' is (%s) of %s, expected %s",
                   rk_file_name(f), t->name, shape, rk_dtype_name(t->dtype), expected);
}

/* Is it of a float type, with n dimensions of at least 1? */
static bool is_array(const rk_file_tensor *t, int n)
{
    bool ok = rk_file_is_float(t) && t->n_dims == n;
    for (int d = 0; d < n && ok; d++)
        ok = t->dims[d] > 0;
    return ok;
}

/* ---- forms ---- */

static rk_status need(const rk_file *f, const group *g, rk_adapter_kind kind, const char *half,
                      const rk_file_tensor *other, rk_error *err)
{
    return g->of[kind] ? RK_OK
                       : rk_fail(err, RK_ERR_FORMAT, "%s: tensor '%s' is there without its %s",
                                 rk_file_name(f), other->name, half);
}

/* The shape of a pair of A (r, in) and B (out, r). */
static rk_status pair_shape(const rk_file *f, const rk_file_tensor *a, const rk_file_tensor *b,
                            rk_adapter_part *p, rk_error *err)
{
    if (!is_array(a, 2))
        return fail_shape(f, a, "floats (rank, inputs)", err);
    if (!is_array(b, 2))
        return fail_shape(f, b, "floats (outputs, rank)", err);
    if (a->dims[0] != b->dims[1])
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: '%s' has rank %" PRId64 ", its other half rank %" PRId64,
                       rk_file_name(f), a->name, a->dims[0], b->dims[1]);
    p->in = a->dims[1];
    p->out = b->dims[0];
    p->rank = a->dims[0];
    return RK_OK;
}

static rk_status lora_part(const rk_file *f, const group *g, rk_adapter_part *p, rk_error *err)
{
    const rk_file_tensor *a = g->of[RK_ADAPTER_A], *b = g->of[RK_ADAPTER_B];
    const rk_file_tensor *magnitude = g->of[RK_ADAPTER_MAGNITUDE];
    rk_status st = need(f, g, RK_ADAPTER_A, "A", b ? b : magnitude, err);
    if (st == RK_OK)
        st = need(f, g, RK_ADAPTER_B, "B", a, err);
    if (st == RK_OK)
        st = pair_shape(f, a, b, p, err);
    if (st == RK_OK && magnitude &&
        (!rk_file_is_float(magnitude) || rk_file_tensor_count(magnitude) != p->out))
        st = fail_shape(f, magnitude, "a float for each output", err);
    p->form = magnitude ? RK_PART_DORA : RK_PART_LORA;
    return st;
}

static rk_status block_part(const rk_file *f, const rk_file_tensor *t,
                            const rk_adapter_collecting *how, rk_adapter_part *p, rk_error *err)
{
    if (is_array(t, 2)) {
        p->form = RK_PART_MISS;
        p->rank = t->dims[0];
        p->width = t->dims[1];
        p->out = how->mini ? 0 : p->width;
        return RK_OK;
    }
    int64_t size = 0;
    if (!is_array(t, 3) || t->dims[1] != t->dims[2] ||
        !rk_mul_i64_ok(t->dims[0], t->dims[1], &size))
        return fail_shape(f, t, "floats (rank, outputs) or (blocks, rank, rank)", err);
    p->form = how->blocks;
    p->rank = t->dims[1];
    *(how->blocks == RK_PART_BAT_IN ? &p->in : &p->out) = size;
    return RK_OK;
}

/* What the tensors of one matrix are; the part's name and sizes. */
static rk_status describe(const rk_file *f, const group *g, const rk_adapter_collecting *how,
                          rk_adapter_part *p, rk_error *err)
{
    const rk_file_tensor *block = g->of[RK_ADAPTER_BLOCK];
    *p = (rk_adapter_part){.scale = 1};
    snprintf(p->name, sizeof p->name, "%s", g->param);
    if (!block)
        return lora_part(f, g, p, err);
    if (g->of[RK_ADAPTER_A] || g->of[RK_ADAPTER_B] || g->of[RK_ADAPTER_MAGNITUDE])
        return rk_fail(err, RK_ERR_FORMAT, "%s: '%s' has two adapters, one of them in '%s'",
                       rk_file_name(f), g->param, block->name);
    return block_part(f, block, how, p, err);
}

/* ---- a group of tensors as part of the set ---- */

static rk_status add_part(rk_adapter_set *s, const rk_file *f, const group *g,
                          const rk_adapter_collecting *how, rk_error *err)
{
    const rk_file_tensor *lora[] = {g->of[RK_ADAPTER_A], g->of[RK_ADAPTER_B],
                                    g->of[RK_ADAPTER_MAGNITUDE]};
    const rk_file_tensor *const *from = g->of[RK_ADAPTER_BLOCK] ? &g->of[RK_ADAPTER_BLOCK] : lora;
    rk_adapter_part described, *p = NULL;
    rk_status st = describe(f, g, how, &described, err);
    if (st == RK_OK)
        st = rk_adapter_set_add(s, &described, &p, err);
    for (int i = 0; st == RK_OK && i < rk_forms[p->form].n_tensors; i++)
        st = read_values(f, from[i], p->tensors[i], err);
    return st == RK_OK && how->settle ? how->settle(how->user, p, g->module, err) : st;
}

/* p: of the same matrix; NULL: there is none. */
static rk_status add_start(rk_adapter_part *p, const rk_file *f, const group *g, rk_error *err)
{
    const rk_file_tensor *a = g->of[RK_ADAPTER_START_A], *b = g->of[RK_ADAPTER_START_B];
    rk_adapter_part shape = {0};
    rk_status st = need(f, g, RK_ADAPTER_START_A, "A", b, err);
    if (st == RK_OK)
        st = need(f, g, RK_ADAPTER_START_B, "B", a, err);
    if (st == RK_OK)
        st = pair_shape(f, a, b, &shape, err);
    if (st == RK_OK && (!p || p->form != RK_PART_LORA || p->in != shape.in || p->out != shape.out ||
                        p->rank != shape.rank))
        st = rk_fail(err, RK_ERR_FORMAT, "%s: '%s' is the start of no LoRA of its shape",
                     rk_file_name(f), a->name);
    if (st == RK_OK)
        st = rk_part_make_start(p, err);
    if (st == RK_OK)
        st = read_values(f, a, p->start[0], err);
    return st == RK_OK ? read_values(f, b, p->start[1], err) : st;
}

static rk_status add_whole(rk_adapter_set *s, const rk_file *f, const group *g,
                           const rk_adapter_collecting *how, rk_error *err)
{
    const rk_file_tensor *t = g->of[RK_ADAPTER_WHOLE];
    rk_adapter_whole *w = NULL;
    if (!how->whole)
        return rk_fail(err, RK_ERR_UNSUPPORTED, "%s: tensor '%s' is no part of an adapter",
                       rk_file_name(f), t->name);
    if (t->n_dims > RK_MAX_DIMS || !is_array(t, t->n_dims))
        return fail_shape(f, t, "floats in at most 5 dimensions", err);
    const rk_status st = rk_adapter_set_add_whole(s, g->param, t->n_dims, t->dims, &w, err);
    return st == RK_OK ? read_values(f, t, w->data, err) : st;
}

static rk_status add_group(rk_adapter_set *s, const rk_file *f, const group *g,
                           const rk_adapter_collecting *how, rk_error *err)
{
    const bool start = g->of[RK_ADAPTER_START_A] || g->of[RK_ADAPTER_START_B];
    bool part = false;
    for (int kind = RK_ADAPTER_A; kind <= RK_ADAPTER_BLOCK; kind++)
        part = part || g->of[kind];
    rk_status st = part ? add_part(s, f, g, how, err) : RK_OK;
    if (st == RK_OK && start)
        st = add_start(part ? &s->parts[s->n_parts - 1] : NULL, f, g, err);
    return st == RK_OK && g->of[RK_ADAPTER_WHOLE] ? add_whole(s, f, g, how, err) : st;
}

/* ---- a file ---- */

static rk_status read_names(entry *e, const rk_file *f, const rk_adapter_collecting *how,
                            rk_error *err)
{
    rk_status st = RK_OK;
    for (int64_t i = 0; i < rk_file_count(f) && st == RK_OK; i++) {
        e[i].t = rk_file_at(f, i);
        st = rk_adapter_name_read(&e[i].name, e[i].t->name, how->gguf, rk_file_name(f), err);
        if (how->starts && e[i].name.kind >= RK_ADAPTER_START_A &&
            e[i].name.kind <= RK_ADAPTER_START_B)
            e[i].name.kind = e[i].name.kind == RK_ADAPTER_START_A ? RK_ADAPTER_A : RK_ADAPTER_B;
    }
    return st;
}

/* Entries from `first` on that name one matrix; returns how many. */
static int64_t gather(const entry *e, int64_t n, group *g)
{
    int64_t i = 0;
    *g = (group){.param = e->name.param, .module = e->name.module};
    for (; i < n && !strcmp(e[i].name.param, g->param); i++)
        g->of[e[i].name.kind] = e[i].t;
    return i;
}

static rk_status check_twice(const entry *e, int64_t n, const rk_file *f, rk_error *err)
{
    for (int64_t i = 1; i < n; i++)
        if (by_name(&e[i - 1], &e[i]) == 0)
            return rk_fail(err, RK_ERR_FORMAT, "%s: tensors '%s' and '%s' are the same of '%s'",
                           rk_file_name(f), e[i - 1].t->name, e[i].t->name, e[i].name.param);
    return RK_OK;
}

rk_status rk_adapter_collect(rk_adapter_set *s, const rk_file *f, const rk_adapter_collecting *how,
                             rk_error *err)
{
    const int64_t n = rk_file_count(f);
    entry *e = calloc((size_t)n + 1, sizeof *e);
    group g;
    rk_status st = e ? read_names(e, f, how, err)
                     : rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", rk_file_name(f));
    if (st == RK_OK) {
        qsort(e, (size_t)n, sizeof *e, by_name);
        st = check_twice(e, n, f, err);
    }
    for (int64_t i = 0; i < n && st == RK_OK;) {
        i += gather(e + i, n - i, &g);
        st = add_group(s, f, &g, how, err);
    }
    free(e);
    return st == RK_OK ? rk_file_check(f, err) : st;
}

/* ---- starts ---- */

rk_status rk_adapter_take_start(rk_adapter_set *s, const rk_adapter_set *from, const char *name,
                                rk_error *err)
{
    rk_status st = RK_OK;
    if (s->n_parts != from->n_parts)
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: the start of %" PRId64 " matrices, the adapter has %" PRId64, name,
                       from->n_parts, s->n_parts);
    for (int64_t i = 0; i < s->n_parts && st == RK_OK; i++) {
        rk_adapter_part *p = &s->parts[i];
        const rk_adapter_part *q = &from->parts[i];
        if (strcmp(p->name, q->name) != 0 || p->form != RK_PART_LORA || q->form != RK_PART_LORA ||
            p->in != q->in || p->out != q->out || p->rank != q->rank)
            return rk_fail(err, RK_ERR_FORMAT, "%s: no start for '%s' of rank %" PRId64, name,
                           p->name, p->rank);
        st = rk_part_make_start(p, err);
        for (int t = 0; t < 2 && st == RK_OK; t++)
            memcpy(p->start[t], q->tensors[t], (size_t)rk_part_count(p, t) * sizeof(float));
    }
    return st;
}

/* Columns [from, from + n) of x (rows, all), times sign. */
static void copy_columns(const float *x, int64_t rows, int64_t all, int64_t from, int64_t n,
                         float sign, float *out)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < n; c++)
            out[r * n + c] = sign * x[r * all + from + c];
}

rk_status rk_adapter_unstack(rk_adapter_part *p, const char *name, rk_error *err)
{
    const int64_t r = p->rank / 2;
    float *const a = p->tensors[0], *const b = p->tensors[1];
    if (p->form != RK_PART_LORA || p->rank % 2 != 0)
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: '%s' has rank %" PRId64 ", expected a trained pair beside its start",
                       name, p->name, p->rank);
    float *trained = malloc((size_t)(p->out * r) * sizeof *trained);
    p->rank = r;
    if (!trained || rk_part_make_start(p, err) != RK_OK) {
        free(trained);
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", name);
    }
    memcpy(p->start[0], a + r * p->in, (size_t)(r * p->in) * sizeof *a);
    copy_columns(b, p->out, 2 * r, 0, r, 1.0f, trained);
    copy_columns(b, p->out, 2 * r, r, r, -1.0f, p->start[1]);
    free(b);
    p->tensors[1] = trained;
    return RK_OK;
}
