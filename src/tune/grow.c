/* grow.c: growing a model and taking growth back.
 *
 * What is new must give nothing and still learn. relu(x)^2 and its slope are 0 at 0, so of a new parameter token
 * the value is zero and the key is not: keys of zero would get no gradient and pass none on. Heads are grown
 * together in all layers, because every layer mixes its values with those of the first one. */
#include "tune/grow.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/random.h"
#include "format/scheme.h"

enum { COPY_NOISE_PERCENT = 2 };

static int64_t own(const rk_model *m, int i)
{
    return m->hp.own[i].n;
}

/* ---- places ---- */

/* Where an index of a dimension of a is in b, which has more heads: they stand behind those that are read and
 * before those that are not. */
static int64_t moved(char letter, int64_t i, const rk_hparams *a, const rk_hparams *b)
{
    const int64_t unit = letter == 'D' ? a->head_size : 1, more = b->n_head - a->n_head;
    if (letter != 'D' && letter != 'E')
        return i;
    return i < a->n_head * unit ? i : i + more * unit;
}

/* Move all elements between a parameter of small and its places in one of big. */
static void move(const rk_grow_map *map, const rk_param *small, float *in_small,
                 const rk_param *big, float *in_big, bool to_big)
{
    const rk_tensor *s = &small->tensor, *b = &big->tensor;
    const int64_t n = rk_tensor_count(s);
    const char *shape = big->spec->shape;
    for (int64_t e = 0; e < n; e++) {
        int64_t rest = e, at = 0, step = 1;
        for (int d = s->n_dims - 1; d >= 0; rest /= s->dims[d], step *= b->dims[d], d--)
            at += step * moved(shape[d], rest % s->dims[d], &map->small->hp, &map->big->hp);
        if (to_big)
            in_big[at] = in_small[e];
        else
            in_small[e] = in_big[at];
    }
}

void rk_grow_put(const rk_grow_map *map, const rk_param *small, const float *values,
                 const rk_param *big, float *to)
{
    float *from;
    memcpy(&from, &values, sizeof from); /* it is only read */
    move(map, small, from, big, to, true);
}

/* ---- generations ---- */

/* Row g of a layer's: 0 where the layer was not there. */
static double born_at(const rk_model *m, int64_t layer, int64_t g, int what)
{
    char name[RK_PARAM_NAME_MAX];
    snprintf(name, sizeof name, "blocks.%" PRId64 ".meta_generations", layer);
    const rk_param *p = rk_model_param(m, name);
    return p ? (double)((const float *)p->tensor.data)[g * RK_META7_BORN + what] : 0;
}

static bool was_there(const rk_model *m, int64_t layer, int64_t g)
{
    return born_at(m, layer, g, RK_META7_BORN_HEADS) > 0;
}

rk_status rk_grow_map_init(rk_grow_map *map, const rk_model *small, const rk_model *big,
                           rk_error *err)
{
    const int64_t last = rk_max_i64(own(small, RK_META7_GENERATIONS), 1) - 1;
    const bool recorded = small->arch == &rk_arch_meta7;
    *map = (rk_grow_map){calloc((size_t)big->hp.n_layer, sizeof *map->from), small, big};
    if (!map->from)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for %" PRId64 " layers", big->hp.n_layer);
    for (int64_t l = 0, at = 0; l < big->hp.n_layer; l++)
        map->from[l] = was_there(big, l, recorded ? last : 0) ? at++ : -1;
    return RK_OK;
}

const rk_param *rk_grow_source(const rk_grow_map *map, const rk_param *big)
{
    char name[RK_PARAM_NAME_MAX];
    if (rk_param_of_model(big->spec))
        return rk_model_param(map->small, big->name);
    if (map->from[big->layer] < 0)
        return NULL;
    rk_param_name(big->spec, map->from[big->layer], name);
    const rk_param *p = rk_model_param(map->small, name);
    return p && p->used ? p : NULL;
}

/* ---- values ---- */

