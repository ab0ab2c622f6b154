/* base.c: opening the model that training begins with, and knowing it again. */
#include "train/base.h"

#include <inttypes.h>
#include <string.h>

#include "base/num.h"
#include "io/checksum.h"

/* Take the file's value for a size that is not given; refuse another. */
static rk_status take_size(const rk_model *m, const char *path, const char *name, int64_t *given,
                           rk_error *err)
{
    const rk_size_spec *s = rk_size_find(m->arch, name);
    const int64_t own = s ? (int64_t)rk_size_value(s, &m->hp) : 0;
    if (*given != 0 && *given != own)
        return rk_fail(err, RK_ERR_ARG, "%s is %" PRId64 ", but that of %s is %" PRId64, name,
                       *given, path, own);
    *given = own;
    return RK_OK;
}

static rk_status take_sizes(const rk_model *m, rk_train_params *p, rk_error *err)
{
    const struct {
        const char *name;
        int64_t *given;
    } sizes[] = {
        {"n_vocab", &p->n_vocab},     {"n_layer", &p->n_layer},    {"n_embd", &p->n_embd},
        {"head_size", &p->head_size}, {"dim_ffn", &p->dim_ffn},    {"rank_w", &p->lora_rank_w},
        {"rank_a", &p->lora_rank_a},  {"rank_v", &p->lora_rank_v}, {"rank_g", &p->lora_rank_g},
    };
    rk_status st = RK_OK;
    for (size_t i = 0; i < RK_COUNT(sizes) && st == RK_OK; i++)
        st = take_size(m, p->init_from, sizes[i].name, sizes[i].given, err);
    if (st == RK_OK && p->arch && strcmp(p->arch, m->arch->name) != 0)
        st = rk_fail(err, RK_ERR_ARG, "arch is %s, but that of %s is %s", p->arch, p->init_from,
                     m->arch->name);
    p->arch = m->arch->name;
    return st;
}

rk_status rk_base_open(rk_model **out, rk_train_params *p, rk_error *err)
{
    rk_model *m = NULL;
    rk_status st = rk_model_open(&m, p->init_from, err);
    if (st == RK_OK)
        st = take_sizes(m, p, err);
    if (st == RK_OK)
        *out = m;
    else
        rk_model_close(m);
    return st;
}

rk_status rk_base_checksum(const rk_model *m, uint64_t *checksum, rk_error *err)
{
    rk_checksum *c = rk_checksum_new();
    if (!c)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for a checksum");
    for (int64_t i = 0; i < m->n_params; i++) {
        const rk_file_tensor *t = rk_file_find(m->file, m->params[i].name);
        if (!t)
            continue;
        rk_checksum_add(c, t->name, strlen(t->name));
        rk_checksum_add(c, rk_dtype_name(t->dtype), strlen(rk_dtype_name(t->dtype)));
        rk_checksum_add(c, t->dims, (size_t)t->n_dims * sizeof *t->dims);
        rk_checksum_add(c, t->data, t->bytes);
    }
    *checksum = rk_checksum_value(c);
    rk_checksum_free(c);
    return rk_file_check(m->file, err);
}
