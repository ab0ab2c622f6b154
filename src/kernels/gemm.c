/* gemm.c: the blocked driver of the packed matrix product.
 *
 * As in Goto, van de Geijn, "Anatomy of high-performance matrix multiplication" (2008): k is cut
 * into blocks, so that a panel of B (a block of k by nr columns) stays in the first-level cache
 * while the panels of a block of A stream from the second level. A step is one block of k, of rows
 * and of columns: first all panels of A and B of the step are packed, then the blocks of C are
 * computed, both as tasks of the pool. The tasks depend on the shape alone; the bits do not even
 * depend on that, since every element of C continues its own chain of multiply-adds.
 *
 * If each task packed its own part of A, a step would have one join less, but A would be packed
 * again for every block of columns. At the edges of C a full tile is computed on the stack, so that
 * there is only one form of tile. */
#include "kernels/gemm.h"

#include <assert.h>

#include "base/inline.h"
#include "base/num.h"

enum {
    BLOCK_K = 256,   /* k of a block: a panel of B has 16 KiB with nr 16 */
    BLOCK_MN = 4096, /* rows and columns of a step: bounds the packed copies */
    TASK_ROWS = 96,  /* rows of A that a task computes: 96 KiB, a part of the second-level cache */
    TASKS_PER_ROW = 16, /* tasks to aim for, where there are few rows, too */
    PACK_ELEMENTS = 8192,
    PACK_CHUNK = 64, /* rows of l packed before the next panel's: whole cache lines are used */
    TILE_BYTES = 14 * 32 * 4, /* largest tile of any table */
    PANEL_MAX = 32,           /* widest panel of a table with pairs */
    ALIGN = 64
};

typedef struct step {
    const rk_kernels *kern;
    rk_matrix a, b;         /* pointing at the first element of the step */
    bool round_bf16, pairs; /* pairs: packed two and two, for gemm_tile_pairs */
    size_t size;            /* of a real */
    int64_t m, n, k;
    int64_t depth;                        /* rows of a packed panel: k, or the pairs of it */
    int64_t task_panels_m, task_panels_n; /* panels of a block of C */
    int64_t pack_panels_a, pack_panels_b, n_pack_a;
    char *packed_a, *packed_b, *c;
    int64_t ldc;
    bool load;
} step;

/* The length of equal parts of `total`, at most `most`, rounded up to whole panels; at least one
 * panel. */
static int64_t even_part(int64_t total, int64_t most, int64_t panel)
{
    const int64_t parts = rk_max_i64(rk_ceil_div(total, most), 1);
    return rk_ceil_div(rk_ceil_div(total, parts), panel) * panel;
}

static size_t packed_bytes(const rk_kernels *kern, int64_t extent, int64_t panel, int64_t k)
{
    const int64_t rows = even_part(extent, BLOCK_MN, panel), depth = even_part(k, BLOCK_K, 1);
    return rk_align_up((size_t)(rows * depth) * rk_dtype_bytes(kern->real), ALIGN);
}

size_t rk_gemm_scratch(const rk_kernels *kern, int n_threads, rk_gemm_shape s)
{
    (void)n_threads; /* the packed copies are shared */
    return packed_bytes(kern, s.m, kern->gemm_mr, s.k) +
           packed_bytes(kern, s.n, kern->gemm_nr, s.k);
}

/* Pack k rows of l of one panel, from src on, to `out`. */
static void pack_chunk(const step *s, const rk_matrix *src, const char *from, int64_t k,
                       int64_t panel, int64_t n_valid, int64_t js, int64_t ls, char *out)
{
    _Alignas(ALIGN) float rounded[PACK_CHUNK * PANEL_MAX];
    void *to = s->pairs ? (void *)rounded : out;
    s->kern->gemm_pack(k, panel, n_valid, from, src->dtype, js, ls, s->round_bf16, to);
    if (s->pairs)
        s->kern->gemm_pairs(k, panel, rounded, (uint32_t *)(void *)out);
}

