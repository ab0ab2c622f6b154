/* attach.c: adapters as parameters of a model that is trained. */
#include "tune/attach.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/adaptable.h"

static const rk_param_spec trained_spec = {
    .name = "adapter", .role = RK_ROLE_ADAPTER, .scope = RK_SCOPE_LAYER, .lr_scale = 1};
static const rk_param_spec start_spec = {
    .name = "adapter", .role = RK_ROLE_ADAPTER_START, .scope = RK_SCOPE_LAYER, .lr_scale = 1};

/* An adapter of a part, and the one before it that is subtracted. */
typedef struct attached_part {
    rk_adapter trained, start;
    rk_tensor squares, ones; /* of dora */
    float *squares_data;     /* both */
} attached_part;

struct rk_attached {
    attached_part *parts; /* of the set's parts */
    int64_t n;
    const rk_adapter **of; /* by rk_weight.adapted_as */
    rk_adapted_rows rows;
    struct rk_adapting adapting;
};

/* ---- parameters ---- */

static const char *const start_names[2] = {"start_A", "start_B"};

static rk_param param_of(const rk_adapter_part *part, int i, int64_t layer)
{
    rk_param p = {.spec = &trained_spec, .layer = layer, .initial = part->tensors[i]};
    int64_t dims[RK_MAX_DIMS];
    const int n = rk_part_dims(part, i, dims);
    rk_part_tensor_name(part, i, p.name, sizeof p.name);
    p.tensor = rk_tensor_over(RK_F32, n, dims, NULL);
    return p;
}

static rk_param start_of(const rk_adapter_part *part, int i, int64_t layer)
{
    rk_param p = param_of(part, i, layer);
    p.spec = &start_spec;
    p.initial = part->start[i];
    char *dot = strrchr(p.name, '.');
    snprintf(dot + 1, sizeof p.name - (size_t)(dot + 1 - p.name), "%s", start_names[i]);
    return p;
}

/* What a part stands beside, which has been checked to be there. */
static rk_adaptable beside(const rk_model *m, const rk_adapter_part *part)
{
    rk_adaptable a = {0};
    rk_adaptable_named(m, part->name, &a);
    return a;
}

static rk_status add_params(rk_model *m, const rk_adapter_set *s, rk_error *err)
{
    enum { OF_PART = RK_PART_TENSORS_MAX + 2 };
    rk_param *added = calloc((size_t)(s->n_parts * OF_PART) + 1, sizeof *added);
    int64_t n = 0;
    if (!added)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for the parameters of an adapter");
    for (int64_t i = 0; i < s->n_parts; i++) {
        const rk_adapter_part *part = &s->parts[i];
        const int64_t layer = beside(m, part).layer;
        for (int q = 0; q < rk_forms[part->form].n_tensors; q++)
            added[n++] = param_of(part, q, layer);
        for (int q = 0; q < 2 && part->start[0]; q++)
            added[n++] = start_of(part, q, layer);
    }
    const rk_status st = rk_model_add_params(m, added, n, err);
    free(added);
    return st;
}

/* ---- adapters over them ---- */

static rk_tensor *tensor_of(const rk_model *m, const rk_adapter_part *part, int i)
{
    char name[RK_PARAM_NAME_MAX];
    rk_part_tensor_name(part, i, name, sizeof name);
    return &rk_model_param(m, name)->tensor;
}

static rk_tensor *start_tensor(const rk_model *m, const rk_adapter_part *part, int i)
{
    const rk_param p = start_of(part, i, 0);
    return &rk_model_param(m, p.name)->tensor;
}

static rk_status make_adapter(attached_part *a, const rk_model *m, const rk_adapter_part *part,
                              rk_error *err)
{
    rk_tensor *t[RK_PART_TENSORS_MAX] = {NULL};
    for (int i = 0; i < rk_forms[part->form].n_tensors; i++)
        t[i] = tensor_of(m, part, i);
    switch (part->form) {
    case RK_PART_LORA:
        a->trained = rk_lora(t[0], t[1], part->scale);
        break;
    case RK_PART_DORA:
        a->squares_data = calloc(2 * (size_t)part->out, sizeof *a->squares_data);
        if (!a->squares_data)
            return rk_fail(err, RK_ERR_NOMEM, "out of memory for the norms of a matrix");
        for (int64_t o = 0; o < part->out; o++)
            a->squares_data[part->out + o] = 1.0f;
        a->squares = rk_tensor_over(RK_F32, 1, &part->out, a->squares_data);
        a->ones = rk_tensor_over(RK_F32, 1, &part->out, a->squares_data + part->out);
        a->trained =
            rk_dora(t[0], t[1], part->scale, &(rk_dora_tensors){t[2], &a->squares, &a->ones});
        break;
    case RK_PART_MISS:
        a->trained = rk_miss(t[0]);
        break;
    case RK_PART_BAT_IN:
        a->trained = rk_bat_in(t[0]);
        break;
    default:
        a->trained = rk_bat_out(t[0]);
        break;
    }
    return RK_OK;
}

