/* optim.c: the table of optimisers. Updates here are element-wise, so they are cut into pieces of any
 * kind; the norm is a sum, so its pieces are fixed. An abort does not cut an update in two. */
#include "train/optim.h"

#include <math.h>
#include <string.h>

#include "base/num.h"
#include "base/str.h"
#include "train/muon.h"

enum { PIECE = 16384 };

typedef struct piece_job {
    const rk_kernels *kern;
    const rk_update *u;
    rk_adamw adamw;
    double lr, weight_decay;
    const rk_optim_step *step;
    double *partial;
    int64_t first; /* element that the piece at 0 begins with */
} piece_job;

/* ---- AdamW, with decoupled decay ---- */

enum { ADAMW_M, ADAMW_V };

static void adamw_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const piece_job *j = arg;
    const rk_update *u = j->u;
    (void)worker;
    lo += j->first;
    hi += j->first;
    j->kern->adamw(hi - lo, &j->adamw, u->grad + lo, u->state[ADAMW_M] + lo, u->state[ADAMW_V] + lo,
                   u->weight + lo);
}

/* Elements [lo, hi), which have been updated count - 1 times. */
static void adamw_span(rk_ctx *ctx, const rk_update *u, const rk_optim_step *s, int64_t lo,
                       int64_t hi, int64_t count)
{
    const rk_train_params *p = s->p;
    const rk_adamw a = {.lr = s->lr * u->lr_scale,
                        .beta1 = p->beta1,
                        .beta2 = p->beta2,
                        .eps = p->eps,
                        .weight_decay = u->decay ? p->weight_decay : 0.0,
                        .correct1 = 1.0 - pow(p->beta1, (double)count),
                        .correct2 = 1.0 - pow(p->beta2, (double)count),
                        .grad_scale = s->grad_scale};
    piece_job j = {.kern = ctx->kernels, .u = u, .adamw = a, .first = lo};
    rk_parallel_whole(ctx, hi - lo, PIECE, adamw_piece, &j);
}

void rk_adamw_update(rk_ctx *ctx, const rk_update *u, const rk_optim_step *s)
{
    if (!u->spans)
        adamw_span(ctx, u, s, 0, u->n, s->count);
    for (int64_t i = 0, lo = 0; i < u->n_spans; lo = u->spans[i++].end)
        if (!u->spans[i].frozen)
            adamw_span(ctx, u, s, lo, u->spans[i].end,
                       rk_max_i64(1, s->count - u->spans[i].before));
}

static void adamw(rk_ctx *ctx, const rk_update *u, int64_t n, const rk_optim_step *s)
{
    for (int64_t i = 0; i < n; i++)
        rk_adamw_update(ctx, &u[i], s);
}

/* ---- SGD with momentum ---- */

enum { SGD_M };

static void sgd_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const piece_job *j = arg;
    const rk_update *u = j->u;
    (void)worker;
    lo += j->first;
    hi += j->first;
    j->kern->sgd(hi - lo, j->lr, j->step->p->momentum, j->weight_decay, j->step->grad_scale,
                 u->grad + lo, u->state[SGD_M] + lo, u->weight + lo);
}

static void sgd_span(rk_ctx *ctx, const rk_update *u, const rk_optim_step *s, int64_t lo,
                     int64_t hi)
{
    piece_job j = {.kern = ctx->kernels,
                   .u = u,
                   .lr = s->lr * u->lr_scale,
                   .weight_decay = u->decay ? s->p->weight_decay : 0.0,
                   .step = s,
                   .first = lo};
    rk_parallel_whole(ctx, hi - lo, PIECE, sgd_piece, &j);
}

static void sgd(rk_ctx *ctx, const rk_update *u, int64_t n, const rk_optim_step *s)
{
    for (int64_t i = 0; i < n; i++) {
        if (!u[i].spans)
            sgd_span(ctx, &u[i], s, 0, u[i].n);
        for (int64_t k = 0, lo = 0; k < u[i].n_spans; lo = u[i].spans[k++].end)
            if (!u[i].spans[k].frozen)
                sgd_span(ctx, &u[i], s, lo, u[i].spans[k].end);
    }
}

/* ---- the table ---- */

#define OPTION(name)                                                                               \
    {                                                                                              \
#name, offsetof(rk_train_params, name)                                                     \
    }
