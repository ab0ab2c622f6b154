/* sampler.h: what speculative decoding needs of samplers beyond rk.h.
 *
 * A draft's sampler draws a draft token from its distribution q; the model's sampler, whose
 * distribution is p, accepts it with probability min(1, p / q) and else draws from the positive
 * part of p - q. The result is distributed as p, whatever q is (Leviathan et al., "Fast inference
 * from transformers via speculative decoding", arXiv 2211.17192). */
#ifndef RK_TEXT_SAMPLER_H
#define RK_TEXT_SAMPLER_H

#include "rk.h"

/* A draft token, and the distribution that it was drawn from. */
typedef struct rk_guess {
    int32_t token;
    int64_t n;     /* candidates */
    int32_t *id;   /* (n) ascending; the caller's, with room for n_vocab */
    float *weight; /* (n) the same */
    double total;  /* of the weights */
} rk_guess;

/* A new sampler with the parameters and biases of s, before its first draw. */
rk_status rk_sampler_twin(rk_sampler **out, const rk_sampler *s, rk_error *err);
/* Continue as if s had drawn the tokens that its twin `other` has drawn, with the same seed. */
void rk_sampler_follow(rk_sampler *s, const rk_sampler *other);

/* What a sampler knows of the tokens drawn, for one that goes on in another process with the same
 * parameters. */
typedef struct rk_sampler_memory {
    uint64_t seed, step; /* step: tokens drawn */
    float *counts;       /* (n_vocab) decayed numbers of draws; below 0: never drawn */
} rk_sampler_memory;
/* counts is the caller's. */
void rk_sampler_remember(const rk_sampler *s, rk_sampler_memory *m);
/* Counts are finite. */
void rk_sampler_recall(rk_sampler *s, const rk_sampler_memory *m);

/* As rk_sampler_next, with the result in a guess. */
rk_status rk_sampler_guess(rk_sampler *s, const float *logits, rk_guess *guess, rk_error *err);
/* As rk_sampler_next, where a twin has drawn a draft token already: accepts it, or draws another
 * one. */
rk_status rk_sampler_judge(rk_sampler *s, const float *logits, const rk_guess *guess,
                           int32_t *token, rk_error *err);

#endif
