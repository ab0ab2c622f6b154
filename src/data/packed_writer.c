/* packed_writer.c: files that are appended to, and a journal.
 *
 * A save syncs the files and then replaces state.json by one that says how much of them counts; what a
 * killed process has appended after it is overwritten. The checksums are worked out at the end, by
 * all threads: they are a fraction of the work, and there is no sum to be saved half done. */
#define _DEFAULT_SOURCE /* flock() */
#include "data/packed_writer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/num.h"
#include "base/str.h"
#include "data/bits.h"
#include "io/atomic_file.h"
#include "io/checksum.h"
#include "io/json_line.h"
#include "io/json_scan.h"
#include "io/map.h"
#include "io/path.h"

/* A sequence of an index has a length of 31 bits: a longer document is several. */
enum { SEQUENCE_MAX = 1 << 30 };

enum { BIN, LENGTHS, MASK, N_PARTS };
static const char *const part_names[N_PARTS] = {"bin", "lengths", "mask"};

/* The outputs in the order in which they get their names, and what each is in the folder. */
static const struct {
    const char *ending, *name;
} outputs[] = {{".mask", "mask"}, {".idx", "idx"}, {".json", "json"}, {".bin", "bin"}};

/* What is saved. */
enum { FILE_NUMBER, AT, LINE, TOKENS, DOCUMENTS, OPEN, COUNTED, MASKED, DONE, N_COUNTS };
static const char *const count_names[N_COUNTS] = {
    "file", "at", "line", "tokens", "documents", "open", "counted", "masked", "done"};

struct rk_packed_writer {
    char *path, *dir;
    char tokenizer[256], task[256];
    uint64_t tokenizer_checksum, source;
    int64_t n_vocab;
    rk_id_type type;
    bool overwrite;
    int lock, fd[N_PARTS];    /* -1: not open */
    int64_t counts[N_COUNTS]; /* OPEN: tokens of the document that has not ended */
    unsigned char bits;       /* of the byte of the mask that is not full */
    unsigned char *room;      /* for the bits of a list */
    size_t room_bytes;
};

/* ---- the folder ---- */

static char *in_folder(const rk_packed_writer *w, const char *name)
{
    return rk_path_join(w->dir, name);
}

static rk_status out_of_memory(const rk_packed_writer *w, rk_error *err)
{
    return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", w->path);
}

static rk_status fail_path(const char *path, const char *what, rk_error *err)
{
    return rk_fail(err, RK_ERR_IO, "%s: %s: %s", path, what, strerror(errno));
}

/* Is it a name that a packing gives, or one of its unfinished files? */
static bool is_own_name(const char *name)
{
    static const char *const more[] = {"idx", "json", "state.json"};
    const char *tmp = strstr(name, ".tmp-");
    const size_t n = tmp ? (size_t)(tmp - name) : strlen(name);
    for (int i = 0; i < N_PARTS; i++)
        if (strlen(part_names[i]) == n && !strncmp(part_names[i], name, n))
            return true;
    for (size_t i = 0; i < RK_COUNT(more); i++)
        if (strlen(more[i]) == n && !strncmp(more[i], name, n))
            return true;
    return false;
}

/* The folder is removed at the end, so that nothing of others may be in it. */
static rk_status refuse_others(const rk_packed_writer *w, rk_error *err)
{
    DIR *dir = opendir(w->dir);
    rk_status st = dir ? RK_OK : fail_path(w->dir, "cannot open it", err);
    for (struct dirent *e; st == RK_OK && (e = readdir(dir));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && !is_own_name(e->d_name))
            st = rk_fail(err, RK_ERR_ARG, "%s: holds '%.80s', which no packing has left there",
                         w->dir, e->d_name);
    if (dir)
        closedir(dir);
    return st;
}