const rk_optimizer rk_optimizers[] = {
    {.name = "adamw",
     .states = {"m", "v"},
     .n_states = 2,
     .options = {OPTION(beta1), OPTION(beta2), OPTION(eps)},
     .update = adamw},
    {.name = "sgd", .states = {"m"}, .n_states = 1, .options = {OPTION(momentum)}, .update = sgd},
    {.name = "muon",
     .states = {"m", "v"},
     .n_states = 2,
     .n_states_of = rk_muon_n_states,
     .options = {OPTION(muon_lr), OPTION(muon_momentum), OPTION(beta1), OPTION(beta2), OPTION(eps)},
     .update = rk_muon_update,
     .scratch = rk_muon_scratch},
};
#undef OPTION
const int rk_n_optimizers = RK_COUNT(rk_optimizers);

const rk_optimizer *rk_optimizer_find(const char *name)
{
    for (int i = 0; i < rk_n_optimizers; i++)
        if (!strcmp(rk_optimizers[i].name, name))
            return &rk_optimizers[i];
    return NULL;
}

int rk_optimizer_n_states(const rk_optimizer *o, const rk_param *p)
{
    return o->n_states_of ? o->n_states_of(p) : o->n_states;
}

static double option_of(const rk_train_params *p, size_t offset)
{
    /* cppcheck-suppress invalidPointerCast; the offset is that of a double */
    return *(const double *)((const char *)p + offset);
}

static bool takes(const rk_optimizer *o, size_t offset)
{
    for (int i = 0; i < RK_OPTIM_OPTIONS_MAX && o->options[i].name; i++)
        if (o->options[i].offset == offset)
            return true;
    return false;
}

static rk_status refuse_name(const char *name, rk_error *err)
{
    char names[128] = "";
    for (int i = 0; i < rk_n_optimizers; i++)
        rk_str_list(names, sizeof names, rk_optimizers[i].name);
    return rk_fail(err, RK_ERR_ARG, "no optimizer '%s'; there are %s", name, names);
}

rk_status rk_optim_check(const rk_train_params *p, rk_error *err)
{
    const rk_optimizer *own = rk_optimizer_find(p->optimizer);
    const rk_train_params defaults = rk_train_defaults();
    if (!own)
        return refuse_name(p->optimizer, err);
    for (int k = 0; k < rk_n_optimizers; k++) {
        const rk_optimizer *o = &rk_optimizers[k];
        for (int i = 0; i < RK_OPTIM_OPTIONS_MAX && o->options[i].name; i++) {
            const size_t at = o->options[i].offset;
            if (option_of(p, at) != option_of(&defaults, at) && !takes(own, at))
                return rk_fail(err, RK_ERR_ARG, "%s is an option of %s, not of %s",
                               o->options[i].name, o->name, own->name);
        }
    }
    return RK_OK;
}

/* ---- the gradient's norm ---- */

static void square_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const piece_job *j = arg;
    (void)worker;
    j->partial[lo / PIECE] = j->kern->sum_squares(hi - lo, j->u->grad + lo);
}

int64_t rk_optim_norm_parts(const rk_update *u, int64_t n)
{
    int64_t most = 0;
    for (int64_t i = 0; i < n; i++)
        most = rk_max_i64(most, rk_ceil_div(u[i].n, PIECE));
    return most;
}

double rk_optim_grad_norm(rk_ctx *ctx, const rk_update *u, int64_t n, double *partial, int64_t *at)
{
    double total = 0.0;
    if (at)
        *at = -1;
    for (int64_t i = 0; i < n; i++) {
        piece_job j = {.kern = ctx->kernels, .u = &u[i], .partial = partial};
        double sum = 0.0;
        rk_parallel(ctx, u[i].n, PIECE, square_piece, &j);
        for (int64_t p = 0; p < rk_ceil_div(u[i].n, PIECE); p++)
            sum += partial[p];
        if (at && *at < 0 && !isfinite(sum))
            *at = i;
        total += sum;
    }
    return sqrt(total);
}

void rk_optim_project(const rk_update *u, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t e = 0; rk_roles[u[i].param->role].nonnegative && e < u[i].n; e++)
            u[i].weight[e] = u[i].weight[e] > 0.0f ? u[i].weight[e] : 0.0f;
}
