/* save_hf.c: a folder as transformers and fla open it: model.safetensors and config.json. */
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/num.h"
#include "format/save.h"
#include "io/json_line.h"
#include "io/path.h"
#include "io/safetensors.h"

static const char *const weights_name = "model.safetensors", *const config_name = "config.json";

static void put_class(rk_buf *b, const char *type, const char *name)
{
    rk_json_str(b, "model_type", type);
    rk_buf_puts(b, ",\"architectures\":[");
    rk_json_quote(b, name, strlen(name));
    rk_buf_puts(b, "]");
}

/* What all of them have, in the words of transformers. */
static void put_common(rk_buf *b, const rk_model *m, const char *dtype)
{
    rk_json_int(b, "vocab_size", m->hp.n_vocab);
    rk_json_int(b, "hidden_size", m->hp.n_embd);
    rk_json_int(b, "num_hidden_layers", m->hp.n_layer);
    rk_json_int(b, "intermediate_size", m->hp.dim_ffn);
    rk_json_int(b, "bos_token_id", 0);
    rk_json_int(b, "eos_token_id", 0);
    rk_json_bool(b, "tie_word_embeddings", false);
    rk_json_bool(b, "use_cache", true);
    rk_json_str(b, "torch_dtype", dtype);
}

/* Versions 5 and 6 divide by head_size_divisor what a group norm of eps 1e-5 takes; version 7 of
 * fla has head_dim times the eps of the other norms. */
static int64_t divisor(const rk_model *m)
{
    return rk_max_i64(1, lround(sqrt(m->hp.ln_x_eps / 1e-5)));
}

/* What the config says the group norm's eps is. */
static double config_ln_x_eps(const rk_model *m)
{
    const double d = (double)divisor(m);
    return strcmp(m->arch->name, "rwkv7") != 0 ? 1e-5 * d * d
                                               : (double)m->hp.head_size * m->hp.ln_eps;
}

/* RWKV-4 of transformers, the remote-code classes of 5 and 6. */
static void put_rwkv(rk_buf *b, const rk_model *m)
{
    const char *arch = m->arch->name;
    const int version = arch[4] - '0';
    put_class(b,
              version == 4   ? "rwkv"
              : version == 5 ? "rwkv5"
                             : "rwkv6",
              version == 4   ? "RwkvForCausalLM"
              : version == 5 ? "Rwkv5ForCausalLM"
                             : "Rwkv6ForCausalLM");
    rk_json_int(b, "attention_hidden_size", m->hp.n_embd);
    rk_json_num(b, "layer_norm_epsilon", m->hp.ln_eps);
    rk_json_int(b, "context_length", m->ctx_len > 0 ? m->ctx_len : 1024);
    rk_json_int(b, "rescale_every", 0);
    if (version > 4) {
        rk_json_int(b, "head_size", m->hp.head_size);
        rk_json_int(b, "head_size_divisor", divisor(m));
        rk_json_int(b, "num_attention_heads", m->hp.head_size); /* as those classes have it */
    }
}

static void put_fla7(rk_buf *b, const rk_model *m)
{
    const rk_hparams *hp = &m->hp;
    put_class(b, "rwkv7", "RWKV7ForCausalLM");
    rk_json_int(b, "head_dim", hp->head_size);
    rk_json_int(b, "num_heads", hp->n_head);
    rk_json_int(b, "value_dim", hp->n_embd);
    rk_json_int(b, "decay_low_rank_dim", hp->rank_w);
    rk_json_int(b, "a_low_rank_dim", hp->rank_a);
    rk_json_int(b, "v_low_rank_dim", hp->rank_v);
    rk_json_int(b, "gate_low_rank_dim", hp->rank_g);
    rk_json_num(b, "hidden_ratio", (double)hp->dim_ffn / (double)hp->n_embd);
    rk_json_str(b, "hidden_act", "sqrelu");
    rk_json_num(b, "norm_eps", hp->ln_eps);
    rk_json_bool(b, "norm_bias", true);
    rk_json_bool(b, "norm_first", true);
    rk_json_bool(b, "fuse_norm", false);
    rk_json_int(b, "max_position_embeddings", m->ctx_len > 0 ? m->ctx_len : 2048);
}

static const char *torch_name(rk_dtype t)
{
    return t == RK_BF16 ? "bfloat16" : t == RK_F16 ? "float16" : "float32";
}

static rk_status write_config(const rk_save *s, const char *dir, rk_error *err)
{
    rk_buf b = {0};
    rk_out *out = NULL;
    char *path = rk_path_join(dir, config_name);
    rk_status st = path ? rk_out_open(&out, path, false, err) : RK_ERR_NOMEM;
    rk_json_begin(&b);
    if (strcmp(s->m->arch->name, "rwkv7") != 0)
        put_rwkv(&b, s->m);
    else
        put_fla7(&b, s->m);
    put_common(&b, s->m, torch_name(s->n > 0 ? s->to[0].dtype : RK_F32));
    rk_json_end(&b);
    rk_buf_puts(&b, "\n");
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
    const int n = 1 + rk_save_pairs(s->m, config_ln_x_eps(s->m), pairs + 1, text);
    const rk_file_contents c = {s->to, s->n, pairs, n, rk_save_source, s};
    char *path = rk_path_join(dir, weights_name);
    const rk_status st = path ? rk_st_write(path, &c, false, NULL, err)
                              : rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", s->path);
    free(path);
    return st;
}

/* A folder is replaced as a whole, so it must hold nothing but what is written again. */
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
