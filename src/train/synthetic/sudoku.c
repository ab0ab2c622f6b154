/* sudoku.c: Sudoku of four by four, with one solution: the given cells, then all. */
#include <string.h>

#include "base/num.h"
#include "train/synthetic/synthetic.h"

enum { SIDE = 4, BOX = 2, CELLS = SIDE * SIDE, EQUALS = SIDE + 1, N_VOCAB };
enum { CLUES };
enum { CLUES_MIN = 4 }; /* no puzzle of four by four with fewer has one solution */

static const rk_syn_param params[] = {
    [CLUES] = {"clues", 6, CLUES_MIN, CELLS - 1, NULL, false,
               "given cells, or more where no one of them can be spared"},
};

static rk_status settle(rk_synthetic *s, rk_error *err)
{
    (void)err;
    s->n_tokens = 2 * CELLS; /* the last cell is only asked for */
    s->n_vocab = N_VOCAB;
    s->n_scratch = 2 * CELLS;
    return RK_OK;
}

/* Does no other cell of its row, column and box hold `digit`? */
static bool fits(const int32_t *grid, int cell, int32_t digit)
{
    const int row = cell / SIDE, col = cell % SIDE;
    for (int i = 0; i < CELLS; i++) {
        const int r = i / SIDE, c = i % SIDE;
        const bool seen = r == row || c == col || (r / BOX == row / BOX && c / BOX == col / BOX);
        if (i != cell && seen && grid[i] == digit)
            return false;
    }
    return true;
}

/* Solutions of a grid with empty cells, up to two are counted; it is left as it was. */
static int count_solutions(int32_t *grid)
{
    int cell = 0, n = 0;
    while (cell < CELLS && grid[cell])
        cell++;
    if (cell == CELLS)
        return 1;
    for (int32_t digit = 1; digit <= SIDE && n < 2; digit++) {
        if (!fits(grid, cell, digit))
            continue;
        grid[cell] = digit;
        n += count_solutions(grid);
        grid[cell] = 0;
    }
    return n < 2 ? n : 2;
}

/* Fill the cells from `cell` on, digits in random order, back where there is none: every solved grid
 * can come. */
static bool solve_randomly(rk_draws *d, int32_t *grid, int cell)
{
    int32_t order[SIDE];
    if (cell == CELLS)
        return true;
    rk_draw_permutation(d, SIDE, order);
    for (int i = 0; i < SIDE; i++) {
        grid[cell] = 1 + order[i];
        if (fits(grid, cell, grid[cell]) && solve_randomly(d, grid, cell + 1))
            return true;
    }
    grid[cell] = 0;
    return false;
}

/* Empty cells in random order as long as one solution is left. */
static void empty_cells(rk_draws *d, int32_t *grid, int64_t clues)
{
    int32_t order[CELLS];
    int64_t n = CELLS;
    rk_draw_permutation(d, CELLS, order);
    for (int i = 0; i < CELLS && n > clues; i++) {
        const int32_t keep = grid[order[i]];
        grid[order[i]] = 0;
        n--;
        if (count_solutions(grid) > 1) {
            grid[order[i]] = keep;
            n++;
        }
    }
}

static void fill(const rk_synthetic *s, rk_syn_sample *x)
{
    int32_t *solved = x->scratch, *given = solved + CELLS;
    int64_t at = 0;
    memset(solved, 0, CELLS * sizeof *solved);
    solve_randomly(&x->draws, solved, 0);
    memcpy(given, solved, CELLS * sizeof *given);
    empty_cells(&x->draws, given, rk_syn_int(s, CLUES));
    for (int i = 0; i < CELLS; i++)
        rk_syn_push(s, x, &at, given[i], false);
    rk_syn_push(s, x, &at, EQUALS, false);
    for (int i = 0; i < CELLS; i++)
        rk_syn_push(s, x, &at, solved[i], true);
}

static void put_cell(const rk_synthetic *s, int32_t id, rk_buf *out)
{
    (void)s;
    rk_buf_add(out, &"_1234="[id], 1);
}

const rk_generator rk_gen_sudoku4 = {.summary = "Sudoku of four by four cells",
                                     .params = params,
                                     .n_params = RK_COUNT(params),
                                     .next = true,
                                     .settle = settle,
                                     .fill = fill,
                                     .put = put_cell};
