/* recurrence.c: which neurons of a channel mix a trained model uses, which clusters of a hierarchical head, and how often
 * the same ones come again.
 *
 *     bench/recurrence MODEL TEXT [TOKENS]
 *
 * Active are the inputs of ffn.value that are not zero. For every layer: their share; the share of a token's active
 * neurons that the token before had, too; and the hits of a cache (io/row_cache.h) of a fifth, two fifths and
 * three fifths of all neurons. What a cache of records is worth follows from it, and bench/lite makes random
 * models that come near. Of a hierarchical head (rwkv compress head): clusters that a token chose, the share of the
 * head's rows that are theirs, and how many of these rows the token before read, too. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/str.h"
#include "format/format.h"
#include "infer/session.h"
#include "io/row_cache.h"
#include "model/clusters.h"
#include "model/lm.h"
#include "rk.h"

enum { CACHES = 3 };

typedef struct layer {
    const rk_tensor *value;
    int64_t n, active, again, tokens;
    unsigned char *before; /* (n) */
    rk_row_cache *caches[CACHES];
} layer;

/* Of a hierarchical head. */
typedef struct head {
    const rk_lm_top *top; /* NULL: there is none */
    const rk_clusters *clusters;
    int64_t chosen, rows, again, tokens;
    float *scores;
    double *log_q;
    int32_t *order;
    unsigned char *before; /* (K) */
} head;

typedef struct watch {
    head head;
    layer *layers;
    int64_t n_layers;
    int32_t *list;
    const void **rows;
    rk_map nothing; /* rows of no bytes' worth: only which ones are held matters */
} watch;

static void ask_caches(watch *w, layer *l, int64_t n)
{
    for (int i = 0; i < CACHES; i++) {
        int64_t found = 0;
        for (int64_t from = 0; from < n; from += found)
            rk_row_cache_fetch(l->caches[i], NULL, w->list + from, n - from, w->rows, &found, NULL);
    }
}

/* The clusters that the head is going to choose for x. */
static void observe_head(head *h, const float *x)
{
    const rk_clusters *c = h->clusters;
    const rk_tensor *w = h->top->head_l1;
    const int64_t width = w->dims[1];
    for (int64_t k = 0; k < c->n; k++) {
        const float *row = (const float *)w->data + k * width;
        h->scores[k] = ((const float *)h->top->head_l1_bias->data)[k];
        for (int64_t i = 0; i < width; i++)
            h->scores[k] += row[i] * x[i];
    }
    const int64_t n = rk_clusters_choose(c, h->scores, h->log_q, h->order);
    for (int64_t i = 0; i < c->n; i++) {
        const int32_t k = h->order[i];
        const int64_t rows = i < n ? c->begin[k + 1] - c->begin[k] : 0;
        h->rows += rows;
        h->again += h->before[k] ? rows : 0;
        h->before[k] = i < n;
    }
    h->chosen += n;
    h->tokens++;
}

static void observe(void *user, const rk_tensor *weight, const rk_tensor *x)
{
    watch *w = user;
    layer *l = w->layers;
    if (w->head.top && weight->data == w->head.top->head_l1->data && rk_tensor_rows(x) == 1)
        observe_head(&w->head, x->data);
    while (l < w->layers + w->n_layers && l->value->data != weight->data)
        l++;
    if (l == w->layers + w->n_layers || rk_tensor_rows(x) != 1)
        return;
    int64_t n = 0;
    for (int64_t i = 0; i < l->n; i++) {
        const bool active = ((const float *)x->data)[i] != 0.0f;
        if (active)
            w->list[n++] = (int32_t)i;
        l->again += active && l->before[i];
        l->before[i] = active;
    }
    ask_caches(w, l, n);
    l->active += n;
    l->tokens++;
}

static rk_status watch_layers(watch *w, const rk_model *m, rk_error *err)
{
    const int64_t f = m->hp.dim_ffn;
    w->layers = calloc((size_t)m->hp.n_layer, sizeof *w->layers);
    w->list = calloc((size_t)f, sizeof *w->list);
    w->rows = calloc((size_t)f, sizeof *w->rows);
    unsigned char *bytes = calloc((size_t)f, 1);
    rk_status st = w->layers && w->list && w->rows && bytes
                       ? rk_map_memory(&w->nothing, bytes, (size_t)f, "nothing", err)
                       : rk_fail(err, RK_ERR_NOMEM, "out of memory");
    for (int64_t i = 0; i < m->n_params && st == RK_OK; i++) {
        const rk_param *p = &m->params[i];
        if (!rk_ends_with(p->name, "ffn.value.weight"))
            continue;
        layer *l = &w->layers[w->n_layers++];
        *l = (layer){.value = &p->tensor, .n = f, .before = calloc((size_t)f, 1)};
        for (int c = 0; c < CACHES && st == RK_OK; c++)
            st = rk_row_cache_new(&l->caches[c], &w->nothing, bytes, 1, f, f * (c + 1) / 5, err);
    }
    return st;
}

