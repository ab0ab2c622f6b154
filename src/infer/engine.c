/* engine.c: threads, kernels, log and abort flag under one handle.
 *
 * The abort flag is the pool's: rk_engine_abort sets it, and so does the pool when the caller's
 * abort function says so, so every loop asks one atomic. Forwards take turns and not pools, because
 * two that share the cores gain nothing over one after the other; and they take them by number,
 * because a mutex goes to whoever asks while it is free: a thread with a long prompt would give it
 * to itself, piece after piece. */
#include "infer/engine.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>

#ifndef RK_VERSION
#error "the build defines RK_VERSION"
#endif

struct rk_engine {
    const rk_kernels *kernels;
    const rk_dot8_kernels *dot8;
    rk_state_cache cache;
    rk_pool *pool;
    atomic_int abort;
    rk_log log;
    pthread_mutex_t turns; /* of the two counters; the engine is held by number n_served */
    pthread_cond_t served;
    uint64_t n_asked, n_served;
};

const char *rk_version(void)
{
    return RK_VERSION;
}

static const rk_dtype cache_types[] = {
    [RK_CACHE_F16] = RK_F16, [RK_CACHE_F32] = RK_F32, [RK_CACHE_Q8_0] = RK_Q8_0};

static rk_status engine_init(rk_engine *e, const rk_engine_params *p, rk_error *err)
{
    const rk_status st = rk_kernels_find(&e->kernels, p->path, err);
    if (st != RK_OK)
        return st;
    if (p->act != RK_ACT_F32)
        e->dot8 = e->kernels == &rk_kernels_ref_f32 ? rk_dot8_at(0) : rk_dot8_best();
    if (p->ctx_size < 0 || (unsigned)p->cache > RK_CACHE_Q8_0)
        return rk_fail(err, RK_ERR_ARG, "engine: a cache of type %d for %" PRId64 " tokens",
                       (int)p->cache, p->ctx_size);
    e->cache = (rk_state_cache){cache_types[p->cache], p->ctx_size};
    e->log = (rk_log){p->log, p->log_user, RK_LOG_DEBUG};
    return rk_pool_new(&e->pool, p->n_threads, &e->abort, p->abort, p->abort_user, err);
}

rk_status rk_engine_new(rk_engine **out, const rk_engine_params *params, rk_error *err)
{
    static const rk_engine_params defaults = {0};
    *out = NULL;
    rk_engine *e = calloc(1, sizeof *e);
    if (!e)
        return rk_fail(err, RK_ERR_NOMEM, "engine: out of memory");
    if (pthread_mutex_init(&e->turns, NULL) != 0) {
        free(e);
        return rk_fail(err, RK_ERR_NOMEM, "engine: the system has no mutex to give");
    }
    if (pthread_cond_init(&e->served, NULL) != 0) {
        pthread_mutex_destroy(&e->turns);
        free(e);
        return rk_fail(err, RK_ERR_NOMEM, "engine: the system has no condition to give");
    }
    const rk_status st = engine_init(e, params ? params : &defaults, err);
    if (st != RK_OK) {
        rk_engine_free(e);
        return st;
    }
    rk_log_line(&e->log, RK_LOG_DEBUG, "engine: %d threads, path %s", rk_engine_n_threads(e),
                rk_engine_path(e));
    *out = e;
    return RK_OK;
}

void rk_engine_free(rk_engine *e)
{
    if (!e)
        return;
    rk_pool_free(e->pool);
    pthread_cond_destroy(&e->served);
    pthread_mutex_destroy(&e->turns);
    free(e);
}

int rk_engine_n_threads(const rk_engine *e)
{
    return rk_pool_n_threads(e->pool);
}

const char *rk_engine_path(const rk_engine *e)
{
    return e->kernels->name;
}

void rk_engine_abort(rk_engine *e)
{
    atomic_store(&e->abort, 1);
}

void rk_engine_clear_abort(rk_engine *e)
{
    atomic_store(&e->abort, 0);
}

const rk_kernels *rk_engine_kernels(const rk_engine *e)
{
    return e->kernels;
}

const rk_dot8_kernels *rk_engine_dot8(const rk_engine *e)
{
    return e->dot8;
}

rk_state_cache rk_engine_cache(const rk_engine *e)
{
    return e->cache;
}

rk_pool *rk_engine_pool(rk_engine *e)
{
    return e->pool;
}

const atomic_int *rk_engine_abort_flag(const rk_engine *e)
{
    return &e->abort;
}

const rk_log *rk_engine_log(const rk_engine *e)
{
    return &e->log;
}

void rk_engine_lock(rk_engine *e)
{
    pthread_mutex_lock(&e->turns);
    const uint64_t own = e->n_asked++;
    while (e->n_served != own)
        pthread_cond_wait(&e->served, &e->turns);
    pthread_mutex_unlock(&e->turns);
}

void rk_engine_unlock(rk_engine *e)
{
    pthread_mutex_lock(&e->turns);
    e->n_served++;
    if (e->n_served != e->n_asked)
        pthread_cond_broadcast(&e->served);
    pthread_mutex_unlock(&e->turns);
}
