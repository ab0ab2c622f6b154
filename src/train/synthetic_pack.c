/* synthetic_pack.c: samples into packed files, one file after the other: drawing a sample again is
 * cheaper than keeping two files that grow in step. */
#include "train/synthetic_pack.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "data/packed_writer.h"
#include "io/checksum.h"

enum { LIST_TOKENS = 1 << 18, SAVE_LISTS = 64 };
typedef enum part { TOKENS, TARGETS } part;

typedef struct packing {
    const rk_synthetic *s;
    const rk_syn_pack *how;
    part part;
    rk_syn_sample x;
    int32_t *room;
    rk_token_list list;
    rk_packed_writer *writer;
} packing;

static bool is_asked(const packing *p, int64_t at)
{
    return p->x.targets[at] != RK_NO_TARGET;
}

/* What is read, and where the next token is what is asked for also the one behind the last. */
static void add_tokens(packing *p)
{
    const int64_t n = p->s->n_tokens;
    const bool next = p->s->gen->next;
    const int32_t last = is_asked(p, n - 1) ? p->x.targets[n - 1] : 0;
    for (int64_t i = 0; i < n; i++)
        rk_token_list_add(&p->list, &p->x.ids[i], 1, !next || (i > 0 && is_asked(p, i - 1)));
    if (next)
        rk_token_list_add(&p->list, &last, 1, is_asked(p, n - 1));
}

static void add_targets(packing *p)
{
    for (int64_t i = 0; i < p->s->n_tokens; i++) {
        const int32_t target = is_asked(p, i) ? p->x.targets[i] : 0;
        rk_token_list_add(&p->list, &target, 1, is_asked(p, i));
    }
}

static void add_sample(packing *p, int64_t i)
{
    rk_synthetic_sample(p->s, p->how->seed, p->how->stream, (uint64_t)(p->how->first + i), &p->x);
    if (p->part == TOKENS)
        add_tokens(p);
    else
        add_targets(p);
    rk_token_list_end(&p->list);
}

/* Write samples [first, last). */
static rk_status write_list(packing *p, int64_t first, int64_t last, rk_error *err)
{
    rk_token_list_clear(&p->list);
    for (int64_t i = first; i < last; i++)
        add_sample(p, i);
    const rk_status st = rk_token_list_check(&p->list, err);
    return st == RK_OK ? rk_packed_writer_add(p->writer, &p->list, err) : st;
}

static rk_status write_samples(packing *p, int64_t first, int *signal, rk_error *err)
{
    const rk_syn_pack *how = p->how;
    const int64_t step = rk_max_i64(1, LIST_TOKENS / (p->s->n_tokens + 1));
    rk_status st = RK_OK;
    for (int64_t i = first, n_lists = 1; i < how->n && st == RK_OK && !*signal; n_lists++) {
        const int64_t last = rk_min_i64(i + step, how->n);
        st = write_list(p, i, last, err);
        i = last;
        *signal = how->signal ? how->signal(how->signal_user) : 0;
        if (st == RK_OK && (*signal || n_lists % SAVE_LISTS == 0))
            st = rk_packed_writer_save(p->writer, &(rk_packed_place){.at = i}, err);
        if (how->progress)
            how->progress(how->progress_user, i, how->n);
    }
    return st;
}

/* Of all that the contents depend on. */
static uint64_t source_of(const packing *p)
{
    const rk_syn_pack *how = p->how;
    const uint64_t numbers[] = {how->seed, how->stream, (uint64_t)how->first, (uint64_t)how->n,
                                p->part};
    const uint64_t sums[] = {rk_checksum_bytes(p->s->task, strlen(p->s->task)),
                             rk_checksum_bytes(p->s->values, sizeof p->s->values),
                             rk_checksum_bytes(numbers, sizeof numbers)};
    return rk_checksum_bytes(sums, sizeof sums);
}

static void describe(const packing *p, rk_buf *out)
{
    static const char *const streams[] = {"train", "val", "eval"};
    rk_synthetic_describe(p->s, out);
    rk_buf_printf(out, " --seed %" PRIu64 " --stream %s --first-sample %" PRId64, p->how->seed,
                  streams[p->how->stream], p->how->first);
}

static rk_status write_file(packing *p, const char *path, rk_pool *pool, int *signal, rk_error *err)
{
    rk_buf task = {0};
    describe(p, &task);
    const rk_packed_head head = {.path = path,
                                 .task = task.data,
                                 .n_vocab = p->s->n_vocab,
                                 .source = source_of(p),
                                 .overwrite = p->how->overwrite};
    rk_packed_place place = {0};
    bool resumed;
    rk_status st = task.failed ? rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", path)
                               : rk_packed_writer_open(&p->writer, &head, &place, &resumed, err);
    rk_buf_deinit(&task);
    if (st != RK_OK)
        return st;
    st = write_samples(p, place.at, signal, err);
    if (st == RK_OK && !*signal)
        st = rk_packed_writer_finish(p->writer, pool, NULL, err);
    rk_packed_writer_close(p->writer);
    return st;
}

static rk_status open_packing(packing *p, rk_error *err)
{
    const int64_t n = p->s->n_tokens;
    rk_token_list_init(&p->list, rk_id_type_for(p->s->n_vocab));
    p->room = calloc((size_t)(3 * n + p->s->n_scratch), sizeof *p->room);
    if (!p->room)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for a sample of %lld tokens",
                       (long long)n);
    p->x = (rk_syn_sample){.ids = p->room,
                           .targets = p->room + n,
                           .kinds = p->room + 2 * n,
                           .scratch = p->room + 3 * n};
    return RK_OK;
}

/* The tokens are the last file, so that who finds them finds all. */
static rk_status write_files(packing *p, rk_pool *pool, int *signal, rk_error *err)
{
    rk_status st = RK_OK;
    if (!p->s->gen->next) {
        char *targets = rk_packed_sister(p->how->out, ".targets.bin");
        p->part = TARGETS;
        st = targets ? write_file(p, targets, pool, signal, err)
                     : rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", p->how->out);
        free(targets);
    }
    p->part = TOKENS;
    return st == RK_OK && !*signal ? write_file(p, p->how->out, pool, signal, err) : st;
}

rk_status rk_synthetic_pack(const rk_synthetic *s, const rk_syn_pack *how, rk_pool *pool,
                            int *signal, rk_error *err)
{
    packing p = {.s = s, .how = how};
    *signal = 0;
    rk_status st = open_packing(&p, err);
    if (st == RK_OK)
        st = write_files(&p, pool, signal, err);
    rk_token_list_deinit(&p.list);
    free(p.room);
    return st;
}
