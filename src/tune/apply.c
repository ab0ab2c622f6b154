/* apply.c: adapters as streams compute with them: factors and scales are put into the matrices once, so
 * that a token costs two small products for each.
 *
 * An adapter of dora multiplies the whole sum by a gain, which stands once training has ended. With a
 * factor f it is 1 + f (gain - 1), and several of them add up to one. They come first in a chain: their
 * own parts are divided by the common gain, what follows is not multiplied by it. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/pages.h"
#include "infer/session.h"
#include "model/adaptable.h"
#include "tune/adapter_file.h"
#include "tune/attach.h"
#include "tune/merge.h"

/* Memory of all tensors, in one piece: a token reads some lines of every page of it. */
typedef struct memory {
    char *at; /* the next tensor's */
    char *first;
    size_t bytes;
} memory;

/* An adapter and its tensors. */
typedef struct applied_part {
    rk_adapter adapter;
    rk_tensor tensors[3];
    memory *from;
} applied_part;

struct rk_adapters {
    const rk_model *model;
    applied_part *parts;
    int64_t n;
    memory memory;
    const rk_adapter **of; /* by rk_weight.adapted_as */
    uint64_t key;          /* of the shapes, which decide the scratch that forwards take */
};

/* ---- tensors ---- */

static size_t padded(int64_t count)
{
    return rk_align_up((size_t)count * sizeof(float), RK_ARENA_ALIGN);
}

static bool is_whole(const rk_adapter_part *p)
{
    return p->form == RK_PART_BAT_OUT;
}

/* What the tensors of a part take at most. */
static size_t bytes_of(const rk_adapter_part *p)
{
    size_t bytes = padded(is_whole(p) ? p->out * p->in : p->out);
    for (int i = 0; i < rk_forms[p->form].n_tensors; i++)
        bytes += padded(rk_part_count(p, i)) * (p->start[0] ? 2 : 1);
    return bytes;
}

/* Tensor i of a part, which has the next piece of memory. */
static void give(applied_part *a, int i, rk_dtype type, int n_dims, const int64_t *dims)
{
    memory *m = a->from;
    a->tensors[i] = rk_tensor_over(type, n_dims, dims, m->at);
    m->at += rk_align_up(rk_tensor_bytes(&a->tensors[i]), RK_ARENA_ALIGN);
    assert(m->at <= m->first + m->bytes);
}

static void put(const rk_tensor *t, int64_t i, double x)
{
    if (t->dtype == RK_BF16)
        ((uint16_t *)t->data)[i] = rk_f32_to_bf16((float)x);
    else
        ((float *)t->data)[i] = (float)x;
}

/* A copy of a part's tensor times a factor. */
static void copy_of(applied_part *a, int i, const rk_adapter_part *p, int which, const float *from,
                    double factor, rk_dtype type)
{
    int64_t dims[RK_MAX_DIMS];
    const int n = rk_part_dims(p, which, dims);
    give(a, i, type, n, dims);
    for (int64_t e = 0; e < rk_part_count(p, which); e++)
        put(&a->tensors[i], e, factor * (double)from[e]);
}

/* ---- kinds ---- */

/* B lies (rank, out), so that a token adds up whole rows of it. each (out): a factor of every output; may
 * be NULL. */
static void apply_pair(applied_part *a, const rk_adapter_part *p, float *const *pair, double factor,
                       const double *each, rk_dtype type)
{
    const int64_t dims[2] = {p->rank, p->out};
    copy_of(a, 0, p, 0, pair[0], 1.0, type);
    give(a, 1, type, 2, dims);
    for (int64_t o = 0; o < p->out; o++)
        for (int64_t k = 0; k < p->rank; k++)
            put(&a->tensors[1], k * p->out + o,
                factor * p->scale * (double)pair[1][o * p->rank + k] * (each ? each[o] : 1.0));
    a->adapter = rk_lora(&a->tensors[0], &a->tensors[1], 1.0);
    a->adapter.layout = RK_IN_OUT;
}

static void apply_single(applied_part *a, const rk_adapter_part *p, double factor,
                         rk_adapter (*make)(rk_tensor *t))
{
    copy_of(a, 0, p, 0, p->tensors[0], factor, RK_F32);
    a->adapter = make(&a->tensors[0]);
}

