/* predictor.c: the text is read once, and what each layer's ffn.key is given is kept for all of its tokens. Then
 * layers come one after the other: records of its matrices, both predictors, and how many of the active neurons
 * they find among tokens that nothing was learned from. */
#include "compress/predictor.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "compress/mlp_learn.h"
#include "compress/remade.h"
#include "infer/session.h"
#include "kernels/gemm.h"
#include "model/records.h"
#include "tensor/sparse_mix.h"

enum { PIECE = 64, HELD_OUT = 5, LISTS = 3, PARTS = 100 };

/* What is counted of a row. */
typedef struct counts {
    double active, a, b, both, kept, weight, weight_found;
} counts;

typedef struct work {
    const rk_model *host;
    const rk_predictor_options *o;
    const rk_kernels *kern;
    rk_pool *pool;
    int64_t n, n_learned, f, c, layers;
    float *x;       /* (layers, n, C): the rows that are learned from, then the others */
    int64_t *seen;  /* (layers): rows that are there */
    int64_t n_read; /* tokens of the call */
    /* Of the layer at hand: */
    const rk_sparse_mix *mix;
    float *key;   /* (F, C) */
    float *size;  /* (F): |W_v[f]| */
    float *row;   /* (threads, F) */
    float *z;     /* (n, F) */
    float *guess; /* (held out, F) */
    float *mlp;   /* (held out, F) */
    float *hidden;
    float min, max; /* of the matrix */
    int32_t *list;  /* (threads, LISTS, F) */
    counts *of;     /* (held out) */
    void *gemm;
} work;

/* The matrix of a place in a layer of the host. */
static const rk_param *matrix_of(const rk_model *m, int64_t layer, rk_records_place place)
{
    for (int64_t i = 0; i < m->n_params; i++)
        if (m->params[i].layer == layer && rk_records_place_of(m->params[i].spec) == place)
            return &m->params[i];
    return NULL;
}

static int64_t n_held(const work *j)
{
    return j->n - j->n_learned;
}

/* ---- the text ---- */

/* Rows of mediums (rrwkv) are behind those of the tokens. */
static void observe(void *user, const rk_tensor *w, const rk_tensor *x)
{
    work *j = user;
    const int64_t n = rk_min_i64(rk_tensor_rows(x), j->n_read);
    for (int64_t l = 0; l < j->layers; l++) {
        const rk_param *p = matrix_of(j->host, l, RK_RECORDS_KEY);
        if (p->tensor.data != w->data || rk_tensor_cols(x) != j->c || j->seen[l] + n > j->n)
            continue;
        for (int64_t i = 0; i < n; i++, j->seen[l]++) {
            const int64_t at = j->seen[l], before = at / HELD_OUT;
            const int64_t to = at % HELD_OUT == HELD_OUT - 1 ? j->n_learned + before : at - before;
            memcpy(j->x + (l * j->n + to) * j->c, (const float *)x->data + i * j->c,
                   (size_t)j->c * sizeof *j->x);
        }
    }
}

static void tell(const work *j, int64_t parts)
{
    if (j->o->progress)
        j->o->progress(j->o->progress_user, parts, PARTS * (j->layers + 1));
}

static bool is_aborted(const work *j)
{
    return j->o->abort && j->o->abort(j->o->abort_user);
}

static rk_status read_text(work *j, rk_session *s, rk_error *err)
{
    const rk_predictor_options *o = j->o;
    rk_status st = RK_OK;
    float *logits = malloc((size_t)j->host->hp.n_vocab * sizeof *logits);
    if (!logits)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for a text");
    s->scheduler.ctx.observe = observe;
    s->scheduler.ctx.observe_user = j;
    for (int64_t at = 0; at < j->n && st == RK_OK;) {
        const int64_t in_window = o->ctx_len - at % o->ctx_len;
        const int64_t n = rk_min_i64(rk_min_i64(PIECE, in_window), j->n - at);
        if (at % o->ctx_len == 0)
            rk_session_reset(s);
        j->n_read = n;
        st = is_aborted(j) ? rk_fail(err, RK_ERR_ABORTED, "stopped on request")
                           : rk_session_eval(s, o->tokens + at, n, logits, err);
        at += n;
        tell(j, PARTS * at / j->n);
    }
    free(logits);
    for (int64_t l = 0; l < j->layers && st == RK_OK; l++)
        if (j->seen[l] != j->n)
            st = rk_fail(err, RK_ERR_UNSUPPORTED, "the inputs of layer %" PRId64 " were not seen",
                         l);
    return st;
}

