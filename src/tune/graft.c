/* graft.c: a wuneng model around the tensors of its host. New tensors have initial values, and zeros where
 * they lead back to the residual stream. A host that has such heads already keeps them: heads are rows or
 * columns behind those that are there, so the old tensor is the first block of the new one. */
#include "tune/graft.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "format/scheme.h"

/* ---- sizes ---- */

static bool is_given(const rk_graft *how, const char *name)
{
    for (int64_t i = 0; i < how->n_sizes; i++)
        if (!strcmp(how->sizes[i].name, name))
            return true;
    return false;
}

static double size_of(const rk_model *m, const char *name)
{
    const rk_size_spec *s = rk_size_find(m->arch, name);
    return s ? rk_size_value(s, &m->hp) : 0;
}

/* What heads from an RWKV-7 model bring: {its name, ours}. */
static const char *const imported[][2] = {
    {"rank_w", "decay_rank"}, {"rank_a", "iclr_rank"},          {"rank_v", "value_rank"},
    {"rank_g", "gate_rank"},  {"head_size", "state_head_size"}, {"removal_scale", "removal_scale"}};
static const char *const switched_on[] = {"value_residual", "bonus", "output_gate"};

/* The host's sizes, those of the heads that come, and what is asked for. */
static int64_t gather_sizes(const rk_model *host, const rk_graft *how, rk_size *sizes)
{
    const rk_arch *arch = &rk_arch_wuneng;
    const rk_size_spec *s;
    int64_t n = 0;
    for (int i = 0; (s = rk_size_at(arch, i)); i++) {
        const rk_size_spec *own = rk_size_find(host->arch, s->name);
        if (own && s->initial.rule && !is_given(how, s->name) && rk_size_value(own, &host->hp) > 0)
            sizes[n++] = (rk_size){s->name, rk_size_value(own, &host->hp)};
    }
    if (host->arch != arch)
        sizes[n++] = (rk_size){"unbiased", host->arch == &rk_arch_llama};
    for (size_t i = 0; how->from && i < RK_COUNT(imported); i++)
        if (!is_given(how, imported[i][1]))
            sizes[n++] = (rk_size){imported[i][1], size_of(how->from, imported[i][0])};
    for (size_t i = 0; how->from && i < RK_COUNT(switched_on); i++)
        if (!is_given(how, switched_on[i]))
            sizes[n++] = (rk_size){switched_on[i], 1};
    for (int64_t i = 0; i < how->n_sizes; i++)
        sizes[n++] = how->sizes[i];
    return n;
}

static rk_status check_models(const rk_model *host, const rk_model *from, rk_error *err)
{
    if (from && (from->arch != &rk_arch_rwkv7 || !from->file))
        return rk_fail(err, RK_ERR_UNSUPPORTED, "state heads come from rwkv7 models, not from %s",
                       from->arch->name);
    if (host->file && (host->arch == &rk_arch_qwen2 || host->arch == &rk_arch_llama ||
                       host->arch == &rk_arch_wuneng))
        return RK_OK;
    return rk_fail(err, RK_ERR_UNSUPPORTED,
                   "heads are grafted on qwen2, llama and wuneng models; the host is %s",
                   host->arch->name);
}

/* A host that has heads keeps them, and what they are. */
static rk_status check_growth(const rk_model *host, const rk_model *m, rk_error *err)
{
    static const char *const kept[] = {"state_head_size", "decay_rank",   "iclr_rank",
                                       "middle_mode",     "head_output",  "value_residual",
                                       "bonus",           "output_gate",  "two_hop",
                                       "value_from",      "removal_scale"};
    static const char *const growing[] = {"state_heads", "middle_heads", "taps"};
    if (host->arch != m->arch)
        return RK_OK;
    for (size_t i = 0; i < RK_COUNT(kept); i++)
        if (size_of(host, kept[i]) != size_of(m, kept[i]))
            return rk_fail(err, RK_ERR_ARG, "%s is %g in the host, whose heads stay, not %g",
                           kept[i], size_of(host, kept[i]), size_of(m, kept[i]));
    for (int64_t l = 0; l < m->hp.n_layer; l++)
        if (rk_layer_in(&m->hp.kept, l) && !rk_layer_in(&host->hp.kept, l))
            return rk_fail(err, RK_ERR_ARG,
                           "layer %" PRId64 " of the host has heads, which stay: it is to be among "
                           "the layers",
                           l);
    for (size_t i = 0; i < RK_COUNT(growing); i++)
        if (size_of(host, growing[i]) > size_of(m, growing[i]))
            return rk_fail(err, RK_ERR_ARG,
                           "%s is %g in the host: expected at least as many, not %g", growing[i],
                           size_of(host, growing[i]), size_of(m, growing[i]));
    return RK_OK;
}

