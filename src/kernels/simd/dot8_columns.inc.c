/* dot8_columns.inc.c: matrices in columns; the definition is ref/dot8_ref.c, the layout stands in
 * dot8_layout.h. To be included in dot8.inc.c, whose names it uses.
 *
 * Few rows of x, gathered without their zeros: four lines at a time are interleaved, which makes
 * quads of them. The lines of later inputs are prefetched by instruction, since the hardware cannot
 * guess which ones are not skipped. Between blocks the sums of a tile are kept in memory: they stay
 * in the first-level cache. Many rows: groups are unpacked like those of the other form, and go the
 * same way from there. */

enum {
    STRIP_GROUPS = 64 / RK_DOT8_ROWS, /* groups of a line in 8 bits, or of half a line in 4 */
    SUMS_MOST = 4 * STRIP_GROUPS, /* twice as many as are used: some compilers cannot see that */
    TILE_MOST = 4 * 128           /* outputs */
};

/* Scales and minima, if there are any, of VF outputs of a tile from o on. */
RK_INLINE void column_scales(rk_dtype t, const dot8_columns *c, int o, vf *d, vf *m)
{
    *d = factors_at(c->d + 2 * o);
    *m = vf_zero();
    if (!dot8_stores_minima(t))
        return;
    *m = factors_at(c->m + 2 * o);
    if (dot8_is_k(t)) {
        *d = vf_mul(*d, vf_load_u8(c->scales + o));
        *m = vf_sub(vf_zero(), vf_mul(*m, vf_load_u8(c->minima + o)));
    }
}

/* ---- few rows ---- */

/* Parts that are summed together: as many as registers hold. */
#define PARTS_OF_LINES(bits) ((bits) == 8 && PARTS == 2 ? 2 : 1)

/* Multiply four lines of one part with four inputs and add to the sums of the strip's groups. */
RK_INLINE void add_four(int bits, const unsigned char *lines, const int32_t *at, const int8_t *x,
                        va *to)
{
    vq q[STRIP_GROUPS];
    vq_interleave(vq_load(lines + at[0]), vq_load(lines + at[1]), vq_load(lines + at[2]),
                  vq_load(lines + at[3]), q);
#pragma GCC unroll 4
    for (int g = 0; g < STRIP_GROUPS; g++) {
        const vq low = bits == 8 ? vq_of_byte(q[g]) : vq_and(q[g], 15);
        to[g] = va_step(bits, to[g], low, vq_magnitude(bits, low), x, 0);
        if (bits == 4) {
            const vq high = vq_and(vq_shift_right(q[g], 4), 15);
            to[STRIP_GROUPS + g] = va_step(bits, to[STRIP_GROUPS + g], high, high, x, 0);
        }
    }
}

/* The same for as many inputs as can be summed in narrow integers. Later lines are prefetched. */
RK_INLINE void some_lines(int bits, int parts, const unsigned char *strip, const int32_t *offset,
                          const int8_t *x, int n, bool ask, va *some)
{
    for (int c = 0; c < n; c += 4) {
        for (int i = 0; i < 4 && ask; i++)
            rk_prefetch(strip + offset[c + DOT8_AHEAD + i]);
#pragma GCC unroll 2
        for (int p = 0; p < parts; p++)
            add_four(bits, strip + p * PART_BYTES, offset + c, x + c, some + p * STRIP_GROUPS);
    }
}

/* Sums of a block over the lines of n inputs, for some parts of a strip's groups: those of the low
 * halves of bytes, with 4 bits then those of the high ones. */
RK_INLINE void sum_lines(int bits, int parts, const unsigned char *strip, const int32_t *offset,
                         const int8_t *x, int n, bool ask, vi *sum)
{
    const int all = parts * (bits == 8 ? STRIP_GROUPS : 2 * STRIP_GROUPS);
    for (int s = 0; s < all; s++)
        sum[s] = vi_zero();
    for (int first = 0; first < n; first += 4 * VA_QUADS(bits)) {
        va some[SUMS_MOST];
        for (int s = 0; s < all; s++)
            some[s] = va_zero();
        const int left = n - first, most = 4 * VA_QUADS(bits);
        some_lines(bits, parts, strip, offset + first, x + first, left < most ? left : most, ask,
                   some);
        for (int s = 0; s < all; s++)
            sum[s] = va_add_to(bits, sum[s], some[s]);
    }
}

/* Add the integer sums of a block, scaled, to VF outputs of a tile from o on. */
RK_INLINE void add_sums(rk_dtype t, const dot8_columns *c, int o, vi sum, const rk_x8_left *x,
                        float *f)
{
    vf d, m, y = vf_load(f + o);
    column_scales(t, c, o, &d, &m);
    if (!dot8_stores_minima(t))
        sum = vi_centre(dot8_bits(t), sum, x->total);
    y = vf_fma(vi_to_floats(sum), vf_mul(d, vf_set1(x->d)), y);
    if (dot8_stores_minima(t))
        y = vf_fma(m, vf_set1(x->sum), y);
    vf_store(f + o, y);
}