/* Pack panels [p0, p1) of `extent` rows or columns of src, whose strides are js across and ls along
 * k. */
static void pack_panels(const step *s, const rk_matrix *src, int64_t extent, int64_t js, int64_t ls,
                        int64_t panel, int64_t p0, int64_t p1, char *packed)
{
    const int64_t src_size = (int64_t)rk_dtype_bytes(src->dtype);
    p1 = rk_min_i64(p1, rk_ceil_div(extent, panel));
    for (int64_t l = 0; l < s->k; l += PACK_CHUNK)
        for (int64_t p = p0; p < p1; p++) {
            const int64_t at = p * panel * js + l * ls; /* may be negative with a stride */
            const int64_t row = p * s->depth + (s->pairs ? l / 2 : l);
            pack_chunk(s, src, (const char *)src->data + at * src_size,
                       rk_min_i64(s->k - l, PACK_CHUNK), panel,
                       rk_min_i64(extent - p * panel, panel), js, ls,
                       packed + (size_t)(row * panel) * s->size);
        }
}

static void pack_task(void *arg, int64_t i, int worker)
{
    const step *s = arg;
    (void)worker;
    if (i < s->n_pack_a) {
        pack_panels(s, &s->a, s->m, s->a.row_stride, s->a.col_stride, s->kern->gemm_mr,
                    i * s->pack_panels_a, (i + 1) * s->pack_panels_a, s->packed_a);
    } else {
        i -= s->n_pack_a;
        pack_panels(s, &s->b, s->n, s->b.col_stride, s->b.row_stride, s->kern->gemm_nr,
                    i * s->pack_panels_b, (i + 1) * s->pack_panels_b, s->packed_b);
    }
}

static void run_tile(const step *s, const char *a, const char *b, void *c, int64_t ldc)
{
    (s->pairs ? s->kern->gemm_tile_pairs : s->kern->gemm_tile)(s->depth, a, b, c, ldc, s->load);
}

static void copy_tile(int64_t rows, size_t row_bytes, const char *from, size_t from_ld, char *to,
                      size_t to_ld)
{
    for (int64_t i = 0; i < rows; i++, from += from_ld, to += to_ld)
        memcpy(to, from, row_bytes);
}

/* Compute the tile at row i and column j of the step; at the edges of C in a copy. */
static void compute_tile(const step *s, int64_t i, int64_t j, const char *a, const char *b)
{
    const int64_t mr = s->kern->gemm_mr, nr = s->kern->gemm_nr;
    const int64_t rows = rk_min_i64(s->m - i, mr), cols = rk_min_i64(s->n - j, nr);
    const size_t ld = (size_t)nr * s->size, c_ld = (size_t)s->ldc * s->size;
    char *c = s->c + (size_t)(i * s->ldc + j) * s->size;
    for (int64_t next = mr; next < rk_min_i64(2 * mr, s->m - i); next++)
        rk_prefetch(c + (size_t)next * c_ld); /* the tile begins by loading C */
    if (rows == mr && cols == nr) {
        run_tile(s, a, b, c, s->ldc);
        return;
    }
    _Alignas(ALIGN) char tile[TILE_BYTES] = {0};
    if (s->load)
        copy_tile(rows, (size_t)cols * s->size, c, c_ld, tile, ld);
    run_tile(s, a, b, tile, nr);
    copy_tile(rows, (size_t)cols * s->size, tile, ld, c, c_ld);
}

/* One block of C: each panel of B against all panels of A. */
static void block_task(void *arg, int64_t task, int worker)
{
    const step *s = arg;
    const int64_t mr = s->kern->gemm_mr, nr = s->kern->gemm_nr;
    const int64_t block_m = s->task_panels_m * mr, block_n = s->task_panels_n * nr;
    const int64_t across = rk_ceil_div(s->n, block_n);
    const int64_t i0 = task / across * block_m, i1 = rk_min_i64(i0 + block_m, s->m);
    const int64_t j0 = task % across * block_n, j1 = rk_min_i64(j0 + block_n, s->n);
    (void)worker;
    for (int64_t j = j0; j < j1; j += nr)
        for (int64_t i = i0; i < i1; i += mr)
            compute_tile(s, i, j, s->packed_a + (size_t)(i * s->depth) * s->size,
                         s->packed_b + (size_t)(j * s->depth) * s->size);
}