static rk_status read_all(work *j, rk_engine *e, rk_error *err)
{
    rk_session *s = NULL;
    rk_status st = rk_session_new(&s, j->host, e, err);
    if (st == RK_OK)
        st = read_text(j, s, err);
    rk_session_free(s);
    return st;
}

/* ---- records ---- */

typedef struct record_job {
    const rk_tensor *from; /* (F, C), or W_v (C, F) */
    float *to;             /* (F, 2, C) */
    float *row;            /* (threads, F) */
    int64_t f, c;
} record_job;

static void pack_key(void *arg, int64_t f, int worker)
{
    const record_job *j = arg;
    (void)worker;
    rk_matrix_row(j->from, RK_OUT_IN, f, j->to + f * 2 * j->c);
}

/* A row of W_v is of many records. */
static void pack_value(void *arg, int64_t i, int worker)
{
    const record_job *j = arg;
    float *row = j->row + worker * j->f;
    rk_matrix_row(j->from, RK_OUT_IN, i, row);
    for (int64_t f = 0; f < j->f; f++)
        j->to[(f * 2 + 1) * j->c + i] = row[f];
}

static void pack(const work *j, int64_t layer)
{
    record_job r = {.to = j->mix->records->data, .row = j->row, .f = j->f, .c = j->c};
    r.from = &matrix_of(j->host, layer, RK_RECORDS_KEY)->tensor;
    rk_pool_run_whole(j->pool, j->f, pack_key, &r);
    r.from = &matrix_of(j->host, layer, RK_RECORDS_VALUE)->tensor;
    rk_pool_run_whole(j->pool, j->c, pack_value, &r);
}

static rk_status take_matrices(work *j, int64_t layer, rk_error *err)
{
    const float *r = j->mix->records->data;
    pack(j, layer);
    j->min = j->max = r[0];
    for (int64_t f = 0; f < j->f; f++) {
        const float *key = r + f * 2 * j->c, *value = key + j->c;
        double squares = 0, sum = 0;
        memcpy(j->key + f * j->c, key, (size_t)j->c * sizeof *key);
        for (int64_t i = 0; i < j->c; i++) {
            j->min = fminf(j->min, key[i]);
            j->max = fmaxf(j->max, key[i]);
            sum += fabs((double)key[i]);
            squares += (double)value[i] * (double)value[i];
        }
        j->size[f] = (float)sqrt(squares);
        if (!isfinite(sum) || !isfinite(squares))
            return rk_fail(err, RK_ERR_NUMERIC,
                           "layer %" PRId64 ": neuron %" PRId64
                           " holds a number that is not finite",
                           layer, f);
    }
    return RK_OK;
}

/* ---- judging ---- */

static bool has(const int32_t *list, int64_t n, int64_t *at, int64_t f)
{
    while (*at < n && list[*at] < f)
        (*at)++;
    return *at < n && list[*at] == f;
}

static void judge_row(void *arg, int64_t i, int worker)
{
    work *j = arg;
    const float *z = j->z + (j->n_learned + i) * j->f;
    const float *guess = j->mix->planes ? j->guess + i * j->f : NULL;
    const float *mlp = j->mix->fc1 ? j->mlp + i * j->f : NULL;
    int32_t *list = j->list + (int64_t)worker * LISTS * j->f;
    int32_t *a = list + j->f, *b = a + j->f;
    const int64_t n = rk_sparse_mix_select(j->mix, guess, mlp, list);
    const int64_t n_a = mlp ? rk_sparse_mix_select(j->mix, NULL, mlp, a) : 0;
    const int64_t n_b = guess ? rk_sparse_mix_select(j->mix, guess, NULL, b) : 0;
    int64_t at = 0, at_a = 0, at_b = 0;
    counts k = {.kept = (double)n};
    for (int64_t f = 0; f < j->f; f++) {
        if (!(z[f] > 0))
            continue;
        const double weight = (double)z[f] * (double)z[f] * (double)j->size[f];
        const bool found = has(list, n, &at, f);
        k.active++;
        k.weight += weight;
        k.both += found;
        k.weight_found += found ? weight : 0;
        k.a += has(a, n_a, &at_a, f);
        k.b += has(b, n_b, &at_b, f);
    }
    j->of[i] = k;
}