/* Add a block to f, the outputs of the strip of a tile that begins with o. */
RK_INLINE void add_lines(rk_dtype t, const unsigned char *tile, const dot8_columns *c, int o,
                         const rk_x8_left *x, const int32_t *offset, const int8_t *q, float *f)
{
    const int bits = dot8_bits(t), parts = PARTS_OF_LINES(bits);
    const int groups = dot8_strip(t) / RK_DOT8_ROWS;
    const unsigned char *strip = tile + o / dot8_strip(t) * DOT8_LINE;
#pragma GCC unroll 4
    for (int p = 0; p < PARTS; p += parts) {
        vi sum[SUMS_MOST];
        sum_lines(bits, parts, strip + p * PART_BYTES, offset, q, x->n, p == 0, sum);
#pragma GCC unroll 8
        for (int s = 0; s < parts * groups; s++)
            add_sums(t, c, o + s % groups * RK_DOT8_ROWS + (p + s / groups) * VF, sum[s], x, f);
    }
}

/* One row of x times outputs [o0, o1) of a tile of n. */
RK_INLINE void tile_by_row(rk_dtype t, const unsigned char *tile, int n, int o0, int o1,
                           int64_t blocks, const rk_x8_sparse *x, float *y, bool accumulate)
{
    const int32_t *offset = x->offset;
    const int8_t *q = x->q;
    _Alignas(64) float f[TILE_MOST];
    for (int o = o0; o < o1; o += VF)
        vf_store(f + o, vf_zero());
    for (int64_t b = 0; b < blocks; b++) {
        const dot8_columns now = dot8_columns_of(t, tile, n, b);
        const dot8_columns soon = dot8_columns_of(t, tile, n, rk_min_i64(b + 2, blocks - 1));
        for (int o = 2 * o0; o < 2 * o1; o += DOT8_LINE) {
            rk_prefetch(soon.d + o);
            if (dot8_stores_minima(t))
                rk_prefetch(soon.m + o);
        }
        for (int o = o0; o < o1 && x->blocks[b].d != 0.0f; o += dot8_strip(t))
            add_lines(t, tile, &now, o, x->blocks + b, offset, q, f);
        offset += x->blocks[b].n;
        q += x->blocks[b].n;
    }
    for (int o = o0; o < o1; o += VF)
        put(y + o, vf_load(f + o), VF, accumulate);
}

RK_INLINE void columns_of(rk_dtype t, const rk_dot8_matrix *w, int64_t g0, int64_t g1,
                          const rk_x8_sparse *x, int64_t rows, float *y, int64_t ldy,
                          bool accumulate)
{
    const int n = dot8_tile(t, w->n);
    const int64_t end = g1 * RK_DOT8_ROWS;
    for (int64_t at = g0 * RK_DOT8_ROWS; at < end; at += n - at % n)
        for (int64_t r = 0; r < rows; r++)
            tile_by_row(t, dot8_tile_of(t, w, at), n, (int)(at % n),
                        (int)rk_min_i64(n, at % n + end - at), w->k / RK_X8_BLOCK, x + r,
                        y + r * ldy + at - at % n, accumulate);
}

static void columns(const rk_dot8_matrix *w, int64_t g0, int64_t g1, const rk_x8_sparse *x,
                    int64_t rows, float *y, int64_t ldy, bool accumulate)
{
    if (w->dtype == RK_Q8_0)
        columns_of(RK_Q8_0, w, g0, g1, x, rows, y, ldy, accumulate);
    else if (w->dtype == RK_Q4_0)
        columns_of(RK_Q4_0, w, g0, g1, x, rows, y, ldy, accumulate);
    else if (w->dtype == RK_Q4_1)
        columns_of(RK_Q4_1, w, g0, g1, x, rows, y, ldy, accumulate);
    else
        columns_of(RK_Q4_K, w, g0, g1, x, rows, y, ldy, accumulate);
}

/* ---- many rows ---- */

/* Unpack group g. */
RK_INLINE void unpack_columns(rk_dtype t, const rk_dot8_matrix *w, int64_t g, unsigned char *to)
{
    const int n_tile = dot8_tile(t, w->n), o = (int)(g * RK_DOT8_ROWS % n_tile);
    const unsigned char *tile = dot8_tile_of(t, w, g * RK_DOT8_ROWS);
    const bool high = o % dot8_strip(t) >= 64;
    for (int64_t i = 0; i < w->k / RK_X8_BLOCK; i++, to += unpacked_bytes(t)) {
        const dot8_columns c = dot8_columns_of(t, tile, n_tile, i);
        const unsigned char *lines = c.lines + o / dot8_strip(t) * DOT8_LINE;
        for (int p = 0; p < PARTS; p++) {
            float *scales = (float *)(void *)(to + UNPACKED_NUMBERS) + p * VF;
            vf d, m;
            for (int j = 0; j < DOT8_QUADS; j++) {
                const unsigned char *l = lines + 4 * j * c.line + p * PART_BYTES;
                vq q[STRIP_GROUPS];
                vq_interleave(vq_load(l), vq_load(l + c.line), vq_load(l + 2 * c.line),
                              vq_load(l + 3 * c.line), q);
                const vq n = q[g % STRIP_GROUPS];
                vq_store(to + j * DOT8_LINE + p * PART_BYTES,
                         dot8_bits(t) == 8 ? vq_of_byte(n)
                                           : vq_and(high ? vq_shift_right(n, 4) : n, 15));
            }
            pair_quads(to + p * PART_BYTES);
            column_scales(t, &c, o + p * VF, &d, &m);
            put_scales(t, scales, d, m);
        }
    }
}
