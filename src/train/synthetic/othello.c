/* othello.c: random legal games of Othello, move by move; a right answer is any legal move.
 *
 * As in Li et al., "Emergent world representations", arXiv 2210.13382: who has no move passes and no
 * token says so; a game ends when neither has one. */
#include "base/num.h"
#include "train/synthetic/synthetic.h"

enum { SIDE = 8, SQUARES = SIDE * SIDE, MOVES_MAX = SQUARES - 4, START = SQUARES, N_VOCAB };
enum { MOVES };

typedef struct board {
    int8_t at[SQUARES]; /* 1 and -1: discs; 0: none */
    int8_t player;
} board;

static bool inside(int row, int col)
{
    return row >= 0 && row < SIDE && col >= 0 && col < SIDE;
}

/* Discs that a move to (row, col) turns in one direction; they are turned when asked. */
static int turned(board *b, int row, int col, int dr, int dc, bool turn)
{
    int n = 0, r = row + dr, c = col + dc;
    for (; inside(r, c) && b->at[SIDE * r + c] == -b->player; r += dr, c += dc)
        n++;
    if (n == 0 || !inside(r, c) || b->at[SIDE * r + c] != b->player)
        return 0;
    for (int i = 1; turn && i <= n; i++)
        b->at[SIDE * (row + i * dr) + col + i * dc] = b->player;
    return n;
}

static int turned_by(board *b, int square, bool turn)
{
    int n = 0;
    for (int dr = -1; dr <= 1 && b->at[square] == 0; dr++)
        for (int dc = -1; dc <= 1; dc++)
            if (dr || dc)
                n += turned(b, square / SIDE, square % SIDE, dr, dc, turn);
    return n;
}

static bool is_legal(board *b, int square)
{
    return turned_by(b, square, false) > 0;
}

static bool can_move(board *b)
{
    int i = 0;
    while (i < SQUARES && !is_legal(b, i))
        i++;
    return i < SQUARES;
}

/* Whose turn it is, once who cannot move has passed; false: the game is over. */
static bool settle_turn(board *b)
{
    if (can_move(b))
        return true;
    b->player = (int8_t)-b->player;
    return can_move(b);
}

/* The player's moves; returns their number. */
static int list_moves(board *b, int32_t *moves)
{
    int n = 0;
    for (int i = 0; i < SQUARES; i++)
        if (is_legal(b, i))
            moves[n++] = i;
    return n;
}

static void play(board *b, int square)
{
    turned_by(b, square, true);
    b->at[square] = b->player;
    b->player = (int8_t)-b->player;
}

/* Black, who begins, is 1. */
static board opening(void)
{
    board b = {.player = 1};
    b.at[3 * SIDE + 3] = b.at[4 * SIDE + 4] = -1;
    b.at[3 * SIDE + 4] = b.at[4 * SIDE + 3] = 1;
    return b;
}

static const rk_syn_param params[] = {
    [MOVES] = {"moves", MOVES_MAX, 1, MOVES_MAX, NULL, false, "moves of a game, at most"},
};

static rk_status settle(rk_synthetic *s, rk_error *err)
{
    (void)err;
    s->n_tokens = rk_syn_int(s, MOVES); /* the start and all moves but the last */
    s->n_vocab = N_VOCAB;
    s->n_scratch = SQUARES;
    return RK_OK;
}

static void fill(const rk_synthetic *s, rk_syn_sample *x)
{
    board b = opening();
    int64_t at = 0;
    rk_syn_push(s, x, &at, START, false);
    while (at <= s->n_tokens && settle_turn(&b)) {
        const int32_t move = x->scratch[rk_draw_below(&x->draws, list_moves(&b, x->scratch))];
        play(&b, move);
        rk_syn_push(s, x, &at, move, true);
    }
    while (at < s->n_tokens)
        rk_syn_push(s, x, &at, START, false);
}

static bool accepts(const rk_synthetic *s, const int32_t *ids, int64_t at, int32_t id)
{
    board b = opening();
    (void)s;
    for (int64_t i = 1; i <= at; i++) {
        settle_turn(&b);
        play(&b, ids[i]);
    }
    return id < SQUARES && settle_turn(&b) && is_legal(&b, id);
}

static void put_square(const rk_synthetic *s, int32_t id, rk_buf *out)
{
    (void)s;
    if (id == START)
        rk_buf_puts(out, "--");
    else
        rk_buf_printf(out, "%c%d", 'a' + id % SIDE, 1 + id / SIDE);
}

const rk_generator rk_gen_othello = {.summary = "legal moves of Othello after the moves so far",
                                     .params = params,
                                     .n_params = RK_COUNT(params),
                                     .next = true,
                                     .settle = settle,
                                     .fill = fill,
                                     .put = put_square,
                                     .accepts = accepts};