static rk_status check_source(const rk_model *m, const rk_model *from, rk_error *err)
{
    if (from->hp.n_embd == m->hp.n_embd && (double)from->hp.n_head >= size_of(m, "state_heads") &&
        (double)from->hp.head_size == size_of(m, "state_head_size"))
        return RK_OK;
    return rk_fail(err, RK_ERR_ARG,
                   "the rwkv7 model has %" PRId64 " heads of %" PRId64 " in %" PRId64
                   " channels: expected at least %g of %g in %" PRId64,
                   from->hp.n_head, from->hp.head_size, from->hp.n_embd, size_of(m, "state_heads"),
                   size_of(m, "state_head_size"), m->hp.n_embd);
}

/* ---- values ---- */

/* What is behind the prefix of a layer's name; "" where it is no tensor of ours. */
static const char *own_name(const rk_param *p)
{
    const char *at = strstr(p->name, ".wuneng.");
    return at ? at + strlen(".wuneng.") : "";
}

/* Back to the residual stream. */
static bool leads_out(const char *name)
{
    return !strcmp(name, "mid_out.weight") || !strcmp(name, "mid_alpha") ||
           !strcmp(name, "state_alpha") || !strcmp(name, "state_out.weight");
}

/* All elements of a tensor, in the order of its dimensions, to be freed. */
static rk_status straight(const rk_file_tensor *t, float **out, rk_error *err)
{
    const int64_t n = rk_file_tensor_count(t), cols = t->n_dims ? t->dims[t->n_dims - 1] : 1;
    if (rk_dtype_is_blocks(t->dtype) || t->dtype == RK_U8)
        return rk_fail(err, RK_ERR_UNSUPPORTED, "tensor '%.80s' is in %s, expected plain numbers",
                       t->name, t->dtype == RK_U8 ? "bytes with ranges" : "blocks");
    float *x = malloc((size_t)n * sizeof *x + 1), *flat = malloc((size_t)n * sizeof *x + 1);
    if (!x || !flat) {
        free(x);
        free(flat);
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for tensor '%.80s'", t->name);
    }
    rk_file_floats(t, 0, n, flat);
    for (int64_t i = 0; i < n; i++)
        x[i] = t->exchanged ? flat[i % cols * (n / cols) + i / cols] : flat[i];
    free(flat);
    *out = x;
    return RK_OK;
}

/* Three dimensions, those that are missing being 1. */
static void dims_of(int n_dims, const int64_t *dims, int64_t out[3])
{
    out[0] = out[1] = out[2] = 1;
    for (int i = 0; i < n_dims; i++) {
        const int at = 3 - n_dims + i;
        if (at >= 0)
            out[at] = dims[i];
    }
}

/* The first block of x, a parameter's values, becomes that of t, as large as both are. */
static rk_status put_block(const rk_param *p, const rk_file_tensor *t, double scale, float *x,
                           rk_error *err)
{
    int64_t to[3], from[3];
    dims_of(p->tensor.n_dims, p->tensor.dims, to);
    dims_of(t->n_dims, t->dims, from);
    float *y = NULL;
    const rk_status st = straight(t, &y, err);
    if (st != RK_OK)
        return st;
    for (int64_t i = 0; i < rk_min_i64(to[0], from[0]); i++)
        for (int64_t j = 0; j < rk_min_i64(to[1], from[1]); j++)
            for (int64_t k = 0; k < rk_min_i64(to[2], from[2]); k++)
                x[(i * to[1] + j) * to[2] + k] =
                    (float)(scale * (double)y[(i * from[1] + j) * from[2] + k]);
    free(y);
    return RK_OK;
}