rk_status rk_grow_values(const rk_model *m, const rk_param *p, float **out, rk_error *err)
{
    const rk_tensor *t = &p->tensor;
    const rk_file_tensor *f = m->file ? rk_file_find(m->file, p->name) : NULL;
    const int64_t n = rk_tensor_count(t), cols = rk_tensor_cols(t), rows = n / cols;
    if (t->dtype == RK_RANGED)
        return rk_fail(err, RK_ERR_UNSUPPORTED,
                       "tensor '%.80s' is of bytes with ranges, which do not grow: 'rwkv compress "
                       "dense' first",
                       p->name);
    if (rk_dtype_is_blocks(t->dtype))
        return rk_fail(err, RK_ERR_UNSUPPORTED,
                       "tensor '%.80s' is in blocks, which do not grow: 'rwkv convert --type bf16' "
                       "first",
                       p->name);
    float *x = *out = malloc((size_t)n * sizeof *x + 1);
    if (!x)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for tensor '%.80s'", p->name);
    if (t->dtype == RK_F32 && rk_tensor_is_contiguous(t) && t->data)
        memcpy(x, t->data, (size_t)n * sizeof *x);
    else
        for (int64_t i = 0; f && i < n; i++)
            rk_file_floats(f, f->exchanged ? i % cols * rows + i / cols : i, 1, &x[i]);
    return RK_OK;
}

static bool is(const rk_param *p, const char *ending)
{
    const char *rest;
    rk_arch_layer_of(&rk_arch_meta7, p->name, &rest);
    return !strcmp(rest, ending);
}

static double draw(const rk_growth *how, int64_t index, int64_t i)
{
    return rk_rng_f64(how->seed, RK_RNG_INIT, (uint64_t)index, (uint64_t)i);
}

/* New rows of a matrix that is there: between +- a half of the initial gain over the root of the inputs, which is
 * what an orthogonal matrix of a new model comes to and costs nothing. */
static void begin_matrix(const rk_growth *how, const rk_param *p, int64_t index, float *x)
{
    const int64_t n = rk_tensor_count(&p->tensor);
    const double width = p->spec->init_arg * 0.5 / sqrt((double)p->tensor.dims[rk_param_inputs(p)]);
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(width * (2 * draw(how, index, i) - 1));
}

/* Each row an old one, drawn, with noise. */
static void copy_rows(const rk_growth *how, const rk_param *p, int64_t index, const float *old,
                      int64_t n_old, float *x)
{
    const int64_t rows = p->tensor.dims[0], cols = p->tensor.dims[1];
    for (int64_t r = n_old; r < rows; r++) {
        const int64_t from = rk_min_i64((int64_t)(draw(how, index, r) * (double)n_old), n_old - 1);
        for (int64_t c = 0; c < cols; c++)
            x[r * cols + c] = old[from * cols + c] +
                              (float)(COPY_NOISE_PERCENT / 100.0 *
                                      rk_rng_normal(how->seed, RK_RNG_INIT, (uint64_t)index,
                                                    (uint64_t)(rows + r * cols + c)));
    }
}

/* Of a model that grows: what leads out of its new parts gives nothing yet. */
static bool begins_as_zero(const rk_param *p)
{
    return is(p, "att.output.weight") || is(p, "ffn.value.weight") || is(p, "ffn.meta_gamma");
}

static rk_status begin(const rk_grow_map *map, const rk_growth *how, int64_t i, float *x,
                       rk_error *err)
{
    const rk_param *p = &map->big->params[i], *source = rk_grow_source(map, p);
    const bool old_layer = rk_param_of_model(p->spec) || map->from[p->layer] >= 0;
    float *values = NULL;
    rk_status st = RK_OK;
    if (old_layer && begins_as_zero(p))
        memset(x, 0, (size_t)rk_tensor_count(&p->tensor) * sizeof *x);
    else if (source && rk_roles[p->role].product)
        begin_matrix(how, p, i, x);
    else
        st = rk_param_init(map->big, i, how->seed, x, NULL, err);
    if (st != RK_OK || !source)
        return st;
    st = rk_grow_values(map->small, source, &values, err);
    if (st == RK_OK && how->start == RK_GROW_COPY && is(p, "ffn.key.weight"))
        copy_rows(how, p, i, values, source->tensor.dims[0], x);
    if (st == RK_OK)
        rk_grow_put(map, source, values, p, x);
    free(values);
    return st;
}

/* ---- lists ---- */

static bool holds(const float *x, int64_t n, float value)
{
    for (int64_t i = 0; i < n; i++)
        if (x[i] == value)
            return true;
    return false;
}

