/* save_hf.c: a folder as transformers and fla open it: model.safetensors and config.json. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "format/save.h"
#include "io/path.h"
#include "io/safetensors.h"

static const char *const weights_name = "model.safetensors", *const config_name = "config.json";

static rk_status write_config(const rk_save *s, const char *dir, rk_error *err)
{
    rk_buf b = {0};
    rk_out *out = NULL;
    char *path = rk_path_join(dir, config_name);
    rk_status st = path ? rk_out_open(&out, path, false, err) : RK_ERR_NOMEM;
    rk_hf_put_config(&b, s->hf, s->m, s->n > 0 ? s->to[0].dtype : RK_F32);
    if (st == RK_OK) {
        rk_out_write(out, b.data, b.len);
        st = b.failed ? RK_ERR_NOMEM : RK_OK;
        if (st != RK_OK)
            rk_out_abort(out);
        else
            st = rk_out_commit(out, err);
    }
    if (st == RK_ERR_NOMEM)
        rk_fail(err, st, "%s: out of memory for its config.json", s->path);
    rk_buf_deinit(&b);
    free(path);
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
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 &&
            strcmp(e->d_name, weights_name) != 0 && strcmp(e->d_name, config_name) != 0)
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
        return rk_dir_commit(tmp, s->path, err);
    rk_dir_abort(tmp);
    return st;
}
