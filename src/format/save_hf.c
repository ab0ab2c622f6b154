/* save_hf.c: a folder as transformers and fla open it: model.safetensors and config.json, and a vocabulary
 * with merges with the pages that say where its texts end. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/num.h"
#include "format/save.h"
#include "io/path.h"
#include "io/safetensors.h"
#include "text/tokenizer.h"
#include "text/tokenizer_json.h"

static const char *const weights_name = "model.safetensors", *const config_name = "config.json";

static void put_tokenizer(rk_buf *b, const rk_tokenizer *t)
{
    rk_tokenizer_json_write(b, rk_tokenizer_bpe(t), rk_tokenizer_texts(t), rk_tokenizer_about(t));
}

static void put_tokenizer_config(rk_buf *b, const rk_tokenizer *t)
{
    rk_tokenizer_config_write(b, rk_tokenizer_bpe(t), rk_tokenizer_texts(t), rk_tokenizer_about(t));
}

static void put_generation_config(rk_buf *b, const rk_tokenizer *t)
{
    rk_generation_config_write(b, rk_tokenizer_about(t));
}

static const struct {
    const char *name;
    void (*put)(rk_buf *b, const rk_tokenizer *t);
} vocabulary_pages[] = {{"tokenizer.json", put_tokenizer},
                        {"tokenizer_config.json", put_tokenizer_config},
                        {"generation_config.json", put_generation_config}};

static bool is_own_page(const char *name)
{
    bool own = !strcmp(name, weights_name) || !strcmp(name, config_name);
    for (size_t i = 0; i < RK_COUNT(vocabulary_pages); i++)
        own = own || !strcmp(name, vocabulary_pages[i].name);
    return own;
}

/* A page of the folder; b is released. */
static rk_status write_page(const rk_save *s, const char *dir, const char *name, rk_buf *b,
                            rk_error *err)
{
    rk_out *out = NULL;
    char *path = rk_path_join(dir, name);
    rk_status st = path && !b->failed ? rk_out_open(&out, path, false, err) : RK_ERR_NOMEM;
    if (st == RK_OK) {
        rk_out_write(out, b->data, b->len);
        st = rk_out_commit(out, err);
    }
    if (st == RK_ERR_NOMEM)
        rk_fail(err, st, "%s: out of memory for its %s", s->path, name);
    rk_buf_deinit(b);
    free(path);
    return st;
}

static rk_status write_config(const rk_save *s, const char *dir, rk_error *err)
{
    rk_buf b = {0};
    rk_hf_put_config(&b, s->hf, s->m, s->n > 0 ? s->to[0].dtype : RK_F32);
    return write_page(s, dir, config_name, &b, err);
}

/* World vocabularies are no file that transformers reads. */
static rk_status write_vocabulary(const rk_save *s, const char *dir, rk_error *err)
{
    const rk_tokenizer *t = s->o->tokenizer;
    if (!t || !rk_tokenizer_has_merges(t))
        return RK_OK;
    rk_status st = RK_OK;
    for (size_t i = 0; i < RK_COUNT(vocabulary_pages) && st == RK_OK; i++) {
        rk_buf b = {0};
        vocabulary_pages[i].put(&b, t);
        st = write_page(s, dir, vocabulary_pages[i].name, &b, err);
    }
    return st;
}

static rk_status write_tensors(rk_save *s, const char *dir, rk_error *err)
{
    char text[RK_SAVE_PAIRS_MAX][RK_SAVE_TEXT_MAX];
    rk_pair pairs[1 + RK_SAVE_PAIRS_MAX] = {{"format", "pt"}};
    const int n = 1 + rk_save_pairs(s, pairs + 1, text);
    const rk_file_contents c = {s->to, s->n, pairs, n, rk_save_source, s};
    char *path = rk_path_join(dir, weights_name);
    const rk_status st = path ? rk_st_write(path, &c, false, NULL, err)
                              : rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", s->path);
    free(path);
    return st;
}

/* A folder is replaced as a whole, so it must hold nothing but the files that are written again. */
static rk_status check_folder(const char *path, rk_error *err)
{
    const struct dirent *e;
    DIR *d = opendir(path);
    rk_status st = RK_OK;
    if (!d)
        return rk_fail(err, errno == ENOTDIR ? RK_ERR_ARG : RK_ERR_IO, "%s: %s", path,
                       strerror(errno));
    while (st == RK_OK && (e = readdir(d)))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && !is_own_page(e->d_name))
            st = rk_fail(err, RK_ERR_ARG, "%s: '%.80s' in it would be lost", path, e->d_name);
    closedir(d);
    return st;
}

rk_status rk_save_hf(rk_save *s, rk_error *err)
{
    struct stat info;
    char *tmp = NULL;
    const bool there = lstat(s->path, &info) == 0;
    if (there && !s->o->overwrite)
        return rk_fail(err, RK_ERR_ARG, "%s exists", s->path);
    rk_status st = there ? check_folder(s->path, err) : RK_OK;
    if (st == RK_OK)
        st = rk_dir_begin(&tmp, s->path, err);
    if (st != RK_OK)
        return st;
    st = write_tensors(s, tmp, err);
    if (st == RK_OK)
        st = write_config(s, tmp, err);
    if (st == RK_OK)
        st = write_vocabulary(s, tmp, err);
    if (st == RK_OK)
        return rk_dir_commit(tmp, s->path, err);
    rk_dir_abort(tmp);
    return st;
}