static rk_status watch_head(watch *w, const rk_model *m, rk_error *err)
{
    head *h = &w->head;
    const size_t n = (size_t)m->hp.n_clusters;
    if (!m->clusters)
        return RK_OK;
    *h = (head){.top = m->top,
                .clusters = m->clusters,
                .scores = calloc(n, sizeof *h->scores),
                .log_q = calloc(n, sizeof *h->log_q),
                .order = calloc(n, sizeof *h->order),
                .before = calloc(n, 1)};
    return h->scores && h->log_q && h->order && h->before
               ? RK_OK
               : rk_fail(err, RK_ERR_NOMEM, "out of memory");
}

static void print_head(const head *h)
{
    if (h->top)
        printf("\nhead: %.1f of %" PRId64
               " clusters a token, %.1f %% of the rows, of which %.1f %% were read for the "
               "token before, too\n",
               (double)h->chosen / (double)h->tokens, h->clusters->n,
               100 * (double)h->rows / (double)(h->tokens * h->clusters->n_vocab),
               100 * (double)h->again / (double)h->rows);
}

static void print_layer(const char *name, double active, double again, const double *hits)
{
    printf("| %s | %.1f | %.1f |", name, 100 * active, 100 * again);
    for (int c = 0; c < CACHES; c++)
        printf(" %.1f |", 100 * hits[c]);
    puts("");
}

static void print(const watch *w)
{
    double sum[2] = {0}, all[CACHES] = {0};
    const double n = (double)w->n_layers;
    puts("| layer | active, % of neurons | active before, too, % | hits of a cache of 20 % | 40 % "
         "| 60 % |\n"
         "|---|---|---|---|---|---|");
    for (int64_t i = 0; i < w->n_layers; i++) {
        const layer *l = &w->layers[i];
        const double active = (double)l->active / (double)(l->tokens * l->n);
        const double again = (double)l->again / (double)l->active;
        double hits[CACHES];
        char name[24];
        for (int c = 0; c < CACHES; c++) {
            const rk_row_stats s = rk_row_cache_stats(l->caches[c]);
            all[c] += hits[c] = (double)s.hits / (double)(s.hits + s.misses);
        }
        snprintf(name, sizeof name, "%" PRId64, i);
        print_layer(name, active, again, hits);
        sum[0] += active;
        sum[1] += again;
    }
    for (int c = 0; c < CACHES; c++)
        all[c] /= n;
    print_layer("all", sum[0] / n, sum[1] / n, all);
}

static rk_status read_text(const char *path, char **text, size_t *n, rk_error *err)
{
    rk_map m;
    const rk_status st = rk_map_open(&m, path, err);
    if (st != RK_OK)
        return st;
    *n = m.size;
    *text = malloc(m.size);
    if (*text)
        memcpy(*text, m.data, m.size);
    rk_map_close(&m);
    return *text ? RK_OK : rk_fail(err, RK_ERR_NOMEM, "out of memory");
}

static rk_status measure(const char *model, const char *path, int64_t max, rk_error *err)
{
    rk_engine *e = NULL;
    rk_model *m = NULL;
    rk_session *s = NULL;
    rk_tokenizer *t = NULL;
    char *text = NULL;
    size_t n_bytes = 0;
    watch w = {0};
    rk_status st = rk_engine_new(&e, NULL, err);
    if (st == RK_OK)
        st = rk_model_open(&m, model, err);
    if (st == RK_OK)
        st = rk_model_vocabulary(&t, NULL, m, model, err);
    if (st == RK_OK)
        st = rk_session_new(&s, m, e, err);
    if (st == RK_OK)
        st = watch_layers(&w, m, err);
    if (st == RK_OK)
        st = watch_head(&w, m, err);
    if (st == RK_OK)
        st = read_text(path, &text, &n_bytes, err);
    if (st != RK_OK)
        return st;
    int32_t *ids = malloc(n_bytes * sizeof *ids);
    float *logits = malloc((size_t)m->hp.n_vocab * sizeof *logits);
    const int64_t n =
        ids && logits
            ? rk_min_i64(rk_tokenizer_encode(t, text, n_bytes, ids, (int64_t)n_bytes), max)
            : 0;
    s->scheduler.ctx.observe = observe;
    s->scheduler.ctx.observe_user = &w;
    for (int64_t i = 0; i < n && st == RK_OK; i++)
        st = rk_session_eval(s, ids + i, 1, logits, err);
    if (w.n_layers > 0) /* else they are in records */
        print(&w);
    print_head(&w.head);
    return st;
}

int main(int argc, char **argv)
{
    rk_error err = {0};
    if (argc != 3 && argc != 4) {
        fputs("usage: recurrence MODEL TEXT [TOKENS]\n", stderr);
        return 2;
    }
    if (measure(argv[1], argv[2], argc == 4 ? atoll(argv[3]) : 2000, &err) == RK_OK)
        return 0;
    fprintf(stderr, "recurrence: %s\n", err.msg);
    return 1;
}
