/* engine.h: what the library's parts need of an engine beyond rk.h.
 *
 * An engine owns the threads, the choice of kernels, the log and the abort flag. Its pool serves
 * one caller at a time, so whoever computes holds the engine's lock while doing so. */
#ifndef RK_INFER_ENGINE_H
#define RK_INFER_ENGINE_H

#include <stdatomic.h>

#include "base/log.h"
#include "base/pool.h"
#include "infer/state.h"
#include "kernels/dot8.h"
#include "kernels/kernels.h"

const rk_kernels *rk_engine_kernels(const rk_engine *e);
/* NULL: inputs stay f32. */
const rk_dot8_kernels *rk_engine_dot8(const rk_engine *e);
/* How sessions keep what grows with their tokens. */
rk_state_cache rk_engine_cache(const rk_engine *e);
rk_pool *rk_engine_pool(rk_engine *e);
/* Non-zero: stop with RK_ERR_ABORTED. */
const atomic_int *rk_engine_abort_flag(const rk_engine *e);
const rk_log *rk_engine_log(const rk_engine *e);

/* Who computes holds the engine meanwhile, for a forward or a step of training; in the order of
 * asking. */
void rk_engine_lock(rk_engine *e);
void rk_engine_unlock(rk_engine *e);

#endif