/* What the part adds to the matrix, as a matrix. */
static rk_status apply_whole(applied_part *a, const rk_adapter_part *p, double factor,
                             const rk_weight *w, rk_error *err)
{
    const int64_t dims[2] = {p->out, p->in}, n = p->out * p->in;
    float *merged = malloc((size_t)n * sizeof *merged);
    if (!merged)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for a matrix");
    give(a, 0, RK_F32, 2, dims);
    float *delta = a->tensors[0].data;
    for (int64_t o = 0; o < p->out; o++)
        rk_matrix_row(w->matrix, w->layout, o, delta + o * p->in);
    memcpy(merged, delta, (size_t)n * sizeof *merged);
    const rk_status st = rk_part_merge(p, factor, merged, NULL, err);
    for (int64_t e = 0; st == RK_OK && e < n; e++)
        delta[e] = merged[e] - delta[e];
    free(merged);
    a->adapter = rk_dense(&a->tensors[0]);
    return st;
}

static rk_status apply_part(applied_part *a, const rk_adapter_part *p, double factor,
                            const rk_weight *w, rk_dtype low_rank, rk_error *err)
{
    if (is_whole(p))
        return apply_whole(a, p, factor, w, err);
    if (p->form == RK_PART_MISS || p->form == RK_PART_BAT_IN)
        apply_single(a, p, factor, p->form == RK_PART_MISS ? rk_miss : rk_bat_in);
    else
        apply_pair(a, p, p->tensors, factor, NULL, low_rank);
    return RK_OK;
}

/* ---- dora ---- */

/* magnitude / |W + scale B A| of every output. */
static rk_status gains_of(const rk_adapter_part *p, const rk_weight *w, double *gains,
                          rk_error *err)
{
    float *row = malloc((size_t)p->in * sizeof *row);
    if (!row)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for the norms of a matrix");
    for (int64_t o = 0; o < p->out; o++) {
        double sum = 0.0;
        rk_matrix_row(w->matrix, w->layout, o, row);
        for (int64_t k = 0; k < p->rank; k++) {
            const float b = (float)p->scale * p->tensors[1][o * p->rank + k];
            for (int64_t i = 0; i < p->in; i++)
                row[i] += b * p->tensors[0][k * p->in + i];
        }
        for (int64_t i = 0; i < p->in; i++)
            sum += (double)row[i] * (double)row[i];
        gains[o] = (double)p->tensors[2][o] / sqrt(fmax(sum, 1e-30));
    }
    free(row);
    return RK_OK;
}

/* One that changes a weight of m's by dora; NULL where none does. */
typedef struct use_of {
    const rk_adapter_part *p;
    double factor;
} use_of;

/* The common gain of n parts into a's third tensor. */
static rk_status common_gain(applied_part *a, const use_of *u, int64_t n, const rk_weight *w,
                             double *each, rk_error *err)
{
    const int64_t out = u[0].p->out;
    rk_status st = RK_OK;
    give(a, 2, RK_F32, 1, &out);
    float *gain = a->tensors[2].data;
    for (int64_t o = 0; o < out; o++)
        gain[o] = 1.0f;
    for (int64_t i = 0; st == RK_OK && i < n; i++) {
        st = gains_of(u[i].p, w, each + i * out, err);
        for (int64_t o = 0; st == RK_OK && o < out; o++)
            gain[o] += (float)(u[i].factor * (each[i * out + o] - 1.0));
    }
    for (int64_t o = 0; st == RK_OK && o < out; o++) /* what follows is divided by it */
        gain[o] = fabsf(gain[o]) < 1e-6f ? 1e-6f : gain[o];
    return st;
}