/* The heads that a layer asks: those that it asked, wherever they are now, and the first others. */
static void list_heads(const rk_grow_map *map, int64_t layer, float *x)
{
    const rk_model *small = map->small, *big = map->big;
    const int64_t n = own(big, RK_META7_HEADS), l = map->from[layer];
    int64_t have = 0;
    char name[RK_PARAM_NAME_MAX];
    snprintf(name, sizeof name, "blocks.%" PRId64 ".ffn.meta_heads", l);
    const rk_param *was = l >= 0 ? rk_model_param(small, name) : NULL;
    const int64_t before = l >= 0 && small->arch == &rk_arch_meta7 ? own(small, RK_META7_HEADS) : 0;
    for (; have < before; have++) {
        const int64_t h = was ? (int64_t)((const float *)was->tensor.data)[have]
                              : rk_meta7_usual_head(&small->hp, have);
        x[have] = (float)moved('E', h, &small->hp, &big->hp);
    }
    for (int64_t h = 0; have < n; h++)
        if (!holds(x, have, (float)h))
            x[have++] = (float)h;
}

/* What the model was, and what it is now. */
static void list_generations(const rk_model *small, const rk_model *big, int64_t from, float *x)
{
    const int64_t n = own(big, RK_META7_GENERATIONS);
    const float now[] = {(float)big->hp.dim_ffn, (float)big->hp.n_head,
                         (float)own(big, RK_META7_HEADS)};
    const float was[] = {(float)small->hp.dim_ffn, (float)small->hp.n_head,
                         small->arch == &rk_arch_meta7 ? (float)own(small, RK_META7_HEADS) : 0};
    const bool recorded = small->arch == &rk_arch_meta7 && own(small, RK_META7_GENERATIONS) > 0;
    for (int64_t g = 0; g < n; g++)
        for (int k = 0; k < RK_META7_BORN; k++)
            x[g * RK_META7_BORN + k] = g == n - 1 ? now[k]
                                       : from < 0 ? 0
                                       : recorded ? (float)born_at(small, from, g, k)
                                                  : was[k];
}

/* ---- making ---- */

/* Memory for all parameters that are used. */
static rk_status take_memory(rk_model *m, rk_error *err)
{
    int64_t n = 0;
    for (int64_t i = 0; i < m->n_params; i++)
        n += m->params[i].used ? rk_tensor_count(&m->params[i].tensor) : 0;
    float *at = m->owned = malloc((size_t)n * sizeof *at + 1);
    if (!at)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for %" PRId64 " parameters", n);
    for (int64_t i = 0; i < m->n_params; i++)
        if (m->params[i].used) {
            m->params[i].tensor.data = at;
            at += rk_tensor_count(&m->params[i].tensor);
        }
    return RK_OK;
}

static rk_status check_model(const rk_model *m, rk_error *err)
{
    return m->arch == &rk_arch_rwkv7 || m->arch == &rk_arch_meta7
               ? RK_OK
               : rk_fail(err, RK_ERR_UNSUPPORTED,
                         "rwkv7 and meta7 models grow; this is an %s model", m->arch->name);
}

static rk_status check_growth(const rk_model *m, const rk_growth *how, rk_error *err)
{
    const int64_t at = how->at;
    if (how->tokens == 0 && how->heads == 0 && how->meta_heads == 0 && how->layers == 0)
        return rk_fail(err, RK_ERR_ARG, "nothing is added");
    if (how->start == RK_GROW_ZERO)
        return rk_fail(err, RK_ERR_ARG,
                       "keys of zero never learn: relu(x)^2 and its slope are 0 at 0, so neither a "
                       "key nor its value gets a gradient; values begin as zero instead");
    if (how->layers > 0 && at == 0)
        return rk_fail(err, RK_ERR_ARG,
                       "no layer can become layer 0, whose values all others mix with theirs: "
                       "new layers stand behind 1 to %" PRId64,
                       m->hp.n_layer);
    if (how->layers > 0 && at > m->hp.n_layer)
        return rk_fail(err, RK_ERR_ARG, "new layers behind layer %" PRId64 " of %" PRId64, at,
                       m->hp.n_layer);
    return RK_OK;
}

static rk_status check_range(const char *name, int64_t x, const char *size, rk_error *err)
{
    const rk_size_spec *s = rk_size_find(&rk_arch_meta7, size);
    return (double)x <= s->range.max
               ? RK_OK
               : rk_fail(err, RK_ERR_ARG, "%s would be %" PRId64 ", expected %.10g at most", name,
                         x, s->range.max);
}

