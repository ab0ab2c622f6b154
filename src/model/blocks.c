/* blocks.c: sizes of RWKV language models, read from a file's shapes or checked before training. */
#include "model/blocks.h"

#include <stdio.h>
#include <string.h>

#include "base/num.h"

const rk_file_tensor *rk_need_tensor(const rk_file *f, const char *arch, const char *name,
                                     int n_dims, rk_error *err)
{
    const rk_file_tensor *t = rk_file_find(f, name);
    if (!t)
        rk_fail(err, RK_ERR_FORMAT, "%s: no tensor '%s', which an %s model has", rk_file_name(f),
                name, arch);
    else if (t->n_dims != n_dims)
        rk_fail(err, RK_ERR_FORMAT, "%s: tensor '%s' has %d dimensions, expected %d",
                rk_file_name(f), name, t->n_dims, n_dims);
    return t && t->n_dims == n_dims ? t : NULL;
}

int64_t rk_count_layers(const rk_file *f)
{
    int64_t n = 0;
    for (int64_t i = 0; i < rk_file_count(f); i++) {
        int layer = 0;
        if (sscanf(rk_file_at(f, i)->name, "blocks.%6d.", &layer) == 1 && layer >= n)
            n = (int64_t)layer + 1;
    }
    return n;
}

rk_status rk_read_sizes(const rk_file *f, const char *arch, const rk_size_source *sources, int n,
                        rk_hparams *hp, rk_error *err)
{
    *hp = (rk_hparams){.n_layer = rk_count_layers(f), .ln_eps = RK_LN_EPS, .ln_x_eps = RK_LN_X_EPS};
    hp->tuned_state = rk_file_find(f, "blocks.0.att.time_state") != NULL;
    if (hp->n_layer < 1)
        return rk_fail(err, RK_ERR_FORMAT, "%s: no tensor 'blocks.0...'", rk_file_name(f));
    for (int i = 0; i < n; i++) {
        const rk_file_tensor *t = rk_need_tensor(f, arch, sources[i].name, sources[i].n_dims, err);
        if (!t)
            return RK_ERR_FORMAT;
        for (int d = 0; d < t->n_dims; d++) {
            /* An empty tensor may claim any size beside its 0, so every size is looked at. */
            if (t->dims[d] < 1 || t->dims[d] > INT32_MAX)
                return rk_fail(err, RK_ERR_FORMAT, "%s: a size of %lld in '%s', expected 1 to %d",
                               rk_file_name(f), (long long)t->dims[d], t->name, INT32_MAX);
            if (sources[i].sizes[d] != RK_HP_ANY)
                memcpy((char *)hp + sources[i].sizes[d], &t->dims[d], sizeof t->dims[d]);
        }
    }
    return RK_OK;
}

int64_t rk_dim_ffn_35(int64_t n_embd)
{
    return rk_max_i64(n_embd * 7 / 2 / 32 * 32, 32);
}

rk_status rk_check_new_sizes(rk_hparams *hp, rk_error *err)
{
    if (hp->head_size == 0)
        hp->head_size = 64;
    if (hp->n_vocab < 1 || hp->n_embd < 1 || hp->n_layer < 1 || hp->head_size < 1)
        return rk_fail(err, RK_ERR_ARG,
                       "n_vocab, n_embd, n_layer and head_size must be positive, got %lld, %lld, "
                       "%lld and %lld",
                       (long long)hp->n_vocab, (long long)hp->n_embd, (long long)hp->n_layer,
                       (long long)hp->head_size);
    if (hp->n_embd % hp->head_size != 0)
        return rk_fail(err, RK_ERR_ARG, "n_embd %lld is not a multiple of head_size %lld",
                       (long long)hp->n_embd, (long long)hp->head_size);
    hp->n_head = hp->n_embd / hp->head_size;
    hp->ln_eps = RK_LN_EPS;
    hp->ln_x_eps = RK_LN_X_EPS;
    return RK_OK;
}