/* The tensor of an RWKV-7 model that state heads begin with; NULL: none has this part. */
static const rk_file_tensor *source_of(const rk_model *m, const rk_model *from, const rk_param *p)
{
    const char *own = own_name(p), *theirs = own;
    char name[2 * RK_PARAM_NAME_MAX];
    if (!from || !strcmp(own, "mid_out.weight"))
        return NULL;
    if (!strcmp(own, "state_out.weight"))
        theirs = "output.weight";
    snprintf(name, sizeof name, "blocks.%" PRId64 ".att.%s",
             p->layer * from->hp.n_layer / m->hp.n_layer, theirs);
    return rk_file_find(from->file, name);
}

/* A layer's own values. */
static rk_status fill(const rk_model *m, const rk_model *host, const rk_graft *how, int64_t i,
                      float *x, rk_error *err)
{
    const rk_param *p = &m->params[i];
    const char *own = own_name(p);
    const rk_file_tensor *grown = rk_file_find(host->file, p->name);
    const rk_file_tensor *source = source_of(m, how->from, p);
    rk_status st = rk_param_init(m, i, how->seed, x, NULL, err);
    const bool shared = size_of(m, "head_output") == 1 && !strcmp(own, "state_out.weight");
    if (st == RK_OK && leads_out(own) && !shared)
        memset(x, 0, (size_t)rk_tensor_count(&p->tensor) * sizeof *x);
    if (st == RK_OK && source)
        st = put_block(p, source, leads_out(own) ? how->out_scale : 1, x, err);
    if (st == RK_OK && grown)
        st = put_block(p, grown, 1, x, err);
    return st;
}

/* ---- the model ---- */

static bool is_the_hosts(const rk_model *host, const rk_param *p)
{
    const rk_file_tensor *t = rk_file_find(host->file, p->name);
    int64_t count = 1;
    for (int i = 0; t && i < t->n_dims; i++)
        count *= t->dims[i];
    return t && count == rk_tensor_count(&p->tensor) && !*own_name(p);
}

static rk_status fill_all(rk_model *m, const rk_model *host, const rk_graft *how, rk_error *err)
{
    int64_t n = 0;
    for (int64_t i = 0; i < m->n_params; i++)
        n += is_the_hosts(host, &m->params[i]) ? 0 : rk_tensor_count(&m->params[i].tensor);
    float *at = m->owned = malloc((size_t)n * sizeof *at + 1);
    rk_status st = at ? RK_OK : rk_fail(err, RK_ERR_NOMEM, "out of memory for the heads");
    for (int64_t i = 0; i < m->n_params && st == RK_OK; i++) {
        rk_param *p = &m->params[i];
        if (is_the_hosts(host, p))
            continue;
        p->tensor.dtype = RK_F32;
        p->tensor.data = at;
        p->trained = true; /* its values are these, also where the host has a smaller one */
        st = fill(m, host, how, i, at, err);
        at += rk_tensor_count(&p->tensor);
    }
    return st;
}

rk_status rk_graft_new(rk_model **out, const rk_model *host, const rk_graft *how, rk_error *err)
{
    rk_size sizes[3 * RK_GRAFT_SIZES_MAX];
    const rk_layer_set *kept = how->kept ? how->kept : &host->hp.kept;
    rk_hparams hp;
    *out = NULL;
    if (how->n_sizes > RK_GRAFT_SIZES_MAX)
        return rk_fail(err, RK_ERR_ARG, "%" PRId64 " sizes, expected %d at most", how->n_sizes,
                       RK_GRAFT_SIZES_MAX);
    rk_status st = check_models(host, how->from, err);
    if (st == RK_OK)
        st = rk_sizes_make_kept(&rk_arch_wuneng, sizes, gather_sizes(host, how, sizes), kept, &hp,
                                err);
    if (st == RK_OK)
        st = rk_model_new(out, &rk_arch_wuneng, &hp, err);
    if (st == RK_OK)
        st = check_growth(host, *out, err);
    if (st == RK_OK && how->from)
        st = check_source(*out, how->from, err);
    if (st == RK_OK)
        st = fill_all(*out, host, how, err);
    if (st == RK_OK) {
        (*out)->file = host->file;
        (*out)->ctx_len = host->ctx_len;
        return RK_OK;
    }
    rk_graft_close(*out);
    *out = NULL;
    return st;
}

void rk_graft_close(rk_model *m)
{
    if (m)
        m->file = NULL; /* the host's */
    rk_model_close(m);
}
