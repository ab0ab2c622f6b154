/* shards.c: the index of a sharded model maps each tensor's name to a file. The files say
 * themselves what they hold, so of the map only its files and its length are kept. */
#include "io/shards.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "io/json_scan.h"
#include "io/path.h"
#include "io/run_folder.h"
#include "io/text_mark.h"

enum { INDEX_BYTES_MAX = 64 << 20, SHARDS_MAX = 1024, SHARD_NAME_MAX = 255, DEPTH_MAX = 16 };

static const char *const index_ending = ".index.json";

/* What a folder's model is called, in the order in which transformers looks for them. */
static const char *const model_names[] = {"model.safetensors", "model.safetensors.index.json",
                                          "pytorch_model.bin", "pytorch_model.bin.index.json",
                                          "model.gguf"};

static bool is_index(const char *path)
{
    const size_t n = strlen(path), e = strlen(index_ending);
    return n >= e && !strcmp(path + n - e, index_ending);
}

bool rk_shards_is(const char *path)
{
    return is_index(path) || rk_path_is_folder(path);
}

/* ---- the index ---- */

typedef struct shard_index {
    rk_map map;
    rk_json_scan scan;
    char *text; /* the string being read; as long as the file */
    char names[SHARDS_MAX][SHARD_NAME_MAX + 1];
    int n_names;
    int64_t n_tensors;
    bool has_map;
} shard_index;

static rk_status fail_scan(const shard_index *x, rk_error *err)
{
    return rk_fail(err, RK_ERR_FORMAT, "%s: byte %zu: expected %s", x->map.name,
                   (size_t)(x->scan.p - x->map.data), x->scan.expected);
}

/* A file of the same folder: no path leads out of it. */
static bool is_plain_name(const char *s, size_t n)
{
    return n > 0 && n <= SHARD_NAME_MAX && s[0] != '.' && !memchr(s, '/', n) && !memchr(s, 0, n);
}

static rk_status note_shard(shard_index *x, size_t n, rk_error *err)
{
    if (!is_plain_name(x->text, n))
        return rk_fail(err, RK_ERR_FORMAT, "%s: '%.*s' is no name of a file beside the index",
                       x->map.name, n < 80 ? (int)n : 80, x->text);
    x->text[n] = '\0';
    for (int i = x->n_names - 1; i >= 0; i--)
        if (!strcmp(x->names[i], x->text))
            return RK_OK;
    if (x->n_names == SHARDS_MAX)
        return rk_fail(err, RK_ERR_UNSUPPORTED, "%s: more than %d files", x->map.name, SHARDS_MAX);
    memcpy(x->names[x->n_names++], x->text, n + 1);
    return RK_OK;
}

static rk_status scan_map(shard_index *x, rk_error *err)
{
    size_t n = 0;
    if (!rk_json_take(&x->scan, '{'))
        return fail_scan(x, err);
    if (rk_json_peek_take(&x->scan, '}'))
        return RK_OK;
    do {
        if (!rk_json_string(&x->scan, NULL, &n) || !rk_json_take(&x->scan, ':') ||
            !rk_json_string(&x->scan, x->text, &n))
            return fail_scan(x, err);
        const rk_status st = note_shard(x, n, err);
        if (st != RK_OK)
            return st;
        x->n_tensors++;
    } while (rk_json_peek_take(&x->scan, ','));
    return rk_json_take(&x->scan, '}') ? RK_OK : fail_scan(x, err);
}

static rk_status scan_index(shard_index *x, rk_error *err)
{
    static const char key[] = "weight_map";
    size_t n = 0, mark = 0;
    rk_status st = rk_text_begin(x->map.data, x->map.size, x->map.name, &mark, err);
    if (st != RK_OK)
        return st;
    x->scan = (rk_json_scan){x->map.data + mark, x->map.data + x->map.size, NULL};
    if (!rk_json_take(&x->scan, '{'))
        return fail_scan(x, err);
    do {
        if (!rk_json_string(&x->scan, x->text, &n) || !rk_json_take(&x->scan, ':'))
            return fail_scan(x, err);
        const bool here = n == strlen(key) && !memcmp(x->text, key, n);
        if (here && x->has_map)
            return rk_fail(err, RK_ERR_FORMAT, "%s: \"weight_map\" occurs twice", x->map.name);
        x->has_map = x->has_map || here;
        if (here)
            st = scan_map(x, err);
        else if (!rk_json_skip(&x->scan, DEPTH_MAX))
            st = fail_scan(x, err);
    } while (st == RK_OK && rk_json_peek_take(&x->scan, ','));
    if (st == RK_OK && (!rk_json_take(&x->scan, '}') || !rk_json_at_end(&x->scan)))
        return fail_scan(x, err);
    if (st == RK_OK && x->n_names == 0)
        st = rk_fail(err, RK_ERR_FORMAT, "%s: no \"weight_map\" of names to files", x->map.name);
    return st;
}