static double share_of(double part, double all)
{
    return all > 0 ? part / all : 1;
}

/* With the limits that the mix has now. */
static rk_predictor_facts judge(work *j)
{
    const float *limits = j->mix->limits->data;
    const double all = (double)(n_held(j) * j->f);
    counts s = {0};
    rk_pool_run_whole(j->pool, n_held(j), judge_row, j);
    for (int64_t i = 0; i < n_held(j); i++) {
        const counts *k = &j->of[i];
        s.active += k->active;
        s.a += k->a;
        s.b += k->b;
        s.both += k->both;
        s.kept += k->kept;
        s.weight += k->weight;
        s.weight_found += k->weight_found;
    }
    return (rk_predictor_facts){.theta = (double)limits[0],
                                .p = (double)limits[1],
                                .active = s.active / all,
                                .kept = s.kept / all,
                                .recall_a = share_of(s.a, s.active),
                                .recall_b = share_of(s.b, s.active),
                                .recall = share_of(s.both, s.active),
                                .weighted = share_of(s.weight_found, s.weight)};
}

static rk_predictor_facts judge_at(work *j, double theta, double p)
{
    float *limits = j->mix->limits->data;
    limits[0] = (float)theta;
    limits[1] = (float)p;
    return judge(j);
}

/* ---- limits ---- */

/* The least theta from `least` on with which A alone keeps this share at most. */
static double theta_for(work *j, double least, double share)
{
    enum { HALVINGS = 16 };
    double lo = least, hi = 1;
    if (!j->mix->fc1 || judge_at(j, least, 1).kept <= share)
        return least;
    for (int i = 0; i < HALVINGS; i++) {
        const double mid = (lo + hi) / 2;
        if (judge_at(j, mid, 1).kept <= share)
            hi = mid;
        else
            lo = mid;
    }
    return hi;
}

/* The least p with which both keep this share at most: a whole number of neurons for B. */
static double p_for(work *j, double theta, double share)
{
    int64_t lo = 0, hi = j->f;
    while (j->mix->planes && lo < hi) {
        const int64_t mid = lo + (hi - lo + 1) / 2;
        if (judge_at(j, theta, 1 - (double)mid / (double)j->f).kept <= share)
            lo = mid;
        else
            hi = mid - 1;
    }
    return 1 - (double)lo / (double)j->f;
}

/* Of the ways to divide a share between the two the one that finds most. */
static rk_predictor_facts choose_limits(work *j)
{
    static const double parts[] = {0.5, 0, 0.25, 0.75, 1};
    const double active = judge_at(j, j->o->theta, 1).active;
    const double share = j->o->share > 0 ? j->o->share : fmin(2 * active, 1);
    rk_predictor_facts best = {.weighted = -1};
    for (size_t i = 0; i < RK_COUNT(parts); i++) {
        const double part = j->mix->planes ? parts[i] : 1;
        const double theta = theta_for(j, j->o->theta, part * share);
        const rk_predictor_facts f = judge_at(j, theta, p_for(j, theta, share));
        best = f.weighted > best.weighted ? f : best;
    }
    return judge_at(j, best.theta, best.p);
}

/* ---- a layer ---- */

static void fill_planes(void *arg, int64_t i, int worker)
{
    const work *j = arg;
    const int64_t lo = i * PIECE;
    (void)worker;
    rk_planes_fill(j->mix, j->key, lo, rk_min_i64(lo + PIECE, j->f), j->o->reference, j->min,
                   j->max);
}

static void guess_row(void *arg, int64_t i, int worker)
{
    const work *j = arg;
    (void)worker;
    rk_sparse_mix_guess(j->kern, j->mix, j->x + (j->n_learned + i) * j->c, 0, j->f,
                        j->guess + i * j->f);
}

