/* dot8.c: packing, sizes, and which loops this CPU runs. */
#include "kernels/dot8.h"

#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#include "base/num.h"
#include "kernels/blocks.h"
#include "kernels/dot8_layout.h"

/* ---- sizes ---- */

bool rk_dot8_has(rk_dtype t)
{
    return rk_dtype_is_ggml(t);
}

static int64_t units(rk_dtype t, int64_t k)
{
    return rk_ceil_div(k, dot8_unit(t));
}

size_t rk_dot8_group_bytes(rk_dtype t, int64_t k)
{
    return (size_t)units(t, k) * (size_t)dot8_unit_bytes(t);
}

size_t rk_dot8_bytes(const rk_dot8_matrix *w)
{
    if (w->columns)
        return (size_t)(rk_dot8_pieces(w) *
                        dot8_columns_unit_bytes(w->dtype, dot8_tile(w->dtype, w->n)));
    return (size_t)rk_dot8_groups(w->n) * rk_dot8_group_bytes(w->dtype, w->k);
}

int64_t rk_x8_blocks(rk_dtype t, int64_t k)
{
    return units(t, k) * (dot8_unit(t) / RK_X8_BLOCK);
}

size_t rk_x8_bytes(const rk_dot8_kernels *kern, rk_dtype t, int64_t rows, int64_t k)
{
    const int64_t tile = rows == 1 ? 1 : kern->tile;
    return (size_t)(rk_ceil_div(rows, tile) * tile * rk_x8_blocks(t, k)) * sizeof(rk_x8);
}

/* Scratch for an unpacked group: numbers as bytes, and two scales and two minima per block as
 * floats. */
size_t rk_dot8_scratch(int64_t k)
{
    const size_t blocks = (size_t)rk_ceil_div(k, 256) * 8;
    return blocks * (DOT8_QUADS * DOT8_LINE + 4 * RK_DOT8_ROWS * sizeof(float));
}

/* ---- packing ---- */

static uint32_t word_at(const uint8_t *p)
{
    uint32_t w;
    memcpy(&w, p, sizeof w);
    return w;
}

static void put_word(unsigned char *p, uint32_t w)
{
    memcpy(p, &w, sizeof w);
}

/* Store the 32 numbers q of row r of a block in the block's lines, four at a time: a quad is a
 * 32-bit word of bytes. */
static void put_numbers(int bits, const uint8_t *q, int r, unsigned char *lines)
{
    const int lower = dot8_lower(bits), upper = dot8_upper(bits);
    const uint32_t each = 0x01010101u;
    uint32_t line[DOT8_QUADS] = {0};
    for (int j = 0; j < DOT8_QUADS; j++) {
        const uint32_t w = word_at(q + 4 * j);
        if (bits == 8) {
            line[j] = w ^ 0x80808080u;
            continue;
        }
        line[dot8_line(lower, j)] |= (w & each * ((1u << lower) - 1)) << dot8_shift(lower, j);
        line[lower + dot8_line(upper, j)] |= (w >> lower & each * ((1u << upper) - 1))
                                             << dot8_shift(upper, j);
    }
    for (int l = 0; l < bits; l++)
        put_word(lines + 4 * r + DOT8_LINE * l, line[l]);
}

/* Store the f16 factors of a block of row r in d[16] and m[16]. */
static void put_factors(rk_dtype t, const unsigned char *block, int r, unsigned char *d,
                        unsigned char *m)
{
    const rk_block_factors f = rk_blocks_factors(t);
    memcpy(d + 2 * r, block + f.at, 2);
    if (f.n == 2)
        memcpy(m + 2 * r, block + f.at + 2, 2);
}

/* Pack one block of 32 of row r as block b of a unit. */
static void pack_32(rk_dtype t, const unsigned char *block, int b, int r, unsigned char *unit)
{
    uint8_t q[32];
    rk_blocks_numbers(t, block, q);
    put_numbers(dot8_bits(t), q, r, unit + dot8_codes_at(t) + b * dot8_block_bytes(t));
    put_factors(t, block, r, unit + DOT8_HALVES * b, unit + DOT8_HALVES * (2 + b));
}

