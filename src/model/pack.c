/* pack.c: packing at the first session, because only then it is known that the model will be run,
 * and there are threads to do it. The model is shared and does not change for those who look at it:
 * its tensors get another form beside the one in the file. */
#include "model/pack.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/pages.h"

enum { ALIGN = 64, GROUPS_OF_A_TASK = 16 };

/* All packed matrices lie in one piece of memory, in the order of the parameters, so that reading on
 * behind the end of one arrives at the next. */
struct rk_packs {
    pthread_mutex_t turn;
    unsigned char *memory; /* NULL until they are packed */
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
    free(p->memory);
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

/* The form of a parameter that is packed. */
static rk_dot8_matrix form_of(const rk_tensor *t)
{
    const bool whole = rk_tensor_is_contiguous(t);
    return (rk_dot8_matrix){.dtype = t->dtype, .n = t->dims[whole ? 0 : 1], .k = t->dims[whole ? 1 : 0]};
}

static size_t packed_bytes(const rk_dot8_matrix *w)
{
    return (size_t)rk_dot8_groups(w->n) * rk_dot8_group_bytes(w->dtype, w->k);
}

typedef struct pack_job {
    const rk_tensor *t;
    const rk_dot8_matrix *w;
    unsigned char *packed;
} pack_job;

static void pack_piece(void *arg, int64_t i, int worker)
{
    const pack_job *j = arg;
    const rk_dot8_matrix *w = j->w;
    const int64_t lo = i * GROUPS_OF_A_TASK;
    (void)worker;
    rk_dot8_pack(w->dtype, w->n, w->k, j->t->data, lo,
                 rk_min_i64(lo + GROUPS_OF_A_TASK, rk_dot8_groups(w->n)), j->packed);
}

/* Pack a parameter, and give back the pages of the file that held it. */
static void pack_param(const rk_model *m, rk_param *p, rk_dot8_matrix *w, unsigned char *packed,
                       rk_pool *pool)
{
    pack_job j = {&p->tensor, w, packed};
    rk_pool_run_whole(pool, rk_ceil_div(rk_dot8_groups(w->n), GROUPS_OF_A_TASK), pack_piece, &j);
    w->data = packed;
    p->tensor.packed = w;
    if (m->file)
        rk_file_drop(m->file, p->tensor.data, rk_tensor_bytes(&p->tensor));
}

static rk_status pack_all(const rk_model *m, rk_pool *pool, rk_error *err)
{
    rk_packs *packs = m->packs;
    size_t bytes = 0;
    void *memory;
    for (int64_t i = 0; i < m->n_params; i++)
        if (is_product(&m->params[i])) {
            packs->matrices[i] = form_of(&m->params[i].tensor);
            bytes += packed_bytes(&packs->matrices[i]);
        }
    if (posix_memalign(&memory, ALIGN, bytes + ALIGN) != 0)
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory for %zu bytes of matrices",
                       m->file ? rk_file_name(m->file) : "model", bytes);
    rk_pages_huge(memory, bytes);
    packs->memory = memory;
    for (int64_t i = 0; i < m->n_params; i++)
        if (is_product(&m->params[i])) {
            pack_param(m, &m->params[i], &packs->matrices[i], memory, pool);
            memory = (unsigned char *)memory + packed_bytes(&packs->matrices[i]);
        }
    return RK_OK;
}

rk_status rk_model_pack(const rk_model *m, rk_pool *pool, rk_error *err)
{
    rk_status st = RK_OK;
    pthread_mutex_lock(&m->packs->turn);
    if (!m->packs->memory)
        st = pack_all(m, pool, err);
    pthread_mutex_unlock(&m->packs->turn);
    return st;
}
