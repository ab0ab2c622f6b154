/* random.c: draws that are pure functions of (seed, purpose, step, index).
 *
 * The key is the seed, low word first. The counter is
 *     [0] index, low word    [1] index, high word
 *     [2] step, low word     [3] bits 0-23: step, high bits; bits 24-31: purpose
 * so steps are below 2^56. A draw uses the low words of its own block of four and leaves the rest:
 * a block costs about 20 ns, and sharing it would make f32 and f64 draws of one index overlap. */
#include "random.h"

#include <math.h>

enum { ROUNDS = 10 };

void rk_philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int r = 0; r < ROUNDS; r++) {
        const uint64_t a = (uint64_t)0xd2511f53u * c0, b = (uint64_t)0xcd9e8d57u * c2;
        c0 = (uint32_t)(b >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)b;
        c2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)a;
        k0 += 0x9e3779b9u; /* the golden ratio and sqrt(3) - 1, as fractions of 2^32 */
        k1 += 0xbb67ae85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

static void draw(uint64_t seed, rk_purpose purpose, uint64_t step, uint64_t index, uint32_t out[4])
{
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    const uint32_t counter[4] = {(uint32_t)index, (uint32_t)(index >> 32), (uint32_t)step,
                                 (uint32_t)(step >> 32 & 0xffffffu) | (uint32_t)purpose << 24};
    rk_philox4x32(counter, key, out);
}

static uint64_t join(uint32_t low, uint32_t high)
{
    return low | (uint64_t)high << 32;
}
/* 53 bits as a fraction in [0, 1). */
static double fraction(uint64_t bits)
{
    return (double)(bits >> 11) * 0x1p-53;
}

uint32_t rk_rng_u32(uint64_t seed, rk_purpose purpose, uint64_t step, uint64_t index)
{
    uint32_t out[4];
    draw(seed, purpose, step, index, out);
    return out[0];
}

float rk_rng_f32(uint64_t seed, rk_purpose purpose, uint64_t step, uint64_t index)
{
    return (float)(rk_rng_u32(seed, purpose, step, index) >> 8) * 0x1p-24f;
}

double rk_rng_f64(uint64_t seed, rk_purpose purpose, uint64_t step, uint64_t index)
{
    uint32_t out[4];
    draw(seed, purpose, step, index, out);
    return fraction(join(out[0], out[1]));
}

/* Box-Muller: a radius and an angle make two independent normals, the even and the odd index. */
double rk_rng_normal(uint64_t seed, rk_purpose purpose, uint64_t step, uint64_t index)
{
    uint32_t out[4];
    draw(seed, purpose, step, index / 2, out);
    const double u = 1.0 - fraction(join(out[0], out[1])); /* in (0, 1], so log is finite */
    const double angle = 6.283185307179586 * fraction(join(out[2], out[3]));
    return sqrt(-2.0 * log(u)) * (index % 2 ? sin(angle) : cos(angle));
}

/* Upper 64 bits of a * b. */
static uint64_t mul_high(uint64_t a, uint64_t b)
{
    const uint64_t a0 = (uint32_t)a, a1 = a >> 32, b0 = (uint32_t)b, b1 = b >> 32;
    const uint64_t low = a1 * b0 + (a0 * b0 >> 32);
    const uint64_t mid = a0 * b1 + (uint32_t)low;
    return a1 * b1 + (low >> 32) + (mid >> 32);
}

uint64_t rk_rng_below(uint64_t seed, rk_purpose purpose, uint64_t step, uint64_t index, uint64_t n)
{
    uint32_t out[4];
    draw(seed, purpose, step, index, out);
    return mul_high(join(out[0], out[1]), n);
}