/* Pack one block of 256 of row r as a unit. */
static void pack_256(rk_dtype t, const unsigned char *block, int r, unsigned char *unit)
{
    uint8_t q[256], scales[16], minima[16] = {0};
    const int n = 8 * dot8_halves(t);
    rk_blocks_numbers(t, block, q);
    rk_blocks_scales(t, block, scales, minima);
    for (int b = 0; b < 8; b++)
        put_numbers(dot8_bits(t), q + 32 * b, r, unit + DOT8_K_CODES + b * dot8_block_bytes(t));
    for (int i = 0; i < n; i++)
        unit[DOT8_K_SCALES + 16 * i + r] =
            (unsigned char)(t == RK_Q2_K ? scales[i] | minima[i] << 4 : scales[i]);
    for (int i = 0; i < n && (t == RK_Q4_K || t == RK_Q5_K); i++)
        unit[DOT8_K_MINIMA + 16 * i + r] = minima[i];
    put_factors(t, block, r, unit, unit + DOT8_HALVES);
}

static void pack_row(rk_dtype t, int64_t k, const unsigned char *row, int r, unsigned char *group)
{
    const int64_t per_unit = dot8_unit(t) / rk_dtype_block(t);
    for (int64_t i = 0; i < k / rk_dtype_block(t); i++) {
        unsigned char *unit = group + i / per_unit * dot8_unit_bytes(t);
        const unsigned char *block = row + (size_t)i * rk_dtype_bytes(t);
        if (dot8_is_k(t))
            pack_256(t, block, r, unit);
        else
            pack_32(t, block, (int)(i % per_unit), r, unit);
    }
}

/* ---- columns ---- */

bool rk_dot8_has_columns(rk_dtype t, int64_t n, int64_t k)
{
    return (t == RK_Q8_0 || t == RK_Q4_0 || t == RK_Q4_1 || t == RK_Q4_K) &&
           n % dot8_strip(t) == 0 && k % dot8_unit(t) == 0;
}

int64_t rk_dot8_outputs_at_once(const rk_dot8_matrix *w, int n_threads)
{
    const int tile = dot8_tile(w->dtype, w->n);
    return w->n / tile >= n_threads ? tile : dot8_strip(w->dtype);
}

/* Pack a block of output o of a tile of n outputs into its unit, which is zero before. */
static void pack_column(rk_dtype t, int n, const unsigned char *block, int o, unsigned char *unit)
{
    const int shift = dot8_bits(t) == 4 && o % 128 >= 64 ? 4 : 0;
    const dot8_columns c = dot8_columns_in(t, unit, n, 0);
    unsigned char *lines = unit + (c.lines - unit) + dot8_place(t, o);
    uint8_t q[256], scales[16], minima[16];
    rk_blocks_numbers(t, block, q);
    put_factors(t, block, o, unit, unit + (c.m - unit));
    for (int i = 0; i < dot8_columns_unit(t); i++)
        lines[c.line * i] |= (unsigned char)(dot8_bits(t) == 8 ? q[i] ^ 0x80 : q[i] << shift);
    if (!dot8_is_k(t))
        return;
    rk_blocks_scales(t, block, scales, minima);
    for (int i = 0; i < 8; i++) {
        unit[(c.scales - unit) + i * n + o] = scales[i];
        unit[(c.minima - unit) + i * n + o] = minima[i];
    }
}

/* Pack units [lo, hi) of all tiles. */
static void pack_columns(const rk_dot8_matrix *w, const unsigned char *rows, int64_t lo, int64_t hi,
                         unsigned char *packed)
{
    const rk_dtype t = w->dtype;
    const int n = dot8_tile(t, w->n), bytes = dot8_columns_unit_bytes(t, n);
    const int64_t units = w->k / dot8_columns_unit(t); /* as many as blocks of a row */
    for (int64_t u = lo; u < hi; u++) {
        const unsigned char *blocks =
            rows + (size_t)(u / units * n * units + u % units) * rk_dtype_bytes(t);
        memset(packed + u * bytes, 0, (size_t)bytes);
        for (int o = 0; o < n; o++)
            pack_column(t, n, blocks + (size_t)(o * units) * rk_dtype_bytes(t), o,
                        packed + u * bytes);
    }
}

size_t rk_x8_sparse_bytes(int64_t k)
{
    const size_t bytes = (size_t)(k / RK_X8_BLOCK) * sizeof(rk_x8_left) +
                         (size_t)(k + DOT8_AHEAD) * (sizeof(int32_t) + sizeof(int8_t));
    return rk_align_up(bytes, DOT8_LINE);
}

