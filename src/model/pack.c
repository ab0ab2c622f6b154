/* pack.c: packing at the first session, because only then it is known that the model will be run,
 * and there are threads to do it. The model is shared and immutable for its users: its tensors get
 * another form beside the one in the file. */
#include "model/pack.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/pages.h"
#include "kernels/blocks.h"
#include "kernels/kernels.h"

enum { ALIGN = 64, PIECES_OF_A_TASK = 16 };
/* From which share of zeros on columns are faster, docs/measurements.md. */
static const double zeros_worth_it = 0.8;

/* All packed matrices lie in one piece of memory, in the order of the parameters, so that reading
 * on behind the end of one arrives at the next. */
struct rk_packs {
    pthread_mutex_t turn;
    bool done;
    unsigned char *memory;
    int64_t n;
    struct pack {
        rk_dot8_matrix form; /* data NULL where there is none */
        double zeros;        /* share of its inputs, if it was asked for */
    } of[];                  /* one for each parameter */
};

rk_packs *rk_packs_new(int64_t n_params)
{
    rk_packs *p = calloc(1, sizeof *p + (size_t)n_params * sizeof *p->of);
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

/* ---- which parameters, and as what ---- */

/* A matrix in blocks, whose rows in memory are outputs: whole, or seen transposed. Tables are read
 * row by row where they are. */
static bool is_in_blocks(const rk_param *p)
{
    const rk_tensor *t = &p->tensor;
    return t->data && rk_param_is_product(p) && rk_dot8_has(t->dtype);
}

/* A low-rank matrix in floats that Q8_0 has blocks for. */
static bool is_narrow(const rk_param *p)
{
    const rk_tensor *t = &p->tensor;
    return t->data && rk_param_is_low_rank(p) && rk_roles[p->role].any_type &&
           !rk_dtype_is_quantised(t->dtype) &&
           t->dims[rk_param_inputs(p)] % rk_dtype_block(RK_Q8_0) == 0;
}

static bool any_in_blocks(const rk_model *m)
{
    bool any = false;
    for (int64_t i = 0; i < m->n_params && !any; i++)
        any = is_in_blocks(&m->params[i]);
    return any;
}

/* Of a model any of whose matrices is in blocks; n 0: none. */
static rk_dot8_matrix form_of(const rk_param *p)
{
    const int in = rk_param_inputs(p);
    if (!is_in_blocks(p) && !is_narrow(p))
        return (rk_dot8_matrix){.n = 0};
    return (rk_dot8_matrix){.dtype = is_narrow(p) ? RK_Q8_0 : p->tensor.dtype,
                            .n = p->tensor.dims[1 - in],
                            .k = p->tensor.dims[in]};
}

/* The packed form of every parameter that has one; returns the bytes of all. */
static size_t choose_forms(const rk_model *m)
{
    const bool any = any_in_blocks(m);
    size_t bytes = 0;
    for (int64_t i = 0; i < m->n_params && any; i++) {
        const rk_dot8_matrix form = form_of(&m->params[i]);
        if (form.n == 0)
            continue;
        m->packs->of[i].form = form;
        bytes += rk_dot8_bytes(&form);
    }
    return bytes;
}

size_t rk_model_packed_bytes(const rk_model *m, int64_t i)
{
    const rk_dot8_matrix form = form_of(&m->params[i]);
    return form.n > 0 && any_in_blocks(m) ? rk_dot8_bytes(&form) : 0;
}

/* ---- packing ---- */

typedef struct pack_job {
    const rk_param *p;
    const rk_dot8_matrix *w;
    unsigned char *packed;
    atomic_bool failed; /* out of memory */
} pack_job;

/* Outputs [lo, lo + n) of a low-rank matrix, whose inputs are dimension `in`, as rows of floats. */
static void take_rows(const rk_tensor *t, int in, int64_t lo, int64_t n, float *rows)
{
    const int64_t k = t->dims[in], along = t->strides[in], across = t->strides[1 - in];
    const size_t size = rk_dtype_bytes(t->dtype);
    for (int64_t r = 0; r < n; r++)
        for (int64_t i = 0; i < k; i++)
            rk_kernels_ref_f32.widen(
                1, (const char *)t->data + (size_t)((lo + r) * across + i * along) * size, t->dtype,
                rows + r * k + i);
}

/* A group of 16 outputs of a low-rank matrix. */
static void pack_narrow(pack_job *j, int64_t group)
{
    const rk_dot8_matrix *w = j->w;
    const int64_t lo = group * RK_DOT8_ROWS, n = rk_min_i64(RK_DOT8_ROWS, w->n - lo);
    const size_t bytes = (size_t)(w->k / rk_dtype_block(w->dtype)) * rk_dtype_bytes(w->dtype);
    float *rows = malloc((size_t)n * ((size_t)w->k * sizeof *rows + bytes));
    if (!rows) {
        atomic_store(&j->failed, true);
        return;
    }
    void *blocks = rows + n * w->k;
    take_rows(&j->p->tensor, rk_param_inputs(j->p), lo, n, rows);
    rk_blocks_narrow(w->dtype, n * w->k, rows, NULL, blocks);
    rk_dot8_pack(&(rk_dot8_matrix){.dtype = w->dtype, .n = n, .k = w->k}, blocks, 0, 1,
                 j->packed + (size_t)group * rk_dot8_group_bytes(w->dtype, w->k));
    free(rows);
}

static void pack_piece(void *arg, int64_t i, int worker)
{
    pack_job *j = arg;
    const rk_dot8_matrix *w = j->w;
    const int64_t lo = i * PIECES_OF_A_TASK;
    const int64_t hi = rk_min_i64(lo + PIECES_OF_A_TASK, rk_dot8_pieces(w));
    (void)worker;
    if (rk_dtype_is_blocks(j->p->tensor.dtype))
        rk_dot8_pack(w, j->p->tensor.data, lo, hi, j->packed);
    else
        for (int64_t g = lo; g < hi; g++)
            pack_narrow(j, g);
}

/* Pack a parameter, and give back the pages of the file that held it. False: out of memory. */
static bool pack_param(const rk_model *m, rk_param *p, rk_dot8_matrix *w, unsigned char *packed,
                       rk_pool *pool)
{
    pack_job j = {.p = p, .w = w, .packed = packed};
    rk_pool_run_whole(pool, rk_ceil_div(rk_dot8_pieces(w), PIECES_OF_A_TASK), pack_piece, &j);
    if (j.failed)
        return false;
    w->data = packed;
    p->tensor.packed = w;
    if (m->file)
        rk_file_drop(m->file, p->tensor.data, rk_tensor_bytes(&p->tensor));
    return true;
}

bool rk_model_pack_asks(const rk_model *m, int64_t i)
{
    const rk_dot8_matrix *w = &m->packs->of[i].form;
    return rk_roles[m->params[i].role].zeros_in && w->n > 0 &&
           rk_dot8_has_columns(w->dtype, w->n, w->k);
}

/* Memory for all, the same whether a matrix is in columns or not. */
static rk_status take_memory(const rk_model *m, rk_error *err)
{
    rk_packs *packs = m->packs;
    const size_t bytes = choose_forms(m);
    void *memory = NULL;
    if (packs->memory) /* of a call that failed later */
        return RK_OK;
    if (posix_memalign(&memory, ALIGN, bytes + ALIGN) != 0)
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory for %zu bytes of packed matrices",
                       rk_model_name(m), bytes);
    rk_pages_huge(memory, bytes);
    packs->memory = memory;
    return RK_OK;
}

