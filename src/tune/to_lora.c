/* to_lora.c: adapters as lora of the same effect. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "tune/merge.h"

static bool is_lora_of_more(const rk_adapter_part *p)
{
    return p->form == RK_PART_MISS || (p->form == RK_PART_LORA && p->start[0]);
}

/* A[k, i] = 1 where i mod r = k, B[o, k] = D[k, o mod width] */
static void put_miss(const rk_adapter_part *p, rk_adapter_part *out)
{
    for (int64_t i = 0; i < p->in; i++)
        out->tensors[0][i % p->rank * p->in + i] = 1.0f;
    for (int64_t o = 0; o < p->out; o++)
        for (int64_t k = 0; k < p->rank; k++)
            out->tensors[1][o * p->rank + k] = p->tensors[0][k * p->width + o % p->width];
}

/* (A; A0), (B, -B0) */
static void put_both(const rk_adapter_part *p, rk_adapter_part *out)
{
    const size_t a = (size_t)(p->rank * p->in) * sizeof(float);
    memcpy(out->tensors[0], p->tensors[0], a);
    memcpy(out->tensors[0] + p->rank * p->in, p->start[0], a);
    for (int64_t o = 0; o < p->out; o++)
        for (int64_t k = 0; k < p->rank; k++) {
            out->tensors[1][o * 2 * p->rank + k] = p->tensors[1][o * p->rank + k];
            out->tensors[1][o * 2 * p->rank + p->rank + k] = -p->start[1][o * p->rank + k];
        }
}

rk_status rk_part_add_as_lora(rk_adapter_set *to, const rk_adapter_part *p, rk_error *err)
{
    rk_adapter_part like = *p, *out;
    if (p->form != RK_PART_LORA && p->form != RK_PART_MISS)
        return rk_fail(err, RK_ERR_UNSUPPORTED, "%s: %s is no lora of any rank", p->name,
                       rk_forms[p->form].name);
    like.form = RK_PART_LORA;
    like.rank = p->start[0] ? 2 * p->rank : p->rank;
    like.scale = p->form == RK_PART_MISS ? 1.0 : p->scale;
    const rk_status st = rk_adapter_set_add(to, &like, &out, err);
    if (st != RK_OK)
        return st;
    if (p->form == RK_PART_MISS)
        put_miss(p, out);
    else if (p->start[0])
        put_both(p, out);
    else
        for (int i = 0; i < 2; i++)
            memcpy(out->tensors[i], p->tensors[i], (size_t)rk_part_count(p, i) * sizeof(float));
    return RK_OK;
}

static rk_status copy_whole(rk_adapter_set *to, const rk_adapter_whole *w, rk_error *err)
{
    rk_adapter_whole *out;
    int64_t n = 1;
    for (int d = 0; d < w->n_dims; d++)
        n *= w->dims[d];
    const rk_status st = rk_adapter_set_add_whole(to, w->name, w->n_dims, w->dims, &out, err);
    if (st == RK_OK)
        memcpy(out->data, w->data, (size_t)n * sizeof *out->data);
    return st;
}

/* What configures the same scales: alpha / r, or alpha / sqrt(r), with the ranks that they now have. */
static void set_alpha(rk_adapter_set *to, const rk_adapter_set *from)
{
    const rk_adapter_part *first = from->n_parts > 0 ? &from->parts[0] : NULL;
    to->rslora = from->rslora;
    to->alpha = from->alpha;
    if (first && is_lora_of_more(first)) {
        const double rank = (double)to->parts[0].rank;
        to->rslora = from->rslora && first->form == RK_PART_LORA;
        to->alpha = to->parts[0].scale * (to->rslora ? sqrt(rank) : rank);
    }
}

rk_status rk_adapter_set_to_lora(rk_adapter_set **out, const rk_adapter_set *s, rk_error *err)
{
    rk_adapter_set *to = NULL;
    rk_status st = rk_adapter_set_new(&to, err);
    for (int64_t i = 0; i < s->n_parts && st == RK_OK; i++)
        st = rk_part_add_as_lora(to, &s->parts[i], err);
    for (int64_t i = 0; i < s->n_whole && st == RK_OK; i++)
        st = copy_whole(to, &s->whole[i], err);
    if (st != RK_OK) {
        rk_adapter_set_free(to);
        return st;
    }
    strcpy(to->method, "lora");
    memcpy(to->arch, s->arch, sizeof to->arch);
    to->fingerprint = s->fingerprint;
    set_alpha(to, s);
    *out = to;
    return RK_OK;
}