static rk_status learn_mlp(work *j, const rk_model *made, rk_error *err)
{
    rk_mlp_lesson l = {.n = j->n_learned,
                       .c = j->c,
                       .f = j->f,
                       .h = j->o->hidden,
                       .x = j->x,
                       .z = j->z,
                       .fc1 = j->mix->fc1->data,
                       .fc2 = j->mix->fc2->data,
                       .steps = j->o->steps,
                       .seed = j->o->seed};
    while (&made->params[l.index].tensor != j->mix->fc1)
        l.index++;
    rk_status st = rk_mlp_learn(&l, j->kern, j->pool, err);
    l.n = n_held(j);
    l.x = j->x + j->n_learned * j->c;
    return st == RK_OK ? rk_mlp_scores(&l, j->kern, j->pool, j->hidden, j->mlp, err) : st;
}

/* j->x is that of the layer. */
static rk_status make_layer(work *j, const rk_model *made, int64_t layer, rk_predictor_facts *facts,
                            rk_error *err)
{
    rk_status st = take_matrices(j, layer, err);
    if (st != RK_OK)
        return st;
    rk_gemm(j->kern, j->pool, j->gemm, (rk_gemm_shape){j->n, j->f, j->c},
            (rk_matrix){j->x, RK_F32, j->c, 1}, (rk_matrix){j->key, RK_F32, 1, j->c}, j->z, j->f,
            false, false);
    if (j->mix->fc1)
        st = learn_mlp(j, made, err);
    if (st != RK_OK)
        return st;
    if (j->mix->planes) {
        rk_pool_run_whole(j->pool, rk_ceil_div(j->f, PIECE), fill_planes, j);
        rk_pool_run_whole(j->pool, n_held(j), guess_row, j);
    }
    *facts = j->o->p ? judge_at(j, j->o->theta, j->o->p[layer]) : choose_limits(j);
    return RK_OK;
}

static rk_status make_layers(work *j, const rk_model *made, rk_predictor_facts *facts,
                             rk_error *err)
{
    float *const x = j->x;
    rk_status st = RK_OK;
    for (int64_t l = 0; l < j->layers && st == RK_OK; l++) {
        j->x = x + l * j->n * j->c;
        j->mix = &made->mixes[l];
        st = is_aborted(j) ? rk_fail(err, RK_ERR_ABORTED, "stopped on request")
                           : make_layer(j, made, l, &facts[l], err);
        tell(j, PARTS * (l + 2));
    }
    j->x = x;
    return st;
}

/* ---- the model ---- */

static rk_status check(const rk_model *host, const rk_predictor_options *o, rk_error *err)
{
    if (host->hp.ffn_records)
        return rk_fail(err, RK_ERR_UNSUPPORTED,
                       "%s: its channel mix is in records already; expected whole matrices",
                       rk_model_name(host));
    if (!rk_size_find(host->arch, "ffn_records"))
        return rk_fail(err, RK_ERR_UNSUPPORTED,
                       "%s models have no channel mix that can be in records here; those of rwkv4 "
                       "to rwkv7, rwkv7a, rrwkv and meta7 have",
                       host->arch->name);
    rk_hparams hp = host->hp;
    hp.ffn_records = 1;
    const rk_status st = rk_records_settle(host->arch, &hp, NULL, err);
    if (st != RK_OK)
        return st;
    if (o->n_tokens >= HELD_OUT)
        return RK_OK;
    return rk_fail(err, RK_ERR_ARG, "a text of %" PRId64 " tokens, expected %d at least",
                   o->n_tokens, HELD_OUT);
}

static void free_work(work *j)
{
    void *const all[] = {j->x,     j->seen, j->key,    j->size, j->row, j->z,
                         j->guess, j->mlp,  j->hidden, j->list, j->of,  j->gemm};
    for (size_t i = 0; i < RK_COUNT(all); i++)
        free(all[i]);
}