/* With what is subtracted before it. */
static rk_status make_part(attached_part *a, const rk_model *m, const rk_adapter_part *part,
                           bool residual, double dropout, uint64_t index, rk_error *err)
{
    const rk_status st = make_adapter(a, m, part, err);
    if (st != RK_OK)
        return st;
    a->trained.dropout = dropout;
    a->trained.index = index;
    if (!part->start[0] || residual)
        return RK_OK;
    a->start = rk_lora(start_tensor(m, part, 0), start_tensor(m, part, 1), -part->scale);
    a->start.next = &a->trained;
    return RK_OK;
}

/* Draws of adapters' dropout are apart from those of the blocks (model/lm.c). */
enum { DROPOUT_FIRST = 1 << 20 };

static rk_status make_all(rk_attached *a, rk_model *m, const rk_adapter_set *s, bool residual,
                          double dropout, rk_error *err)
{
    rk_status st = RK_OK;
    for (int64_t i = 0; i < s->n_parts && st == RK_OK; i++) {
        attached_part *part = &a->parts[i];
        const int as = beside(m, &s->parts[i]).weight->adapted_as;
        st = make_part(part, m, &s->parts[i], residual, dropout, (uint64_t)(DROPOUT_FIRST + as),
                       err);
        a->of[as] = part->start.up ? &part->start : &part->trained;
    }
    a->rows = (rk_adapted_rows){a->of, 0, 1};
    a->adapting = (struct rk_adapting){&a->rows, 1, 1};
    m->adapting = &a->adapting;
    return st;
}

rk_status rk_adapters_attach(rk_attached **out, rk_model *m, const rk_adapter_set *s, bool residual,
                             double dropout, rk_error *err)
{
    rk_attached *a = calloc(1, sizeof *a);
    if (a) {
        a->n = s->n_parts;
        a->parts = calloc((size_t)s->n_parts + 1, sizeof *a->parts);
        a->of = calloc((size_t)m->n_weights + 1, sizeof *a->of);
    }
    rk_status st = a && a->parts && a->of
                       ? add_params(m, s, err)
                       : rk_fail(err, RK_ERR_NOMEM, "out of memory for an adapter");
    if (st == RK_OK)
        st = make_all(a, m, s, residual, dropout, err);
    if (st == RK_OK)
        *out = a;
    else
        rk_attached_free(a);
    return st;
}

/* ---- norms ---- */

/* Squares of the rows of a matrix, and their roots as magnitudes. */
static rk_status take_norms(attached_part *a, const rk_model *m, rk_adapter_part *part,
                            rk_error *err)
{
    const rk_weight *w = beside(m, part).weight;
    float *row = malloc((size_t)part->in * sizeof *row);
    if (!row)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for the norms of a matrix");
    for (int64_t o = 0; o < part->out; o++) {
        double sum = 0.0;
        rk_matrix_row(w->matrix, w->layout, o, row);
        for (int64_t i = 0; i < part->in; i++)
            sum += (double)row[i] * (double)row[i];
        a->squares_data[o] = (float)sum;
        part->tensors[2][o] = sqrtf((float)sum);
    }
    free(row);
    return RK_OK;
}

rk_status rk_attached_norms(rk_attached *a, const rk_model *m, rk_adapter_set *s, rk_error *err)
{
    rk_status st = RK_OK;
    for (int64_t i = 0; i < s->n_parts && st == RK_OK; i++)
        if (s->parts[i].form == RK_PART_DORA)
            st = take_norms(&a->parts[i], m, &s->parts[i], err);
    return st;
}

void rk_attached_free(rk_attached *a)
{
    if (!a)
        return;
    for (int64_t i = 0; a->parts && i < a->n; i++)
        free(a->parts[i].squares_data);
    free(a->parts);
    free(a->of);
    free(a);
}

void rk_attached_values(const rk_model *m, rk_adapter_set *to)
{
    for (int64_t i = 0; i < to->n_parts; i++) {
        rk_adapter_part *part = &to->parts[i];
        for (int q = 0; q < rk_forms[part->form].n_tensors; q++)
            memcpy(part->tensors[q], tensor_of(m, part, q)->data,
                   (size_t)rk_part_count(part, q) * sizeof(float));
        for (int q = 0; q < 2 && part->start[0]; q++)
            memcpy(part->start[q], start_tensor(m, part, q)->data,
                   (size_t)rk_part_count(part, q) * sizeof(float));
    }
}
