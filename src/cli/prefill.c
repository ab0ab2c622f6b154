/* prefill.c: a prompt goes to the session in pieces. A call that is aborted leaves the state as it
 * was before it, so what the pieces before it gave is kept. Pieces are those of docs/numerics.md
 * that change no bit: multiples of 64 tokens, and none of the short class unless the prompt is. */
#include "cli/prefill.h"

#include "base/num.h"

enum {
    PIECE = RK_PREFILL_PIECE,
    SHORT = 16, /* no piece is this short unless the prompt is */
};

rk_status rk_prefill(rk_session *s, rk_speculator *speculator, const int32_t *tokens, int64_t n,
                     float *logits, rk_meter *meter, int64_t *n_read, rk_error *err)
{
    rk_status st = RK_OK;
    *n_read = 0;
    do {
        const int64_t left = n - *n_read, piece = left <= PIECE + SHORT ? left : PIECE;
        st = rk_session_eval(s, tokens + *n_read, piece, piece == left ? logits : NULL, err);
        if (st == RK_OK)
            *n_read += piece;
        if (st == RK_OK && meter)
            rk_meter_show(meter, *n_read, n);
    } while (st == RK_OK && *n_read < n);
    if (st == RK_OK && speculator)
        st = rk_speculator_read(speculator, tokens, n, err);
    return st;
}