rk_x8_sparse rk_x8_gather(const rk_dot8_matrix *w, const rk_x8 *x, int64_t stride, void *memory)
{
    const rk_dtype t = w->dtype;
    const int tile = dot8_tile(t, w->n);
    const int64_t blocks = w->k / RK_X8_BLOCK;
    rk_x8_sparse s = {.blocks = memory};
    s.offset = (int32_t *)(void *)(s.blocks + blocks);
    s.q = (int8_t *)(s.offset + w->k + DOT8_AHEAD);
    int32_t *offset = s.offset;
    int8_t *q = s.q;
    for (int64_t b = 0; b < blocks; b++, x += stride) {
        const dot8_columns c = dot8_columns_of(t, w->data, tile, b);
        const int32_t lines = (int32_t)(c.lines - w->data);
        int n = 0;
        for (int i = 0; i < RK_X8_BLOCK; i++) {
            offset[n] = lines + i * c.line;
            q[n] = x->q[i];
            n += x->q[i] != 0;
        }
        for (; n % 4 != 0; n++) {
            offset[n] = lines;
            q[n] = 0;
        }
        s.blocks[b] = (rk_x8_left){n, x->total, x->d, x->sum};
        offset += n;
        q += n;
    }
    for (int i = 0; i < DOT8_AHEAD; i++)
        offset[i] = s.offset[0];
    return s;
}

int64_t rk_dot8_pieces(const rk_dot8_matrix *w)
{
    return w->columns ? w->n / dot8_tile(w->dtype, w->n) * (w->k / dot8_columns_unit(w->dtype))
                      : rk_dot8_groups(w->n);
}

void rk_dot8_pack(const rk_dot8_matrix *w, const void *rows, int64_t lo, int64_t hi,
                  unsigned char *packed)
{
    const rk_dtype t = w->dtype;
    const size_t row_bytes = (size_t)(w->k / rk_dtype_block(t)) * rk_dtype_bytes(t);
    const size_t bytes = rk_dot8_group_bytes(t, w->k);
    if (w->columns) {
        pack_columns(w, rows, lo, hi, packed);
        return;
    }
    for (int64_t g = lo; g < hi; g++) {
        unsigned char *group = packed + (size_t)g * bytes;
        memset(group, 0, bytes);
        for (int r = 0; r < RK_DOT8_ROWS && g * RK_DOT8_ROWS + r < w->n; r++)
            pack_row(t, w->k,
                     (const unsigned char *)rows + (size_t)(g * RK_DOT8_ROWS + r) * row_bytes, r,
                     group);
    }
}

/* ---- choice ---- */

extern const rk_dot8_kernels rk_dot8_ref, rk_dot8_avx2, rk_dot8_avxvnni, rk_dot8_avx512vnni,
    rk_dot8_neon, rk_dot8_neondot, rk_dot8_neoni8mm;

typedef struct choice {
    const rk_dot8_kernels *kern;
    bool (*runs)(void);
} choice;

static bool runs_always(void)
{
    return true;
}

#if defined(__x86_64__)
static bool runs_avx2(void)
{
    unsigned a = 0, b = 0, c = 0, d = 0;
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#ifdef RK_EMULATE_AVX512 /* a test build that emulates these instructions by functions */
static bool runs_avxvnni(void)
{
    return true;
}
static bool runs_avx512vnni(void)
{
    return true;
}
#else
/* Bit 4 of eax of leaf 7.1; that the system keeps the registers is known with AVX2. */
static bool runs_avxvnni(void)
{
    unsigned a = 0, b = 0, c = 0, d = 0;
    return runs_avx2() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
}
static bool runs_avx512vnni(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vnni");
}
#endif
#endif

#if defined(__aarch64__)
static bool runs_neondot(void)
{
#if defined(__linux__)
    return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#else
    return false;
#endif
}
static bool runs_neoni8mm(void)
{
#if defined(__linux__)
    return runs_neondot() && (getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0;
#else
    return false;
#endif
}
#endif

/* In the order of preference, the last that runs is the best. */
static const choice choices[] = {
    {&rk_dot8_ref, runs_always},
#if defined(__x86_64__)
    {&rk_dot8_avx2, runs_avx2},
    {&rk_dot8_avxvnni, runs_avxvnni},
    {&rk_dot8_avx512vnni, runs_avx512vnni},
#elif defined(__aarch64__)
    {&rk_dot8_neon, runs_always},
    {&rk_dot8_neondot, runs_neondot},
    {&rk_dot8_neoni8mm, runs_neoni8mm},
#endif
};

const rk_dot8_kernels *rk_dot8_at(int i)
{
    for (size_t c = 0; c < RK_COUNT(choices); c++)
        if (choices[c].runs() && i-- == 0)
            return choices[c].kern;
    return NULL;
}

const rk_dot8_kernels *rk_dot8_best(void)
{
    const rk_dot8_kernels *best = NULL;
    for (size_t c = 0; c < RK_COUNT(choices); c++)
        if (choices[c].runs())
            best = choices[c].kern;
    return best;
}
