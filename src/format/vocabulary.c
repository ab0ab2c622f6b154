/* vocabulary.c: which vocabulary a model goes with: the one that is asked for, its file's own, one that
 * lies in its folder, or the usual one of that many tokens. */
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/num.h"
#include "format/format.h"
#include "io/path.h"
#include "io/shards.h"

const char *rk_vocabulary_of_size(int64_t n_vocab)
{
    return n_vocab == 256 ? "byte" : n_vocab == 65536 ? "world" : NULL;
}

/* The vocabulary that lies in a folder with its model. One of a kind that is not read is passed
 * over: folders hold files for many programs. */
static rk_status folder_tokenizer(rk_tokenizer **out, const char *folder, rk_error *err)
{
    static const char *const names[] = {"tokenizer.json", "rwkv_vocab_v20230424.txt"};
    for (size_t i = 0; i < RK_COUNT(names); i++) {
        char *path = rk_path_join(folder, names[i]);
        rk_status st = path ? RK_OK : rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", folder);
        if (path && access(path, F_OK) == 0)
            st = rk_tokenizer_new(out, path, err);
        free(path);
        if (*out || (st != RK_OK && st != RK_ERR_UNSUPPORTED))
            return st;
    }
    return RK_OK;
}

rk_status rk_model_own_vocabulary(rk_tokenizer **out, const rk_model *m, const char *path,
                                  rk_error *err)
{
    rk_status st = rk_model_tokenizer(out, m, err);
    if (st != RK_OK || *out || !path || !rk_shards_is(path))
        return st;
    if (rk_path_is_folder(path))
        return folder_tokenizer(out, path, err);
    char *folder = rk_path_parent(path);
    st = folder ? folder_tokenizer(out, folder, err)
                : rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", path);
    free(folder);
    return st;
}

static rk_status named_tokenizer(rk_tokenizer **out, const char *name, const rk_model *m,
                                 rk_error *err)
{
    const int64_t n_vocab = m->hp.n_vocab;
    const char *used = name ? name : rk_vocabulary_of_size(n_vocab);
    if (!used)
        return rk_fail(err, RK_ERR_ARG,
                       "a model of %" PRId64 " tokens names no vocabulary; --vocab byte, world or "
                       "a file says which",
                       n_vocab);
    return rk_tokenizer_new(out, used, err);
}

rk_status rk_model_vocabulary(rk_tokenizer **out, const char *name, const rk_model *m,
                              const char *path, rk_error *err)
{
    *out = NULL;
    rk_status st = name ? RK_OK : rk_model_own_vocabulary(out, m, path, err);
    if (st == RK_OK && !*out)
        st = named_tokenizer(out, name, m, err);
    if (st != RK_OK || rk_tokenizer_n_vocab(*out) <= m->hp.n_vocab)
        return st;
    const int64_t found = rk_tokenizer_n_vocab(*out);
    rk_tokenizer_free(*out);
    *out = NULL;
    return rk_fail(err, RK_ERR_ARG,
                   "vocabulary '%s' has %" PRId64 " tokens, the model only %" PRId64,
                   name ? name : "of the model", found, m->hp.n_vocab);
}