/* Sizes of the tasks of a step, from its shape alone. */
static void plan_tasks(step *s)
{
    const int64_t mr = s->kern->gemm_mr, nr = s->kern->gemm_nr;
    s->task_panels_m = even_part(s->m, TASK_ROWS, mr) / mr;
    s->task_panels_n = rk_ceil_div(rk_ceil_div(s->n, nr), TASKS_PER_ROW);
    s->pack_panels_a = rk_max_i64(PACK_ELEMENTS / (mr * rk_max_i64(s->k, 1)), 1);
    s->pack_panels_b = rk_max_i64(PACK_ELEMENTS / (nr * rk_max_i64(s->k, 1)), 1);
    s->n_pack_a = rk_ceil_div(rk_ceil_div(s->m, mr), s->pack_panels_a);
}

static void run_step(step *s, rk_pool *pool)
{
    plan_tasks(s);
    const int64_t n_pack_b = rk_ceil_div(rk_ceil_div(s->n, s->kern->gemm_nr), s->pack_panels_b);
    const int64_t down = rk_ceil_div(s->m, s->task_panels_m * s->kern->gemm_mr);
    const int64_t across = rk_ceil_div(s->n, s->task_panels_n * s->kern->gemm_nr);
    if (s->k > 0)
        rk_pool_run(pool, s->n_pack_a + n_pack_b, pack_task, s);
    rk_pool_run(pool, down * across, block_task, s);
}

static rk_matrix at_element(rk_matrix x, int64_t i, int64_t j)
{
    const int64_t at = i * x.row_stride + j * x.col_stride;
    x.data = (const char *)x.data + at * (int64_t)rk_dtype_bytes(x.dtype);
    return x;
}

void rk_gemm(const rk_kernels *kern, rk_pool *pool, void *scratch, rk_gemm_shape s, rk_matrix a,
             rk_matrix b, void *c, int64_t ldc, bool accumulate, bool round_bf16)
{
    const size_t size = rk_dtype_bytes(kern->real);
    const int64_t part_m = even_part(s.m, BLOCK_MN, kern->gemm_mr);
    const int64_t part_n = even_part(s.n, BLOCK_MN, kern->gemm_nr);
    const int64_t part_k = rk_max_i64(even_part(s.k, BLOCK_K, 1), 1);
    char *packed_b = (char *)scratch + packed_bytes(kern, s.m, kern->gemm_mr, s.k);
    assert(kern->gemm_mr * kern->gemm_nr * (int64_t)size <= TILE_BYTES);

    for (int64_t j = 0; j < s.n; j += part_n)
        for (int64_t i = 0; i < s.m; i += part_m)
            for (int64_t l = 0; l == 0 || l < s.k; l += part_k) {
                step st = {.kern = kern, .round_bf16 = round_bf16, .size = size, .ldc = ldc};
                st.a = at_element(a, i, l);
                st.b = at_element(b, l, j);
                st.m = rk_min_i64(part_m, s.m - i);
                st.n = rk_min_i64(part_n, s.n - j);
                st.k = rk_min_i64(part_k, s.k - l);
                st.pairs = round_bf16 && kern->gemm_tile_pairs;
                st.depth = st.pairs ? rk_ceil_div(st.k, 2) : st.k;
                st.packed_a = scratch;
                st.packed_b = packed_b;
                st.c = (char *)c + (size_t)(i * ldc + j) * size;
                st.load = accumulate || l > 0;
                run_step(&st, pool);
            }
}
