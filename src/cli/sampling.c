/* sampling.c: from options to a sampler. */
#include "cli/sampling.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

rk_sampling_options rk_sampling_defaults(void)
{
    const rk_sampler_params s = rk_sampler_defaults();
    return (rk_sampling_options){.seed = -1,
                                 .temp = 1.0,
                                 .top_p = 0.85,
                                 .typical_p = 1.0,
                                 .repeat_penalty = (double)s.repeat_penalty,
                                 .penalty_decay = 0.996};
}

rk_status rk_sampling_draw_seed(rk_sampling_options *o, rk_error *err)
{
    uint32_t bits = 0;
    if (o->seed >= 0)
        return RK_OK;
    FILE *f = fopen("/dev/urandom", "rb");
    const bool ok = f && fread(&bits, sizeof bits, 1, f) == 1;
    if (f)
        fclose(f);
    if (!ok)
        return rk_fail(err, RK_ERR_IO, "/dev/urandom: no random bits; --seed says a number");
    o->seed = bits;
    return RK_OK;
}

static rk_status add_bias(rk_sampler *sampler, const char *text, rk_error *err)
{
    char *end = NULL, *end_of_bias = NULL;
    errno = 0;
    const long long id = strtoll(text, &end, 10);
    const bool has_id = end != text && *end == '=' && errno == 0 && id >= 0 && id <= INT32_MAX;
    const double bias = has_id ? strtod(end + 1, &end_of_bias) : 0.0;
    if (!has_id || end_of_bias == end + 1 || *end_of_bias || isnan(bias))
        return rk_fail(err, RK_ERR_ARG, "--logit-bias '%s': expected ID=B, such as 10=-inf", text);
    return rk_sampler_bias(sampler, (int32_t)id, (float)bias, err);
}

static rk_sampler_params params_of(const rk_sampling_options *o)
{
    return (rk_sampler_params){.temp = (float)o->temp,
                               .top_p = (float)o->top_p,
                               .top_k = (int32_t)o->top_k,
                               .min_p = (float)o->min_p,
                               .typical_p = (float)o->typical_p,
                               .repeat_penalty = (float)o->repeat_penalty,
                               .presence_penalty = (float)o->presence_penalty,
                               .frequency_penalty = (float)o->frequency_penalty,
                               .penalty_decay = (float)o->penalty_decay,
                               .seed = (uint64_t)o->seed};
}

rk_status rk_sampling_new(rk_sampler **out, const rk_sampling_options *o, int64_t n_vocab,
                          const rk_tokenizer *tokenizer, rk_error *err)
{
    const rk_sampler_params p = params_of(o);
    rk_sampler *s = NULL;
    rk_status st = rk_sampler_new(&s, &p, n_vocab, tokenizer, err);
    for (int i = 0; i < o->logit_bias.n && st == RK_OK; i++)
        st = add_bias(s, o->logit_bias.at[i], err);
    if (st == RK_OK)
        *out = s;
    else
        rk_sampler_free(s);
    return st;
}