/* Parts of dora of one weight, in a chain whose last one has the gain of all. */
static rk_status apply_dora(applied_part *a, const use_of *u, int64_t n, const rk_weight *w,
                            rk_dtype type, rk_error *err)
{
    const int64_t out = u[0].p->out;
    double *each = malloc((size_t)(n * out) * sizeof *each);
    rk_status st = each ? common_gain(&a[n - 1], u, n, w, each, err)
                        : rk_fail(err, RK_ERR_NOMEM, "out of memory for the norms of a matrix");
    for (int64_t i = 0; i < n && st == RK_OK; i++) {
        double *own = each + i * out;
        for (int64_t o = 0; o < out; o++)
            own[o] /= (double)((const float *)a[n - 1].tensors[2].data)[o];
        apply_pair(&a[i], u[i].p, u[i].p->tensors, u[i].factor, own, type);
    }
    rk_adapter_set_gain(&a[n - 1].adapter, &a[n - 1].tensors[2]);
    free(each);
    return st;
}

/* ---- all ---- */

/* Parts for the weight of this name, dora's first; returns their number, *n_dora of dora. u NULL: only
 * counted. */
static int64_t uses_for(const rk_adapter_use *uses, int64_t n_uses, const char *name, use_of *u,
                        int64_t *n_dora)
{
    int64_t n = 0;
    *n_dora = 0;
    for (int dora = 1; dora >= 0; dora--)
        for (int64_t i = 0; i < n_uses; i++) {
            const rk_adapter_part *p = rk_adapter_set_find(uses[i].set, name);
            if (!p || (p->form == RK_PART_DORA) != dora)
                continue;
            if (u)
                u[n] = (use_of){p, uses[i].scale};
            n++;
            *n_dora += dora;
        }
    return n;
}

/* Parts that the uses of one weight take: one with start values takes two. */
static int64_t count_parts(const use_of *u, int64_t n)
{
    int64_t parts = 0;
    for (int64_t i = 0; i < n; i++)
        parts += u[i].p->start[0] ? 2 : 1;
    return parts;
}

static rk_status apply_to(rk_adapters *a, const rk_weight *w, const use_of *u, int64_t n,
                          int64_t n_dora, rk_dtype low_rank, rk_error *err)
{
    applied_part *const first = &a->parts[a->n], *at = first + n_dora;
    rk_status st = n_dora > 0 ? apply_dora(first, u, n_dora, w, low_rank, err) : RK_OK;
    for (int64_t i = n_dora; i < n && st == RK_OK; i++) {
        /* Two pairs that nearly cancel would show how each was rounded. */
        const rk_dtype type = u[i].p->start[0] ? RK_F32 : low_rank;
        st = apply_part(at++, u[i].p, u[i].factor, w, type, err);
        if (st == RK_OK && u[i].p->start[0])
            apply_pair(at++, u[i].p, u[i].p->start, -u[i].factor, NULL, type);
    }
    a->n += count_parts(u, n);
    for (int64_t i = 0; i + 1 < at - first; i++)
        first[i].adapter.next = &first[i + 1].adapter;
    if (n > 0)
        a->of[w->adapted_as] = &first->adapter;
    return st;
}

static uint64_t key_of(const rk_adapters *a, const rk_model *m)
{
    uint64_t key = 1;
    for (int w = 1; w <= m->n_weights; w++)
        for (const rk_adapter *x = a->of[w]; x; x = x->next) {
            const rk_tensor *t = x->up ? x->up : x->tensors[0];
            const uint64_t facts = (uint64_t)w << 40 ^ (uint64_t)x->rank << 20 ^
                                   (uint64_t)(t ? t->dims[0] * 8 + t->dims[1] : 0) ^
                                   (uint64_t)(x->down != NULL) << 60 ^
                                   (uint64_t)(x->added != NULL) << 61 ^
                                   (uint64_t)(x->gain != NULL) << 62;
            key = (key ^ facts) * 0x9e3779b97f4a7c15u + 1;
        }
    return key;
}

/* Room for the parts of all uses. */
static rk_status rooms(rk_adapters *a, const rk_model *m, const rk_adapter_use *uses, int64_t n,
                       rk_error *err)
{
    int64_t most = 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < uses[i].set->n_parts; k++, most += 2)
            a->memory.bytes += bytes_of(&uses[i].set->parts[k]);
    a->parts = calloc((size_t)most + 1, sizeof *a->parts);
    a->of = calloc((size_t)m->n_weights + 1, sizeof *a->of);
    a->memory.first = a->memory.at = rk_pages_new(a->memory.bytes);
    if (!a->parts || !a->of || !a->memory.first)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for adapters");
    for (int64_t i = 0; i < most; i++)
        a->parts[i].from = &a->memory;
    return RK_OK;
}

