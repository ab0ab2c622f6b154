/* logprob.c: log-probabilities, in double because they are summed over whole texts. */
#include <math.h>

#include "rk.h"

double rk_logprob(const float *logits, int64_t n, int32_t token)
{
    if (token < 0 || token >= n)
        return (double)NAN;
    float highest = -INFINITY;
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++)
        highest = fmaxf(highest, logits[i]);
    for (int64_t i = 0; i < n; i++)
        sum += exp((double)logits[i] - (double)highest);
    /* cppcheck-suppress invalidFunctionArg ; n > token >= 0, so the sum is at least 1 */
    return (double)logits[token] - (double)highest - log(sum);
}
