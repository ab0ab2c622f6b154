/* order.c: a keyed permutation: a four-round Feistel network on the smallest even number of bits that
 * holds the number of windows, walked until it lands inside. Nothing is stored, so that any window of
 * any step can be asked for alone and resuming needs no more than the step's number. */
#include "data/order.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/num.h"
#include "base/random.h"

/* What the draws of an epoch are for; the low word of a Feistel index is the half it scrambles. */
enum { DRAW_PHASE = 4 };

/* x in [0, 2^(2 bits)) -> [0, 2^(2 bits)), one to one. */
static uint64_t feistel(uint64_t seed, uint64_t epoch, unsigned bits, uint64_t x)
{
    const uint64_t mask = (UINT64_C(1) << bits) - 1;
    uint64_t left = x >> bits, right = x & mask;
    for (uint64_t round = 0; round < DRAW_PHASE; round++) {
        const uint64_t f = rk_rng_u32(seed, RK_RNG_DATA, epoch, round << 32 | right);
        const uint64_t next = left ^ (f & mask);
        left = right;
        right = next;
    }
    return left << bits | right;
}

uint64_t rk_order_permute(uint64_t seed, uint64_t epoch, uint64_t n, uint64_t x)
{
    unsigned bits = 1;
    while (bits < 31 && UINT64_C(1) << (2 * bits) < n)
        bits++;
    do
        x = feistel(seed, epoch, bits, x);
    while (x >= n);
    return x;
}

/* The grid of an epoch has as many windows as fit at every phase, at least one; the phase is any at
 * which the last window, with the token after it, is still inside. */
int64_t rk_order_shuffle(uint64_t seed, int64_t n, int64_t ctx_len, uint64_t index)
{
    const int64_t n_windows = rk_max_i64(1, (n - ctx_len) / ctx_len);
    const uint64_t epoch = index / (uint64_t)n_windows;
    const uint64_t phase = rk_rng_below(seed, RK_RNG_DATA, epoch, (uint64_t)DRAW_PHASE << 32,
                                        (uint64_t)(n - n_windows * ctx_len));
    const uint64_t place =
        rk_order_permute(seed, epoch, (uint64_t)n_windows, index % (uint64_t)n_windows);
    return (int64_t)phase + (int64_t)place * ctx_len;
}

/* ---- cubic ---- */

static bool is_prime(int64_t x)
{
    if (x < 2)
        return false;
    for (int64_t d = 2; d <= x / d; d++)
        if (x % d == 0)
            return false;
    return true;
}

rk_status rk_cubic_init(rk_cubic *c, int64_t n, int64_t ctx_len, rk_error *err)
{
    const int64_t n_blocks = n / ctx_len;
    int64_t p = rk_ceil_div(n, ctx_len) - 2; /* below n / ctx_len - 1 */
    while (p > 1 && (p % 3 != 2 || !is_prime(p)))
        p--;
    if (p < 2 || (double)p <= 0.9 * (double)n_blocks)
        return rk_fail(err, RK_ERR_ARG,
                       "the cubic order of %" PRId64 " windows meets %" PRId64
                       " of them, the largest prime that fits: it wants more than 0.9 of them",
                       n_blocks, rk_max_i64(p, 0));
    *c = (rk_cubic){p, (int64_t)((double)p * (sqrt(5.0) - 1.0) / 2.0)};
    return RK_OK;
}

/* a b mod m by doubling: a, b < m < 2^62. */
static uint64_t mul_mod(uint64_t a, uint64_t b, uint64_t m)
{
    if (m <= UINT32_MAX)
        return a * b % m;
    uint64_t sum = 0;
    for (; b; b >>= 1) {
        sum = b & 1 ? (sum + a) % m : sum;
        a = 2 * a % m;
    }
    return sum;
}

int64_t rk_cubic_window(const rk_cubic *c, int64_t ctx_len, uint64_t index)
{
    const uint64_t p = (uint64_t)c->prime, i = (index % p + 1) % p;
    const uint64_t cube = mul_mod(mul_mod(i, i, p), i, p);
    return (int64_t)mul_mod((uint64_t)c->factor % p, cube, p) * ctx_len;
}

/* ---- mixtures ---- */

void rk_mixture_init(rk_mixture *m, const double *weights, int n)
{
    double rest = 0.0;
    m->n = n;
    for (int i = 0; i < n; i++)
        rest += weights[i];
    for (int i = 0; i < n; i++) {
        m->share[i] = (uint64_t)(weights[i] / rest * 0x1p32 + 0.5);
        if (m->share[i] > UINT64_C(1) << 32)
            m->share[i] = UINT64_C(1) << 32;
        rest -= weights[i];
    }
}

/* floor(x share / 2^32) */
static uint64_t part_of(uint64_t x, uint64_t share)
{
    return (x >> 32) * share + ((x & UINT32_MAX) * share >> 32);
}

/* The first source takes every example at which its part grows, what is left goes to the others in the
 * same way. */
int rk_mixture_pick(const rk_mixture *m, uint64_t index, uint64_t *number)
{
    int i = 0;
    for (; i + 1 < m->n; i++) {
        const uint64_t taken = part_of(index, m->share[i]);
        if (part_of(index + 1, m->share[i]) > taken) {
            *number = taken;
            return i;
        }
        index -= taken;
    }
    *number = index;
    return i;
}
