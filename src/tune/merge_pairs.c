/* merge_pairs.c: pairs that become wider. */
#include "tune/merge_pairs.h"

#include <inttypes.h>
#include <string.h>

#include "base/num.h"
#include "compress/remade.h"
#include "model/adaptable.h"
#include "model/pair.h"
#include "tune/merge.h"

/* ---- ranks ---- */

/* What a part adds to the rank of its pair. */
static int64_t rank_of(const rk_adapter_part *p)
{
    return p->start[0] ? 2 * p->rank : p->rank;
}

/* What all parts add to that of the pair of this name. */
static int64_t added_to(const rk_merge *how, const char *pair)
{
    int64_t added = 0;
    for (int64_t i = 0; i < how->n_uses; i++) {
        const rk_adapter_part *p = rk_adapter_set_find(how->uses[i].set, pair);
        added += p ? rank_of(p) : 0;
    }
    return added;
}

static rk_status check_pair(const rk_model *m, const rk_merge *how, const rk_adaptable *a,
                            int64_t rank, rk_error *err)
{
    if (how->take_out)
        return rk_fail(err, RK_ERR_UNSUPPORTED,
                       "'%s' is a low-rank pair: an adapter that was put into one cannot be taken "
                       "out",
                       a->name);
    if (m->hp.pair_form == RK_PAIR_ENHANCED)
        return rk_fail(err, RK_ERR_UNSUPPORTED,
                       "'%s' is an enhanced pair, which no pair with an adapter in it equals: use "
                       "the adapter beside the model (--adapter)",
                       a->name);
    if (rank > m->hp.n_embd)
        return rk_fail(err, RK_ERR_UNSUPPORTED,
                       "'%s' would be a pair of rank %" PRId64 ", expected n_embd %" PRId64
                       " at most: make the model whole first (rwkv compress dense)",
                       a->name, rank, m->hp.n_embd);
    return RK_OK;
}

/* The ranks that the kinds of pairs get; *any: one of them grows. */
static rk_status find_ranks(const rk_model *m, const rk_merge *how, rk_hparams *hp, bool *any,
                            rk_error *err)
{
    rk_status st = RK_OK;
    for (int64_t i = 0; i < m->n_params && st == RK_OK; i++) {
        rk_adaptable a;
        if (!rk_adaptable_at(m, i, &a) || !a.pair)
            continue;
        const int kind = rk_pair_kind(a.spec);
        const int64_t added = added_to(how, a.name), rank = m->hp.pair_rank[kind] + added;
        if (added == 0)
            continue;
        *any = true;
        st = check_pair(m, how, &a, rank, err);
        hp->pair_rank[kind] = rk_max_i64(hp->pair_rank[kind], rank);
    }
    return st;
}

/* ---- values ---- */

/* Where the next columns of a wider pair go. */
typedef struct wider {
    float *down, *up; /* (rank, in), (out, rank) */
    int64_t in, out, rank, at;
} wider;

static void put_pair(wider *to, const rk_low_rank *pair)
{
    const int64_t rank = pair->down->dims[0];
    memset(to->down, 0, (size_t)(to->rank * to->in) * sizeof *to->down);
    for (int64_t k = 0; k < rank; k++)
        rk_matrix_row(pair->down, RK_OUT_IN, k, to->down + k * to->in);
    for (int64_t o = 0; o < to->out; o++) {
        memset(to->up + o * to->rank, 0, (size_t)to->rank * sizeof *to->up);
        rk_matrix_row(pair->up, RK_OUT_IN, o, to->up + o * to->rank);
    }
    to->at = rank;
}

static void put_lora(wider *to, const rk_adapter_part *p, double scale)
{
    memcpy(to->down + to->at * to->in, p->tensors[0],
           (size_t)(p->rank * to->in) * sizeof *to->down);
    for (int64_t o = 0; o < to->out; o++)
        for (int64_t k = 0; k < p->rank; k++)
            to->up[o * to->rank + to->at + k] =
                (float)(scale * p->scale * (double)p->tensors[1][o * p->rank + k]);
    to->at += p->rank;
}

static rk_status put_parts(wider *to, const rk_merge *how, const char *name, rk_error *err)
{
    rk_adapter_set *loras = NULL;
    rk_status st = rk_adapter_set_new(&loras, err);
    for (int64_t i = 0; i < how->n_uses && st == RK_OK; i++) {
        const rk_adapter_part *p = rk_adapter_set_find(how->uses[i].set, name);
        if (!p)
            continue;
        st = rk_part_add_as_lora(loras, p, err);
        if (st == RK_OK)
            put_lora(to, &loras->parts[loras->n_parts - 1], how->uses[i].scale);
    }
    rk_adapter_set_free(loras);
    return st;
}

static rk_status fill_pair(const rk_model *made, const rk_adaptable *from, const rk_merge *how,
                           rk_error *err)
{
    rk_adaptable to = {0};
    rk_adaptable_named(made, from->name, &to);
    const rk_low_rank *pair = to.weight->low_rank;
    wider w = {pair->down->data, pair->up->data, to.in, to.out, pair->down->dims[0], 0};
    if (w.rank == from->weight->low_rank->down->dims[0]) /* the file's */
        return RK_OK;
    put_pair(&w, from->weight->low_rank);
    return put_parts(&w, how, from->name, err);
}

/* What is no pair is the host's; both have the same parameters. */
static rk_status fill(rk_model *made, const rk_model *m, const rk_merge *how, rk_error *err)
{
    rk_status st = RK_OK;
    for (int64_t i = 0; i < m->n_params && st == RK_OK; i++) {
        rk_param *p = &made->params[i];
        rk_adaptable a;
        int kind;
        if (rk_adaptable_at(m, i, &a) && a.pair)
            st = fill_pair(made, &a, how, err);
        else if (!rk_pair_is_part(p->spec, &kind) && (p->trained || m->params[i].trained)) {
            p->tensor = m->params[i].tensor;
            p->trained = true;
        }
    }
    return st;
}

rk_status rk_merge_pairs(rk_model **out, const rk_model *m, const rk_merge *how, rk_error *err)
{
    rk_hparams hp = m->hp;
    bool any = false;
    *out = NULL;
    rk_status st = find_ranks(m, how, &hp, &any, err);
    if (st != RK_OK || !any)
        return st;
    st = rk_remade_new(out, m, &hp, err);
    if (st == RK_OK)
        st = fill(*out, m, how, err);
    if (st != RK_OK) {
        rk_remade_close(*out);
        *out = NULL;
    }
    return st;
}
