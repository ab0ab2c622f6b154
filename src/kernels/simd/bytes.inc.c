/* bytes.inc.c: products of bytes with numbers of 29 bits (ranges.h), in whole numbers.
 *
 * A byte becomes a 16-bit word, which is multiplied with both halves of the number: so 16 bits times 16 bits, added in
 * pairs, is all that is asked of the processor. Turning bytes into floats takes as many instructions, and the
 * sums of floats wait for each other.
 *
 * Sums of 32 bits hold CHUNK blocks: in a lane 4 products a block of at most 255 2^14. As in gemv.inc.c the rows of a
 * tile are far apart, and each next tile continues where the one before ended. */

enum {
    BYTES_CHUNK = 64,
    BYTES_TILE = 4,                         /* weight rows at once, */
    BYTES_PAIR = VF_REGISTERS < 32 ? 2 : 4, /* for two rows of x, */
    BYTES_SUMS = 2 * BYTES_TILE             /* and sums of both halves at most */
};

/* Blocks [lo, hi) of r rows of x times those of j weight rows, added to total; `part` in the place of the weights:
 * what is left of a block behind the last whole one. */
RK_INLINE void add_blocks(int r, int j, int64_t lo, int64_t hi, const rk_x29 *x, int64_t ldx,
                          const uint8_t *const *w, uint8_t (*part)[RK_X29_BLOCK], int64_t *total)
{
    vsums high[BYTES_SUMS], low[BYTES_SUMS];
    for (int i = 0; i < r * j; i++)
        high[i] = low[i] = vsums_zero();
    for (int64_t b = lo; b < hi; b++)
        for (int c = 0; c < j; c++) {
            const vwords q = vwords_load(part ? part[c] : w[c] + b * RK_X29_BLOCK);
            for (int a = 0; a < r; a++) {
                const rk_x29 *xb = x + a * ldx + b;
                high[a * j + c] = vwords_add(high[a * j + c], q, xb->high);
                low[a * j + c] = vwords_add(low[a * j + c], q, xb->low);
            }
        }
    for (int i = 0; i < r * j; i++)
        total[i] += vsums_total(high[i]) * RK_X29_HIGH + vsums_total(low[i]);
}

/* Rows [0, r) of x times j weight rows, `step` apart, of which n are wanted: others repeat the last one. */
RK_INLINE void bytes_tile(int r, int j, int64_t n, int64_t step, int64_t k, const rk_x29 *x,
                          int64_t ldx, const uint8_t *w, int64_t ldw, int64_t *y, int64_t ldy)
{
    const int64_t whole = k / RK_X29_BLOCK, rest = k % RK_X29_BLOCK;
    const uint8_t *row[BYTES_TILE];
    int64_t total[BYTES_SUMS] = {0};
    for (int c = 0; c < j; c++)
        row[c] = w + rk_min_i64(c, n - 1) * step * ldw;
    for (int64_t b = 0; b < whole; b += BYTES_CHUNK)
        add_blocks(r, j, b, rk_min_i64(b + BYTES_CHUNK, whole), x, ldx, row, NULL, total);
    if (rest > 0) {
        uint8_t part[BYTES_TILE][RK_X29_BLOCK] = {{0}};
        for (int c = 0; c < j; c++)
            memcpy(part[c], row[c] + whole * RK_X29_BLOCK, (size_t)rest);
        add_blocks(r, j, whole, whole + 1, x, ldx, row, part, total);
    }
    for (int a = 0; a < r; a++)
        for (int c = 0; c < j && c < n; c++)
            y[a * ldy + c * step] = total[a * j + c];
}

/* One or two rows of x times up to 4 weight rows. */
RK_INLINE void bytes_rows(int r, int64_t n, int64_t step, int64_t k, const rk_x29 *x, int64_t ldx,
                          const uint8_t *w, int64_t ldw, int64_t *y, int64_t ldy)
{
    const int wide = r == 1 ? BYTES_TILE : BYTES_PAIR;
    for (int64_t c = 0; c < n; c += wide)
        bytes_tile(r, wide, n - c, step, k, x, ldx, w + c * step * ldw, ldw, y + c * step, ldy);
}

/* One or two rows of x times all weight rows, which for two rows come from a nearer cache. */
RK_INLINE void bytes_tiles(int r, int64_t n, int64_t k, const rk_x29 *x, int64_t ldx,
                           const uint8_t *w, int64_t ldw, int64_t *y, int64_t ldy)
{
    const int64_t tiles = n / BYTES_TILE, whole = tiles * BYTES_TILE;
    for (int64_t j = 0; j < tiles; j++)
        bytes_rows(r, BYTES_TILE, tiles, k, x, ldx, w + j * ldw, ldw, y + j, ldy);
    if (whole < n)
        bytes_rows(r, n - whole, 1, k, x, ldx, w + whole * ldw, ldw, y + whole, ldy);
}

static void bytes_dot(int64_t rows, int64_t n, int64_t k, const rk_x29 *x, int64_t ldx,
                      const uint8_t *w, int64_t ldw, int64_t *y, int64_t ldy)
{
    int64_t i = 0;
    for (; i + 2 <= rows; i += 2)
        bytes_tiles(2, n, k, x + i * ldx, ldx, w, ldw, y + i * ldy, ldy);
    if (i < rows)
        bytes_tiles(1, n, k, x + i * ldx, ldx, w, ldw, y + i * ldy, ldy);
}