/* What a model without the sizes of Meta-State has of them. */
static void settle_plain(rk_hparams *hp)
{
    for (int i = RK_META7_HEADS; i < RK_META7_OWN; i++)
        hp->own[i].n = 0;
    hp->own[RK_META7_NORM].n = 1;
    hp->own[RK_META7_ROUTE_BLOCK].n = 256;
    hp->own[RK_META7_ROUTE_BALANCE].x = 0.01;
}

static rk_status larger_sizes(const rk_model *m, const rk_growth *how, rk_hparams *hp,
                              rk_error *err)
{
    *hp = m->hp;
    if (m->arch != &rk_arch_meta7)
        settle_plain(hp);
    const int64_t before = hp->own[RK_META7_GENERATIONS].n;
    hp->dim_ffn += how->tokens;
    hp->n_head += how->heads;
    hp->n_layer += how->layers;
    hp->own[RK_META7_HEADS].n += how->meta_heads;
    hp->own[RK_META7_LISTED].n = hp->own[RK_META7_HEADS].n;
    hp->own[RK_META7_GENERATIONS].n = before ? before + 1 : 2;
    hp->own[RK_META7_ADOPTED].n = 0;
    if (m->hp.n_layer == 1 && how->layers > 0) /* a single layer shows none */
        hp->own[RK_RWKV7_RANK_V].n = rk_max_i64(32, hp->own[RK_RWKV7_RANK_A].n);
    rk_status st = check_range("dim_ffn", hp->dim_ffn, "dim_ffn", err);
    if (st == RK_OK)
        st = check_range("n_head", hp->n_head, "n_head", err);
    if (st == RK_OK)
        st = check_range("n_layer", hp->n_layer, "n_layer", err);
    if (st == RK_OK)
        st = check_range("generations", hp->own[RK_META7_GENERATIONS].n, "generations", err);
    return st == RK_OK ? rk_meta7_settle(hp, "the larger model", RK_ERR_ARG, err) : st;
}

/* Has the larger model a place for everything? */
static rk_status check_places(const rk_grow_map *map, rk_error *err)
{
    int64_t n = 0;
    if (map->small->hp.n_clusters > 0)
        return rk_fail(
            err, RK_ERR_UNSUPPORTED,
            "models with a hierarchical head do not grow: expected the model that it was "
            "made for");
    if (map->small->hp.ffn_records)
        return rk_fail(err, RK_ERR_UNSUPPORTED,
                       "models whose channel mix is in records do not grow: expected the model "
                       "with whole matrices");
    for (int64_t i = 0; i < map->big->n_params; i++)
        n += rk_grow_source(map, &map->big->params[i]) != NULL;
    for (int64_t i = 0; i < map->small->n_params; i++)
        n -= map->small->params[i].used;
    return n >= 0 ? RK_OK
                  : rk_fail(err, RK_ERR_UNSUPPORTED,
                            "models with low-rank pairs do not grow: 'rwkv compress dense' first");
}

static rk_status fill(const rk_grow_map *map, const rk_growth *how, rk_error *err)
{
    const rk_model *big = map->big;
    rk_status st = check_places(map, err);
    for (int64_t i = 0; i < big->n_params && st == RK_OK; i++) {
        const rk_param *p = &big->params[i];
        if (!p->used)
            continue;
        if (is(p, "ffn.meta_heads"))
            list_heads(map, p->layer, p->tensor.data);
        else if (is(p, "meta_generations"))
            list_generations(map->small, big, map->from[p->layer], p->tensor.data);
        else
            st = begin(map, how, i, p->tensor.data, err);
    }
    return st;
}

rk_status rk_grow_new(rk_model **out, const rk_model *small, const rk_growth *how, rk_error *err)
{
    rk_hparams hp;
    rk_grow_map map = {NULL, small, NULL};
    const int64_t at = how->at < 0 ? small->hp.n_layer : how->at;
    *out = NULL;
    rk_status st = check_model(small, err);
    if (st == RK_OK)
        st = check_growth(small, how, err);
    if (st == RK_OK)
        st = larger_sizes(small, how, &hp, err);
    if (st == RK_OK)
        st = rk_model_new(out, &rk_arch_meta7, &hp, err);
    if (st == RK_OK)
        st = take_memory(*out, err);
    if (st == RK_OK && !(map.from = calloc((size_t)hp.n_layer, sizeof *map.from)))
        st = rk_fail(err, RK_ERR_NOMEM, "out of memory for %" PRId64 " layers", hp.n_layer);
    if (st == RK_OK) {
        for (int64_t l = 0; l < hp.n_layer; l++)
            map.from[l] = l < at ? l : l < at + how->layers ? -1 : l - how->layers;
        map.big = *out;
        (*out)->ctx_len = small->ctx_len;
        st = fill(&map, how, err);
    }
    free(map.from);
    if (st == RK_OK)
        return RK_OK;
    rk_model_close(*out);
    *out = NULL;
    return st;
}

