/* optim.h: reference of the optimisers. AdamW: Loshchilov, Hutter 2019, arXiv 1711.05101. */
#ifndef RK_KERNELS_REF_OPTIM_H
#define RK_KERNELS_REF_OPTIM_H

#include "kernels/ref/real.h"

static void adamw(int64_t n, const rk_adamw *o, const void *g_, void *m_, void *v_, void *p_)
{
    const real beta1 = (real)o->beta1, beta2 = (real)o->beta2;
    const real rest1 = (real)(1 - o->beta1), rest2 = (real)(1 - o->beta2);
    const real *g = g_;
    real *m = m_, *v = v_, *p = p_;
    for (int64_t i = 0; i < n; i++) {
        const real gi = g[i] * (real)o->grad_scale;
        m[i] = beta1 * m[i] + rest1 * gi;
        v[i] = beta2 * v[i] + rest2 * (gi * gi);
        const real m_hat = m[i] / (real)o->correct1, v_hat = v[i] / (real)o->correct2;
        p[i] -= (real)o->lr * (m_hat / (sqrt(v_hat) + (real)o->eps) + (real)o->weight_decay * p[i]);
    }
}

static void sgd(int64_t n, double lr, double momentum, double weight_decay, double grad_scale,
                const void *g_, void *v_, void *p_)
{
    const real *g = g_;
    real *v = v_, *p = p_;
    for (int64_t i = 0; i < n; i++) {
        v[i] = (real)momentum * v[i] + g[i] * (real)grad_scale;
        p[i] -= (real)lr * (v[i] + (real)weight_decay * p[i]);
    }
}

#endif