static rk_status enter_folder(rk_packed_writer *w, rk_error *err)
{
    if (mkdir(w->dir, 0777) != 0 && errno != EEXIST)
        return fail_path(w->dir, "cannot make the folder", err);
    w->lock = open(w->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (w->lock < 0)
        return fail_path(w->dir, "cannot open it", err);
    if (flock(w->lock, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return rk_fail(err, RK_ERR_ARG, "%s: another process is writing it", w->path);
    return refuse_others(w, err);
}

static rk_status open_part(rk_packed_writer *w, int part, rk_error *err)
{
    char *path = in_folder(w, part_names[part]);
    if (!path)
        return out_of_memory(w, err);
    w->fd[part] = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    const rk_status st = w->fd[part] >= 0 ? RK_OK : fail_path(path, "cannot open it", err);
    free(path);
    return st;
}

/* The final name of an output; to be freed. */
static char *output_path(const rk_packed_writer *w, size_t i)
{
    return rk_packed_sister(w->path, outputs[i].ending);
}

static rk_status check_outputs(const rk_packed_writer *w, rk_error *err)
{
    rk_status st = RK_OK;
    for (size_t i = 0; i < RK_COUNT(outputs) && st == RK_OK; i++) {
        char *path = output_path(w, i);
        if (!path)
            st = out_of_memory(w, err);
        else if (access(path, F_OK) == 0)
            st = rk_fail(err, RK_ERR_ARG, "%s: exists already; --force overwrites it", path);
        free(path);
    }
    return st;
}

/* ---- the journal ---- */

static rk_status write_file(const rk_packed_writer *w, const char *name, const rk_buf *text,
                            rk_error *err)
{
    rk_out *out = NULL;
    char *path = in_folder(w, name);
    rk_status st =
        path && !text->failed ? rk_out_open(&out, path, true, err) : out_of_memory(w, err);
    if (st == RK_OK) {
        rk_out_write(out, text->data, text->len);
        st = rk_out_commit(out, err);
    }
    free(path);
    return st;
}

static rk_status write_state(const rk_packed_writer *w, rk_error *err)
{
    rk_buf text = {0};
    rk_buf_printf(&text, "{\"source\": %" PRIu64 ", \"bits\": %d", w->source, w->bits);
    for (int i = 0; i < N_COUNTS; i++)
        rk_buf_printf(&text, ", \"%s\": %" PRId64, count_names[i], w->counts[i]);
    rk_buf_puts(&text, "}\n");
    const rk_status st = write_file(w, "state.json", &text, err);
    rk_buf_deinit(&text);
    return st;
}

static bool take_number(rk_json_scan *s, const char *name, uint64_t *out)
{
    char key[16];
    size_t n;
    const rk_json_scan begin = *s;
    if (!rk_json_string(s, NULL, &n) || n != strlen(name))
        return false;
    *s = begin;
    rk_json_string(s, key, &n);
    return !memcmp(key, name, n) && rk_json_take(s, ':') && rk_json_uint(s, out);
}

/* As write_state has it, to the letter: what is not so is none of ours, or damaged. */
static bool parse_state(rk_packed_writer *w, const rk_map *m)
{
    rk_json_scan s = {.p = m->data, .end = m->data + m->size};
    uint64_t x;
    if (!rk_json_take(&s, '{') || !take_number(&s, "source", &x) || x != w->source ||
        !rk_json_take(&s, ',') || !take_number(&s, "bits", &x))
        return false;
    w->bits = (unsigned char)x;
    for (int i = 0; i < N_COUNTS; i++) {
        if (!rk_json_take(&s, ',') || !take_number(&s, count_names[i], &x))
            return false;
        w->counts[i] = (int64_t)x;
    }
    return rk_json_take(&s, '}') && rk_json_at_end(&s);
}

/* Is there something to go on from? */
static bool read_state(rk_packed_writer *w)
{
    rk_map m;
    bool good = false;
    char *path = in_folder(w, "state.json");
    if (path && access(path, F_OK) == 0 && rk_map_open(&m, path, NULL) == RK_OK) {
        good = parse_state(w, &m);
        rk_map_close(&m);
    }
    free(path);
    if (!good) {
        memset(w->counts, 0, sizeof w->counts);
        w->bits = 0;
    }
    return good;
}

/* ---- opening ---- */

static rk_status writer_init(rk_packed_writer *w, const rk_packed_head *h, rk_error *err)
{
    rk_buf dir = {0};
    w->lock = -1;
    for (int i = 0; i < N_PARTS; i++)
        w->fd[i] = -1;
    snprintf(w->tokenizer, sizeof w->tokenizer, "%s", h->tokenizer ? h->tokenizer : "");
    snprintf(w->task, sizeof w->task, "%s", h->task ? h->task : "");
    w->tokenizer_checksum = h->tokenizer_checksum;
    w->source = h->source;
    w->n_vocab = h->n_vocab;
    w->type = rk_id_type_for(h->n_vocab);
    w->overwrite = h->overwrite;
    w->path = strdup(h->path);
    rk_buf_printf(&dir, "%s.packing", h->path);
    w->dir = dir.data;
    if (!w->path || dir.failed)
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", h->path);
    if (!rk_ends_with(h->path, ".bin") || strlen(h->path) == strlen(".bin"))
        return rk_fail(err, RK_ERR_ARG, "%s: expected a name that ends in .bin", h->path);
    return RK_OK;
}

static rk_status begin(rk_packed_writer *w, rk_packed_place *place, bool *resumed, rk_error *err)
{
    rk_status st = w->overwrite || access(w->dir, F_OK) == 0 ? RK_OK : check_outputs(w, err);
    if (st == RK_OK)
        st = enter_folder(w, err);
    if (st != RK_OK)
        return st;
    *resumed = read_state(w);
    if (!w->overwrite && !w->counts[DONE])
        st = check_outputs(w, err);
    rk_error unsaid;
    if (st != RK_OK && !*resumed) /* what a call left that was killed when it removed the folder */
        rk_dir_remove(w->dir, &unsaid);
    for (int i = 0; i < N_PARTS && st == RK_OK && !w->counts[DONE]; i++)
        if (i != MASK || w->counts[MASKED])
            st = open_part(w, i, err);
    *place = w->counts[DONE]
                 ? (rk_packed_place){.file = INT64_MAX}
                 : (rk_packed_place){w->counts[FILE_NUMBER], w->counts[AT], w->counts[LINE]};
    return st;
}

rk_status rk_packed_writer_open(rk_packed_writer **out, const rk_packed_head *head,
                                rk_packed_place *place, bool *resumed, rk_error *err)
{
    rk_packed_writer *w = calloc(1, sizeof *w);
    if (!w)
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", head->path);
    rk_status st = writer_init(w, head, err);
    if (st == RK_OK)
        st = begin(w, place, resumed, err);
    if (st == RK_OK)
        *out = w;
    else
        rk_packed_writer_close(w);
    return st;
}

void rk_packed_writer_close(rk_packed_writer *w)
{
    if (!w)
        return;
    for (int i = 0; i < N_PARTS; i++)
        if (w->fd[i] >= 0)
            close(w->fd[i]);
    if (w->lock >= 0)
        close(w->lock);
    free(w->path);
    free(w->dir);
    free(w->room);
    free(w);
}

void rk_packed_writer_discard(rk_packed_writer *w)
{
    if (w)
        rk_dir_remove(w->dir, NULL);
    rk_packed_writer_close(w);
}

/* ---- appending ---- */

static rk_status put(rk_packed_writer *w, int part, const void *bytes, size_t n, int64_t at,
                     rk_error *err)
{
    const char *p = bytes;
    while (n > 0) {
        const ssize_t done = pwrite(w->fd[part], p, n, (off_t)at);
        if (done < 0 && errno != EINTR)
            return rk_fail(err, RK_ERR_IO, "%s/%s: writing failed: %s", w->dir, part_names[part],
                           strerror(errno));
        if (done > 0) {
            p += done;
            at += done;
            n -= (size_t)done;
        }
    }
    return RK_OK;
}

/* All tokens so far count, and from here on that has to be said. */
static rk_status begin_mask(rk_packed_writer *w, rk_error *err)
{
    enum { BLOCK = 1 << 14 };
    unsigned char ones[BLOCK];
    const int64_t bytes = w->counts[TOKENS] / 8;
    rk_status st = open_part(w, MASK, err);
    memset(ones, 0xff, sizeof ones);
    for (int64_t at = 0; at < bytes && st == RK_OK; at += BLOCK)
        st = put(w, MASK, ones, (size_t)rk_min_i64(BLOCK, bytes - at), at, err);
    w->bits = (unsigned char)((1u << (w->counts[TOKENS] % 8)) - 1);
    w->counts[MASKED] = 1;
    return st;
}

/* The bits of a list behind those of the byte that is not full. */
static rk_status add_mask(rk_packed_writer *w, const rk_token_list *l, rk_error *err)
{
    const int64_t begun = w->counts[TOKENS] % 8, n = begun + l->n;
    const size_t bytes = rk_bits_bytes(n);
    if (bytes > w->room_bytes) {
        unsigned char *room = realloc(w->room, bytes);
        if (!room)
            return out_of_memory(w, err);
        w->room = room;
        w->room_bytes = bytes;
    }
    if (bytes == 0)
        return RK_OK;
    w->room[0] = w->bits;
    w->room[bytes - 1] = bytes > 1 ? 0 : w->bits;
    rk_bits_copy(w->room, begun, l->counts, l->n);
    w->bits = n % 8 ? w->room[bytes - 1] : 0;
    return put(w, MASK, w->room, bytes, w->counts[TOKENS] / 8, err);
}

static rk_status add_lengths(rk_packed_writer *w, const rk_token_list *l, rk_error *err)
{
    int64_t before = -w->counts[OPEN];
    rk_status st = RK_OK;
    for (int64_t i = 0; i < l->n_docs && st == RK_OK; i++) {
        const int64_t length = l->ends[i] - before;
        st = put(w, LENGTHS, &length, sizeof length,
                 (w->counts[DOCUMENTS] + i) * (int64_t)sizeof length, err);
        before = l->ends[i];
    }
    if (st == RK_OK)
        w->counts[OPEN] = l->n - before;
    return st;
}

rk_status rk_packed_writer_add(rk_packed_writer *w, const rk_token_list *l, rk_error *err)
{
    const int64_t bytes = (int64_t)rk_id_kinds[w->type].bytes;
    rk_status st = l->counts && !w->counts[MASKED] ? begin_mask(w, err) : RK_OK;
    if (st == RK_OK)
        st = put(w, BIN, l->ids, (size_t)(l->n * bytes), w->counts[TOKENS] * bytes, err);
    if (st == RK_OK && w->counts[MASKED])
        st = add_mask(w, l, err);
    if (st == RK_OK)
        st = add_lengths(w, l, err);
    w->counts[TOKENS] += l->n;
    w->counts[DOCUMENTS] += l->n_docs;
    w->counts[COUNTED] += rk_bits_count(l->counts, l->n);
    return st;
}

static rk_status sync_parts(const rk_packed_writer *w, rk_error *err)
{
    for (int i = 0; i < N_PARTS; i++)
        if (w->fd[i] >= 0 && fsync(w->fd[i]) != 0)
            return rk_fail(err, RK_ERR_IO, "%s/%s: cannot sync it: %s", w->dir, part_names[i],
                           strerror(errno));
    return RK_OK;
}

rk_status rk_packed_writer_save(rk_packed_writer *w, const rk_packed_place *place, rk_error *err)
{
    w->counts[FILE_NUMBER] = place->file;
    w->counts[AT] = place->at;
    w->counts[LINE] = place->line;
    const rk_status st = sync_parts(w, err);
    return st == RK_OK ? write_state(w, err) : st;
}

/* ---- the end ---- */

/* Cut off what a process that was killed had appended behind the place from which writing went on. */
static rk_status cut_parts(const rk_packed_writer *w, rk_error *err)
{
    const int64_t sizes[N_PARTS] = {w->counts[TOKENS] * (int64_t)rk_id_kinds[w->type].bytes,
                                    w->counts[DOCUMENTS] * (int64_t)sizeof(int64_t),
                                    (int64_t)rk_bits_bytes(w->counts[TOKENS])};
    for (int i = 0; i < N_PARTS; i++)
        if (w->fd[i] >= 0 && ftruncate(w->fd[i], (off_t)sizes[i]) != 0)
            return rk_fail(err, RK_ERR_IO, "%s/%s: cannot cut it: %s", w->dir, part_names[i],
                           strerror(errno));
    return RK_OK;
}

/* The tables of an index, one after the other, from the lengths of documents. */
typedef enum table { SEQUENCE_LENGTHS, SEQUENCE_BYTES, FIRST_SEQUENCES } table;

static int64_t sequences_of(int64_t length)
{
    return rk_max_i64(1, rk_ceil_div(length, SEQUENCE_MAX));
}

static void put_table(rk_out *out, const rk_packed_writer *w, const int64_t *lengths, table which)
{
    const int64_t bytes = (int64_t)rk_id_kinds[w->type].bytes;
    int64_t at = 0, sequence = 0;
    for (int64_t i = 0; i < w->counts[DOCUMENTS]; i++) {
        if (which == FIRST_SEQUENCES)
            rk_out_write(out, &sequence, sizeof sequence);
        for (int64_t k = sequences_of(lengths[i]), left = lengths[i]; k > 0; k--, sequence++) {
            const int32_t n = (int32_t)rk_min_i64(left, SEQUENCE_MAX);
            if (which == SEQUENCE_LENGTHS)
                rk_out_write(out, &n, sizeof n);
            if (which == SEQUENCE_BYTES)
                rk_out_write(out, &at, sizeof at);
            at += n * bytes;
            left -= n;
        }
    }
    if (which == FIRST_SEQUENCES)
        rk_out_write(out, &sequence, sizeof sequence);
}

static void put_index(rk_out *out, const rk_packed_writer *w, const int64_t *lengths)
{
    static const char magic[9] = "MMIDIDX";
    int64_t head[2] = {0, w->counts[DOCUMENTS] + 1};
    const uint64_t version = 1;
    const uint8_t type = (uint8_t)rk_id_kinds[w->type].megatron;
    for (int64_t i = 0; i < w->counts[DOCUMENTS]; i++)
        head[0] += sequences_of(lengths[i]);
    rk_out_write(out, magic, sizeof magic);
    rk_out_write(out, &version, sizeof version);
    rk_out_write(out, &type, sizeof type);
    rk_out_write(out, head, sizeof head);
    put_table(out, w, lengths, SEQUENCE_LENGTHS);
    put_table(out, w, lengths, SEQUENCE_BYTES);
    put_table(out, w, lengths, FIRST_SEQUENCES);
}

static rk_status write_index(const rk_packed_writer *w, rk_error *err)
{
    rk_map lengths = {0};
    rk_out *out = NULL;
    char *from = in_folder(w, part_names[LENGTHS]), *to = in_folder(w, "idx");
    rk_status st = from && to ? rk_map_open(&lengths, from, err) : out_of_memory(w, err);
    if (st == RK_OK)
        st = rk_out_open(&out, to, true, err);
    if (st == RK_OK) {
        put_index(out, w, (const int64_t *)(const void *)lengths.data);
        st = rk_out_commit(out, err);
    }
    rk_map_close(&lengths);
    free(from);
    free(to);
    return st;
}

typedef struct sum_job {
    const rk_map *map;
    uint64_t *sums;
} sum_job;

static void sum_piece(void *arg, int64_t i, int worker)
{
    const sum_job *j = arg;
    const size_t at = (size_t)i * RK_PACKED_PIECE, left = j->map->size - at;
    const size_t n = left < RK_PACKED_PIECE ? left : RK_PACKED_PIECE;
    (void)worker;
    j->sums[i] = rk_checksum_bytes(j->map->data + at, n);
    rk_map_drop(j->map, j->map->data + at, n);
}

/* Of a file in the folder. */
static rk_status sum_file(const rk_packed_writer *w, const char *name, rk_pool *pool,
                          rk_piece_sums *s, rk_error *err)
{
    rk_map map = {0};
    char *path = in_folder(w, name);
    rk_status st = path ? rk_map_open(&map, path, err) : out_of_memory(w, err);
    const int64_t n = rk_ceil_div((int64_t)map.size, RK_PACKED_PIECE);
    for (int64_t i = 0; i < n && st == RK_OK; i++)
        if (!rk_piece_sums_add(s, 0))
            st = out_of_memory(w, err);
    if (st == RK_OK)
        rk_pool_run_whole(pool, n, sum_piece, &(sum_job){&map, s->at});
    rk_map_close(&map);
    free(path);
    return st;
}

static rk_status write_about(const rk_packed_writer *w, rk_packed_about *a, rk_error *err)
{
    rk_buf text = {0};
    rk_packed_about_put(&text, a);
    const rk_status st = write_file(w, "json", &text, err);
    rk_buf_deinit(&text);
    return st;
}

static void describe(const rk_packed_writer *w, rk_packed_about *a)
{
    *a = (rk_packed_about){.tokenizer_checksum = w->tokenizer_checksum,
                           .n_vocab = w->n_vocab,
                           .type = w->type,
                           .n_docs = w->counts[DOCUMENTS],
                           .n_tokens = w->counts[TOKENS],
                           .n_counted = w->counts[COUNTED]};
    memcpy(a->tokenizer, w->tokenizer, sizeof a->tokenizer);
    memcpy(a->task, w->task, sizeof a->task);
}

static rk_status complete(rk_packed_writer *w, rk_pool *pool, rk_error *err)
{
    rk_packed_about a;
    describe(w, &a);
    if (a.n_docs == 0 || a.n_tokens == 0)
        return rk_fail(err, RK_ERR_FORMAT, "%s: there is no token to pack", w->path);
    rk_status st = cut_parts(w, err);
    if (st == RK_OK)
        st = sync_parts(w, err);
    if (st == RK_OK)
        st = write_index(w, err);
    if (st == RK_OK)
        st = sum_file(w, "bin", pool, &a.bin, err);
    if (st == RK_OK)
        st = sum_file(w, "idx", pool, &a.idx, err);
    if (st == RK_OK && w->counts[MASKED])
        st = sum_file(w, "mask", pool, &a.mask, err);
    if (st == RK_OK)
        st = write_about(w, &a, err);
    rk_packed_about_deinit(&a);
    w->counts[DONE] = st == RK_OK;
    return st == RK_OK ? write_state(w, err) : st;
}

/* The same where nothing of that name may be there but what has just been linked to it. */
static rk_status name_new(const char *from, const char *to, bool stale, rk_error *err)
{
    struct stat a, b;
    const bool here = stat(from, &a) == 0, there = lstat(to, &b) == 0;
    if (there && (stale || (here && (a.st_dev != b.st_dev || a.st_ino != b.st_ino))))
        return rk_fail(err, RK_ERR_ARG, "%s: exists already; --force overwrites it", to);
    if (!here || stale) /* what another packing has left goes with the folder */
        return RK_OK;
    if (!there && link(from, to) != 0) {
        const int why = errno;
        if ((why == EPERM || why == EOPNOTSUPP || why == ENOSYS) && rename(from, to) == 0)
            return RK_OK;
        return rk_fail(err, why == EEXIST ? RK_ERR_ARG : RK_ERR_IO, "%s: cannot name it: %s", to,
                       strerror(why));
    }
    unlink(from);
    return RK_OK;
}

/* Give an output its name; one that has got it already is not in the folder any more. A mask of what
 * was there before goes. */
static rk_status name_output(const rk_packed_writer *w, size_t i, rk_error *err)
{
    char *from = in_folder(w, outputs[i].name), *to = output_path(w, i);
    rk_status st = from && to ? RK_OK : out_of_memory(w, err);
    const bool stale = !strcmp(outputs[i].name, "mask") && !w->counts[MASKED];
    if (st == RK_OK && !w->overwrite)
        st = name_new(from, to, stale, err);
    else if (st == RK_OK && stale)
        unlink(to);
    else if (st == RK_OK && rename(from, to) != 0 && errno != ENOENT)
        st = rk_fail(err, RK_ERR_IO, "%s: cannot rename %s to it: %s", to, from, strerror(errno));
    free(from);
    free(to);
    return st;
}

static rk_status name_outputs(const rk_packed_writer *w, rk_error *err)
{
    char *parent = rk_path_parent(w->path);
    rk_status st = parent ? RK_OK : out_of_memory(w, err);
    for (size_t i = 0; i < RK_COUNT(outputs) && st == RK_OK; i++)
        st = name_output(w, i, err);
    if (st == RK_OK)
        st = rk_dir_sync(parent, err);
    if (st == RK_OK)
        st = rk_dir_remove(w->dir, err);
    free(parent);
    return st;
}

rk_status rk_packed_writer_finish(rk_packed_writer *w, rk_pool *pool, rk_packed_about *what,
                                  rk_error *err)
{
    rk_status st = w->counts[DONE] ? RK_OK : complete(w, pool, err);
    if (st == RK_OK)
        st = name_outputs(w, err);
    if (st == RK_OK && what)
        describe(w, what);
    return st;
}
