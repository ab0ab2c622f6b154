/* pack.c: packing at the first session, because only then it is known that the model will be run,
 * and there are threads to do it. The model is shared and does not change for those who look at it:
 * its tensors get another form beside the one in the file. */
#include "model/pack.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"

enum { ALIGN = 64, GROUPS_OF_A_TASK = 16 };

struct rk_packs {
    pthread_mutex_t turn;
    bool done;
    int64_t n;
    rk_dot8_matrix matrices[]; /* one for each parameter; data NULL where there is none */
};

rk_packs *rk_packs_new(int64_t n_params)
{
    rk_packs *p = calloc(1, sizeof *p + (size_t)n_params * sizeof *p->matrices);
    if (p && pthread_mutex_init(&p->turn, NULL) != 0) {
        free(p);
        return NULL;
    }
    if (p)
        p->n = n_params;
    return p;
}

void rk_packs_free(rk_packs *p)
{
    if (!p)
        return;
    for (int64_t i = 0; i < p->n; i++) {
        void *data;
        memcpy(&data, &p->matrices[i].data, sizeof data); /* ours, though read only to all others */
        free(data);
    }
    pthread_mutex_destroy(&p->turn);
    free(p);
}

/* A matrix whose rows in memory are outputs: whole, or seen transposed. Tables are read row by row
 * where they are. */
static bool is_product(const rk_param *p)
{
    const rk_tensor *t = &p->tensor;
    return p->used && t->data && t->n_dims == 2 && rk_dot8_has(t->dtype) && !rk_param_is_table(p);
}

typedef struct pack_job {
    const rk_tensor *t;
    int64_t n, k;
    unsigned char *packed;
} pack_job;

static void pack_piece(void *arg, int64_t i, int worker)
{
    const pack_job *j = arg;
    const int64_t lo = i * GROUPS_OF_A_TASK;
    (void)worker;
    rk_dot8_pack(j->t->dtype, j->n, j->k, j->t->data, lo,
                 rk_min_i64(lo + GROUPS_OF_A_TASK, rk_dot8_groups(j->n)), j->packed);
}

static rk_status pack_param(const rk_model *m, rk_param *p, rk_dot8_matrix *to, rk_pool *pool,
                            rk_error *err)
{
    const bool whole = rk_tensor_is_contiguous(&p->tensor);
    pack_job j = {&p->tensor, p->tensor.dims[whole ? 0 : 1], p->tensor.dims[whole ? 1 : 0], NULL};
    const int64_t groups = rk_dot8_groups(j.n);
    const size_t bytes = (size_t)groups * rk_dot8_group_bytes(j.t->dtype, j.k);
    void *memory = NULL;
    if (posix_memalign(&memory, ALIGN, bytes) != 0)
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory for the %zu bytes of '%s'",
                       m->file ? rk_file_name(m->file) : "model", bytes, p->name);
    j.packed = memory;
    rk_pool_run_whole(pool, rk_ceil_div(groups, GROUPS_OF_A_TASK), pack_piece, &j);
    *to = (rk_dot8_matrix){j.t->dtype, j.n, j.k, memory};
    p->tensor.packed = to;
    if (m->file)
        rk_file_drop(m->file, j.t->data, rk_tensor_bytes(j.t));
    return RK_OK;
}

rk_status rk_model_pack(const rk_model *m, rk_pool *pool, rk_error *err)
{
    rk_packs *packs = m->packs;
    rk_status st = RK_OK;
    pthread_mutex_lock(&packs->turn);
    for (int64_t i = 0; i < m->n_params && !packs->done && st == RK_OK; i++)
        if (is_product(&m->params[i]) && !packs->matrices[i].data)
            st = pack_param(m, &m->params[i], &packs->matrices[i], pool, err);
    packs->done = st == RK_OK;
    pthread_mutex_unlock(&packs->turn);
    return st;
}
