/* draft.c: a draft model is opened, and what became of its tokens is told. */
#include "cli/draft.h"

#include <inttypes.h>

#include "base/error.h"
#include "cli/command.h"

rk_status rk_draft_open(rk_draft *out, const rk_draft_options *o, rk_session *s,
                        rk_sampler *sampler, rk_error *err)
{
    *out = (rk_draft){0};
    if (!o->file)
        return RK_OK;
    rk_error why;
    rk_status st = rk_model_open(&out->model, o->file, err);
    if (st != RK_OK)
        return st;
    st = rk_speculator_new(&out->speculator, s, sampler, out->model, o->n_max, &why);
    return st == RK_OK ? st : rk_fail(err, st, "%s: %s", o->file, why.msg);
}

void rk_draft_close(rk_draft *d)
{
    rk_speculator_free(d->speculator);
    rk_model_close(d->model);
    *d = (rk_draft){0};
}

/* A text may have no pass of one token in it: their mean is that of all. */
void rk_draft_describe(const rk_draft *d, const rk_speculator_info *since,
                       char text[RK_DRAFT_TEXT_MAX])
{
    rk_speculator_info now;
    rk_speculator_get_info(d->speculator, &now);
    const int64_t n_tokens = now.n_tokens - since->n_tokens;
    const int64_t n_judged = now.n_judged - since->n_judged;
    const int64_t n_accepted = now.n_accepted - since->n_accepted;
    const double seconds = now.model_s + now.draft_s - since->model_s - since->draft_s;
    const double single_s = now.n_single > 0 ? now.single_s / (double)now.n_single : 0.0;
    snprintf(text, RK_DRAFT_TEXT_MAX,
             "draft: %" PRId64 " tokens proposed; %" PRId64 " of %" PRId64
             " verified accepted (%.0f %%); %.2f tokens a forward pass; about %.2f times the speed "
             "without it",
             now.n_guessed - since->n_guessed, n_accepted, n_judged,
             100.0 * rk_command_rate(n_accepted, (double)n_judged),
             rk_command_rate(n_tokens, (double)(now.n_passes - since->n_passes)),
             single_s * rk_command_rate(n_tokens, seconds));
}