/* ---- the files ---- */

static rk_status add_shard(rk_file *f, const char *folder, const char *name, rk_error *err)
{
    rk_file *part = NULL;
    char *path = rk_path_join(folder, name);
    rk_status st = path ? rk_file_open_single(&part, path, err)
                        : rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", name);
    free(path);
    if (st != RK_OK)
        return st;
    for (int64_t i = 0; i < rk_file_count(part) && st == RK_OK; i++)
        st = rk_file_add(f, rk_file_at(part, i), err);
    if (st == RK_OK)
        st = rk_file_own(f, part, err);
    if (st != RK_OK)
        rk_file_close(part);
    return st;
}

static rk_status join_shards(rk_file **out, const shard_index *x, rk_error *err)
{
    rk_file *f = NULL;
    char *folder = rk_path_parent(x->map.name);
    rk_status st = folder ? rk_file_new(&f, "safetensors", x->map.name, err)
                          : rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", x->map.name);
    for (int i = 0; i < x->n_names && st == RK_OK; i++)
        st = add_shard(f, folder, x->names[i], err);
    if (st == RK_OK && rk_file_count(f) != x->n_tensors)
        st = rk_fail(err, RK_ERR_FORMAT,
                     "%s: it names %" PRId64 " tensors, its %d files hold %" PRId64, x->map.name,
                     x->n_tensors, x->n_names, rk_file_count(f));
    if (st == RK_OK)
        st = rk_file_finish(f, err);
    free(folder);
    if (st == RK_OK)
        *out = f;
    else
        rk_file_close(f);
    return st;
}

static rk_status open_index(rk_file **out, const char *path, rk_error *err)
{
    shard_index *x = calloc(1, sizeof *x);
    if (!x)
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", path);
    rk_status st = rk_map_open(&x->map, path, err);
    if (st == RK_OK && x->map.size > INDEX_BYTES_MAX)
        st = rk_fail(err, RK_ERR_FORMAT, "%s: an index of %zu bytes, expected at most %d", path,
                     x->map.size, INDEX_BYTES_MAX);
    if (st == RK_OK && !(x->text = malloc(x->map.size + 1)))
        st = rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", path);
    if (st == RK_OK)
        st = scan_index(x, err);
    if (st == RK_OK)
        st = join_shards(out, x, err);
    rk_map_close(&x->map);
    free(x->text);
    free(x);
    return st;
}

static rk_status open_model(rk_file **out, const char *path, rk_error *err)
{
    return is_index(path) ? open_index(out, path, err) : rk_file_open_single(out, path, err);
}

/* The path of a folder's model, or NULL; to be freed. */
static rk_status find_model(const char *folder, char **found, rk_error *err)
{
    *found = NULL;
    for (size_t i = 0; i < RK_COUNT(model_names); i++) {
        char *path = rk_path_join(folder, model_names[i]);
        if (!path)
            return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", folder);
        if (access(path, F_OK) == 0 && !rk_path_is_folder(path)) {
            *found = path;
            return RK_OK;
        }
        free(path);
    }
    return RK_OK;
}

static rk_status open_folder(rk_file **out, const char *folder, rk_error *err)
{
    char *path = NULL;
    rk_status st = find_model(folder, &path, err);
    const int64_t step = st == RK_OK ? rk_run_folder_later(folder, path != NULL) : -1;
    if (step >= 0)
        st = rk_run_folder_open(out, folder, step, path, err);
    else if (path)
        st = open_model(out, path, err);
    else if (st == RK_OK)
        st = rk_fail(err, RK_ERR_FORMAT,
                     "%s: a folder without %s, %s or an index of either, expected a model", folder,
                     model_names[0], model_names[2]);
    free(path);
    return st;
}

rk_status rk_shards_open(rk_file **out, const char *path, rk_error *err)
{
    return is_index(path) && !rk_path_is_folder(path) ? open_index(out, path, err)
                                                      : open_folder(out, path, err);
}