static rk_status take_memory(work *j, rk_error *err)
{
    const int threads = rk_pool_n_threads(j->pool);
    const size_t n = (size_t)j->n, f = (size_t)j->f, c = (size_t)j->c, held = (size_t)n_held(j);
    const size_t gemm = rk_gemm_scratch(j->kern, threads, (rk_gemm_shape){j->n, j->f, j->c});
    j->x = malloc((size_t)j->layers * n * c * sizeof *j->x);
    j->seen = calloc((size_t)j->layers, sizeof *j->seen);
    j->key = malloc(f * c * sizeof *j->key);
    j->size = malloc(f * sizeof *j->size);
    j->row = malloc((size_t)threads * f * sizeof *j->row);
    j->z = malloc(n * f * sizeof *j->z);
    j->guess = malloc(held * f * sizeof *j->guess);
    j->mlp = malloc(held * f * sizeof *j->mlp);
    j->hidden = malloc(held * (size_t)j->o->hidden * sizeof *j->hidden + 1);
    j->list = malloc((size_t)threads * LISTS * f * sizeof *j->list);
    j->of = malloc(held * sizeof *j->of);
    j->gemm = aligned_alloc(64, rk_align_up(gemm + 64, 64));
    const bool ok = j->x && j->seen && j->key && j->size && j->row && j->z && j->guess && j->mlp &&
                    j->hidden && j->list && j->of && j->gemm;
    return ok ? RK_OK : rk_fail(err, RK_ERR_NOMEM, "out of memory for %" PRId64 " tokens", j->n);
}

static rk_status make(rk_model **out, work *j, rk_engine *e, rk_predictor_facts *facts,
                      rk_error *err)
{
    rk_hparams hp = j->host->hp;
    hp.ffn_records = 1;
    hp.plane_bits = j->o->bits;
    hp.predictor_size = j->o->hidden;
    rk_status st = read_all(j, e, err);
    if (st == RK_OK)
        st = rk_remade_new(out, j->host, &hp, err);
    if (st != RK_OK)
        return st;
    rk_engine_lock(e);
    st = make_layers(j, *out, facts, err);
    rk_engine_unlock(e);
    return st;
}

rk_status rk_predictor_new(rk_model **out, const rk_model *host, rk_engine *e,
                           const rk_predictor_options *o, rk_predictor_facts *facts, rk_error *err)
{
    work j = {.host = host,
              .o = o,
              .kern = rk_engine_kernels(e),
              .pool = rk_engine_pool(e),
              .n = o->n_tokens,
              .n_learned = o->n_tokens - o->n_tokens / HELD_OUT,
              .f = host->hp.dim_ffn,
              .c = host->hp.n_embd,
              .layers = host->hp.n_layer};
    *out = NULL;
    rk_status st = check(host, o, err);
    if (st == RK_OK)
        st = take_memory(&j, err);
    if (st == RK_OK)
        st = make(out, &j, e, facts, err);
    free_work(&j);
    if (st != RK_OK) {
        rk_remade_close(*out);
        *out = NULL;
    }
    return st;
}

/* ---- whole again ---- */

typedef struct unpack_job {
    const rk_tensor *records;
    float *key, *value; /* (F, C), (C, F) */
    float *row;         /* (threads, C) */
    int64_t f, c;
} unpack_job;

static void unpack_record(void *arg, int64_t i, int worker)
{
    const unpack_job *j = arg;
    const int64_t dims[2] = {2 * j->f, j->c}; /* key and value of each record as rows */
    const rk_tensor rows = rk_tensor_over(j->records->dtype, 2, dims, j->records->data);
    float *row = j->row + worker * j->c;
    rk_matrix_row(&rows, RK_OUT_IN, 2 * i, j->key + i * j->c);
    rk_matrix_row(&rows, RK_OUT_IN, 2 * i + 1, row);
    for (int64_t c = 0; c < j->c; c++)
        j->value[c * j->f + i] = row[c];
}

rk_status rk_records_unpack(rk_model *made, const rk_model *host, rk_pool *pool, rk_error *err)
{
    unpack_job j = {.f = host->hp.dim_ffn, .c = host->hp.n_embd};
    if (!host->hp.ffn_records)
        return RK_OK;
    j.row = malloc((size_t)(rk_pool_n_threads(pool) * j.c) * sizeof *j.row);
    if (!j.row)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for whole matrices");
    for (int64_t l = 0; l < host->hp.n_layer; l++) {
        j.records = host->mixes[l].records;
        j.key = matrix_of(made, l, RK_RECORDS_KEY)->tensor.data;
        j.value = matrix_of(made, l, RK_RECORDS_VALUE)->tensor.data;
        rk_pool_run_whole(pool, j.f, unpack_record, &j);
    }
    free(j.row);
    return RK_OK;
}