rk_status rk_model_pack(const rk_model *m, const double *zeros, rk_pool *pool, rk_error *err)
{
    const rk_status st = zeros ? RK_OK : take_memory(m, err);
    unsigned char *at = m->packs->memory;
    for (int64_t i = 0; i < m->n_params && st == RK_OK; i++) {
        struct pack *to = &m->packs->of[i];
        const bool asks = rk_model_pack_asks(m, i);
        if (asks && zeros)
            to->zeros = zeros[i];
        to->form.columns = asks && to->zeros >= zeros_worth_it;
        if (to->form.n > 0 && asks == (zeros != NULL) &&
            !pack_param(m, &m->params[i], &to->form, at, pool))
            return rk_fail(err, RK_ERR_NOMEM, "out of memory to pack '%s'", m->params[i].name);
        at += rk_dot8_bytes(&to->form);
    }
    return st;
}

double rk_model_pack_zeros(const rk_model *m, int64_t i)
{
    return m->packs->of[i].zeros;
}

int64_t rk_model_pack_bytes_read(const rk_model *m, int64_t i)
{
    const struct pack *p = &m->packs->of[i];
    const double numbers = (double)(p->form.n * p->form.k) * (p->form.dtype == RK_Q8_0 ? 1 : 0.5);
    const int64_t all = (int64_t)rk_dot8_bytes(&p->form);
    return p->form.columns ? all - (int64_t)(p->zeros * numbers) : all;
}

bool rk_model_pack_begin(const rk_model *m)
{
    pthread_mutex_lock(&m->packs->turn);
    const bool mine = !m->packs->done;
    if (!mine)
        pthread_mutex_unlock(&m->packs->turn);
    return mine;
}

void rk_model_pack_end(const rk_model *m, bool done)
{
    m->packs->done = done;
    pthread_mutex_unlock(&m->packs->turn);
}
