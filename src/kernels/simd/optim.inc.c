/* optim.inc.c: AdamW and SGD, element by element. */

static void adamw(int64_t n, const rk_adamw *a, const void *gp, void *mp, void *vp, void *pp)
{
    const float *g = gp;
    float *m = mp, *v = vp, *p = pp;
    const vf b1 = vf_set1((float)a->beta1), b1c = vf_set1((float)(1.0 - a->beta1));
    const vf b2 = vf_set1((float)a->beta2), b2c = vf_set1((float)(1.0 - a->beta2));
    const vf inv1 = vf_set1((float)(1.0 / a->correct1)), inv2 = vf_set1((float)(1.0 / a->correct2));
    const vf eps = vf_set1((float)a->eps), decay = vf_set1((float)a->weight_decay);
    const vf lr = vf_set1((float)a->lr), by = vf_set1((float)a->grad_scale);
    for (int64_t i = 0; i < n; i += VF) {
        const int64_t left = n - i;
        const vf grad = vf_mul(vf_load_upto(g + i, left), by), old = vf_load_upto(p + i, left);
        const vf m1 = vf_fma(b1, vf_load_upto(m + i, left), vf_mul(b1c, grad));
        const vf v1 = vf_fma(b2, vf_load_upto(v + i, left), vf_mul(vf_mul(b2c, grad), grad));
        const vf root = vf_add(vf_sqrt(vf_mul(v1, inv2)), eps);
        const vf step = vf_fma(decay, old, vf_div(vf_mul(m1, inv1), root));
        vf_store_upto(m + i, m1, left);
        vf_store_upto(v + i, v1, left);
        vf_store_upto(p + i, vf_fnma(lr, step, old), left);
    }
}

static void sgd(int64_t n, double lr, double momentum, double weight_decay, double grad_scale,
                const void *gp, void *vp, void *pp)
{
    const float *g = gp;
    float *v = vp, *p = pp;
    const vf mu = vf_set1((float)momentum), by = vf_set1((float)grad_scale);
    const vf decay = vf_set1((float)weight_decay), rate = vf_set1((float)lr);
    for (int64_t i = 0; i < n; i += VF) {
        const int64_t left = n - i;
        const vf grad = vf_mul(vf_load_upto(g + i, left), by), old = vf_load_upto(p + i, left);
        const vf v1 = vf_fma(mu, vf_load_upto(v + i, left), grad);
        vf_store_upto(v + i, v1, left);
        vf_store_upto(p + i, vf_fnma(rate, vf_fma(decay, old, v1), old), left);
    }
}