rk_status rk_adapters_apply(rk_adapters **out, const rk_model *m, const rk_adapter_use *uses,
                            int64_t n, rk_dtype low_rank, rk_error *err)
{
    rk_adapters *a = calloc(1, sizeof *a);
    use_of *u = calloc((size_t)n + 1, sizeof *u);
    rk_status st = a && u ? rooms(a, m, uses, n, err)
                          : rk_fail(err, RK_ERR_NOMEM, "out of memory for adapters");
    for (int64_t i = 0; st == RK_OK && i < m->n_params; i++) {
        rk_adaptable to;
        int64_t n_dora;
        const int64_t used =
            rk_adaptable_at(m, i, &to) ? uses_for(uses, n, to.name, u, &n_dora) : 0;
        if (used > 0)
            st = apply_to(a, to.weight, u, used, n_dora, low_rank, err);
    }
    free(u);
    if (st == RK_OK) {
        a->model = m;
        a->key = key_of(a, m);
        *out = a;
    } else
        rk_adapters_free(a);
    return st;
}

void rk_adapters_free(rk_adapters *a)
{
    if (!a)
        return;
    free(a->memory.first);
    free(a->parts);
    free(a->of);
    free(a);
}

const rk_adapter *const *rk_adapters_of(const rk_adapters *a)
{
    return a->of;
}

/* ---- the public interface ---- */

/* What cannot be computed for a single stream. Initial states are left to those who begin streams. */
static rk_status check_whole(const rk_adapter_set *s, const char *path, rk_error *err)
{
    for (int64_t i = 0; i < s->n_whole; i++)
        if (!rk_state_is_tuned_name(s->whole[i].name))
            return rk_fail(
                err, RK_ERR_UNSUPPORTED,
                "%s: brings '%s' in place of the model's, which no stream can have alone: put it "
                "into the model first (rwkv merge)",
                path, s->whole[i].name);
    return RK_OK;
}

static rk_status open_sets(rk_adapter_use *uses, rk_adapter_set **sets, const rk_model *m,
                           const rk_adapter_source *sources, int64_t n, bool force, rk_error *err)
{
    rk_status st = RK_OK;
    for (int64_t i = 0; i < n && st == RK_OK; i++) {
        const rk_adapter_reading how = {.alpha = sources[i].alpha};
        st = rk_adapter_open(&sets[i], sources[i].path, &how, err);
        if (st == RK_OK)
            st = rk_adapter_set_check(sets[i], m, sources[i].path, force, err);
        if (st == RK_OK)
            st = check_whole(sets[i], sources[i].path, err);
        uses[i] = (rk_adapter_use){sets[i], sources[i].scale};
    }
    return st;
}

rk_status rk_adapters_open(rk_adapters **out, const rk_model *m, const rk_adapter_source *sources,
                           int64_t n, bool force, rk_error *err)
{
    rk_adapter_use *uses = calloc((size_t)n + 1, sizeof *uses);
    rk_adapter_set **sets = calloc((size_t)n + 1, sizeof *sets);
    rk_status st = uses && sets ? open_sets(uses, sets, m, sources, n, force, err)
                                : rk_fail(err, RK_ERR_NOMEM, "out of memory for adapters");
    if (st == RK_OK)
        st = rk_adapters_apply(out, m, uses, n, RK_BF16, err);
    for (int64_t i = 0; sets && i < n; i++)
        rk_adapter_set_free(sets[i]);
    free(sets);
    free(uses);
    return st;
}

rk_status rk_session_adapt(rk_session *s, const rk_adapters *a, rk_error *err)
{
    if (a && a->model != s->scheduler.model)
        return rk_fail(err, RK_ERR_ARG, "adapters of another model than the session's");
    s->stream.adapters = a ? a->of : NULL;
    s->stream.adapters_key = a ? a->key : 0;
    return RK_OK;
}