/* ---- taking it back ---- */

static rk_status smaller_sizes(const rk_model *m, int64_t g, rk_hparams *hp, rk_error *err)
{
    *hp = m->hp;
    hp->dim_ffn = (int64_t)born_at(m, 0, g, RK_META7_BORN_TOKENS);
    hp->n_head = (int64_t)born_at(m, 0, g, RK_META7_BORN_HEADS);
    hp->own[RK_META7_HEADS].n = (int64_t)born_at(m, 0, g, RK_META7_BORN_META);
    hp->own[RK_META7_LISTED].n = hp->own[RK_META7_HEADS].n;
    hp->own[RK_META7_GENERATIONS].n = g > 0 ? g + 1 : 0;
    hp->n_layer = 0;
    for (int64_t l = 0; l < m->hp.n_layer; l++)
        hp->n_layer += was_there(m, l, g);
    if (hp->n_head < 1 || hp->dim_ffn < 1)
        return rk_fail(err, RK_ERR_FORMAT,
                       "'blocks.0.meta_generations' says that generation %" PRId64 " had %" PRId64
                       " heads and %" PRId64 " parameter tokens",
                       g, hp->n_head, hp->dim_ffn);
    return rk_meta7_settle(hp, "the smaller model", RK_ERR_FORMAT, err);
}

/* Heads are numbered as they were. */
static void lower_heads(const rk_model *small, const rk_model *big, float *x, int64_t n)
{
    const int64_t more = big->hp.n_head - small->hp.n_head;
    for (int64_t i = 0; i < n; i++)
        if (x[i] >= (float)small->hp.n_head)
            x[i] -= (float)more;
}

static rk_status take_back(const rk_grow_map *map, rk_error *err)
{
    rk_status st = RK_OK;
    for (int64_t i = 0; i < map->big->n_params && st == RK_OK; i++) {
        const rk_param *p = &map->big->params[i], *to = rk_grow_source(map, p);
        float *values = NULL;
        if (!to || !p->used)
            continue;
        st = rk_grow_values(map->big, p, &values, err);
        if (st == RK_OK)
            move(map, to, to->tensor.data, p, values, false);
        if (st == RK_OK && is(p, "ffn.meta_heads"))
            lower_heads(map->small, map->big, to->tensor.data, rk_tensor_count(&to->tensor));
        free(values);
    }
    return st;
}

static bool is_plain(const rk_hparams *hp)
{
    return hp->own[RK_META7_HEADS].n == 0 && hp->own[RK_META7_GENERATIONS].n == 0 &&
           hp->own[RK_META7_ROUTE_K].n == 0 && hp->own[RK_META7_DIM].n == hp->n_embd &&
           hp->own[RK_META7_EXTRA].n == 0;
}

rk_status rk_grow_back(rk_model **out, const rk_model *big, int64_t generation, rk_error *err)
{
    const int64_t n = big->arch == &rk_arch_meta7 ? own(big, RK_META7_GENERATIONS) : 0;
    rk_hparams hp;
    rk_grow_map map = {NULL, NULL, big};
    *out = NULL;
    if (generation < 0 || generation > n - 2)
        return n < 2
                   ? rk_fail(err, RK_ERR_ARG, "the model has not grown")
                   : rk_fail(err, RK_ERR_ARG,
                             "generation %" PRId64 ", expected one before the last, 0 to %" PRId64,
                             generation, n - 2);
    rk_status st = smaller_sizes(big, generation, &hp, err);
    if (st == RK_OK)
        st = rk_model_new(out, is_plain(&hp) ? &rk_arch_rwkv7 : &rk_arch_meta7, &hp, err);
    if (st == RK_OK)
        st = take_memory(*out, err);
    if (st == RK_OK)
        st = rk_grow_map_init(&map, *out, big, err);
    if (st == RK_OK) {
        (*out)->ctx_len = big->ctx_len;
        st = take_back(&map, err);
    }
    free(map.from);
    if (st == RK_OK)
        return RK_OK;
    rk_model_close(*out);
    *out = NULL;
    return st;
}
