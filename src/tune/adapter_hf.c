/* adapter_hf.c: the folder of Hugging Face peft.
 *
 * peft applies an adapter to the model as published. The parts of PiSSA, OLoRA and LoRA-GA stand beside W
 * less their start, so what is written is a LoRA of twice the rank that stands beside W itself, with the
 * start in its second half (as peft publishes them, too), and a word in the metadata tells our reader to
 * take it apart again. Bat per input block is not in peft; its init_weights is "bat-in", at which peft
 * stops because of the shapes instead of computing something else. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "io/path.h"
#include "io/safetensors.h"
#include "tune/adapter_collect.h"
#include "tune/adapter_config.h"
#include "tune/adapter_formats.h"
#include "tune/merge.h"

static const char config_name[] = "adapter_config.json",
                  weights_name[] = "adapter_model.safetensors",
                  old_weights_name[] = "adapter_model.bin", prefix[] = "base_model.model.";

/* ---- reading ---- */

/* A folder that is being read. */
typedef struct folder {
    rk_adapter_config config;
    char *config_path;
    rk_file *weights;
    bool lora; /* else MISS or BONE */
} folder;

static bool is_word(const char *word, const char *other)
{
    return word && !strcmp(word, other);
}

static rk_status find_type(folder *d, rk_error *err)
{
    static const struct {
        const char *type;
        bool lora;
    } types[] = {{"LORA", true}, {"MISS", false}, {"BONE", false}};
    for (size_t i = 0; i < RK_COUNT(types); i++)
        if (is_word(d->config.peft_type, types[i].type)) {
            d->lora = types[i].lora;
            return RK_OK;
        }
    return rk_fail(err, RK_ERR_UNSUPPORTED, "%s: peft_type is '%.32s', expected LORA, MISS or BONE",
                   d->config_path, d->config.peft_type);
}

/* Of the two names there may be. */
static rk_status open_weights(folder *d, const char *path, rk_error *err)
{
    char *now = rk_path_join(path, weights_name), *old = rk_path_join(path, old_weights_name);
    const bool use_old = now && old && access(now, F_OK) != 0 && access(old, F_OK) == 0;
    const rk_status st = now && old ? rk_file_open_single(&d->weights, use_old ? old : now, err)
                                    : rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", path);
    free(now);
    free(old);
    return st;
}

static void folder_close(folder *d)
{
    rk_adapter_config_deinit(&d->config);
    rk_file_close(d->weights);
    free(d->config_path);
}

static rk_status folder_open(folder *d, const char *path, rk_error *err)
{
    *d = (folder){.config_path = rk_path_join(path, config_name)};
    rk_status st = d->config_path ? RK_OK : rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", path);
    if (st == RK_OK && access(d->config_path, F_OK) != 0)
        st = rk_fail(err, RK_ERR_FORMAT, "%s: no adapter in this folder: it has no %s", path,
                     config_name);
    if (st == RK_OK)
        st = rk_adapter_config_open(&d->config, d->config_path, err);
    if (st == RK_OK)
        st = find_type(d, err);
    if (st == RK_OK)
        st = open_weights(d, path, err);
    if (st != RK_OK)
        folder_close(d);
    return st;
}

/* A number of the config, where it is missing peft's own. */
static double given(double x, double otherwise)
{
    return isnan(x) ? otherwise : x;
}

/* Does the rank of a part fit the config? */
static rk_status check_rank(const folder *d, const rk_adapter_part *p, const char *module,
                            rk_error *err)
{
    const double peft_default = d->lora ? 8 : 64;
    double r = 0;
    const rk_status st = rk_adapter_pattern_value(
        &d->config.rank_pattern, module, given(d->config.r, peft_default), d->config_path, &r, err);
    if (st == RK_OK && r != (double)p->rank)
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: rank %g for '%s', but its tensors have rank %" PRId64, d->config_path,
                       r, module, p->rank);
    return st;
}

static rk_status settle_lora(const folder *d, rk_adapter_part *p, const char *module, rk_error *err)
{
    const rk_adapter_config *c = &d->config;
    double alpha = 0;
    if (c->dora != (p->form == RK_PART_DORA))
        return rk_fail(err, RK_ERR_FORMAT, "%s: use_dora is %s, but '%s' has %s magnitude",
                       d->config_path, c->dora ? "true" : "false", module, c->dora ? "no" : "a");
    const rk_status st = rk_adapter_pattern_value(&c->alpha_pattern, module, given(c->alpha, 8),
                                                  d->config_path, &alpha, err);
    if (st == RK_OK && !(alpha > 0))
        return rk_fail(err, RK_ERR_FORMAT, "%s: alpha is %g for '%s', expected more than 0",
                       d->config_path, alpha, module);
    p->scale = alpha / (c->rslora ? sqrt((double)p->rank) : (double)p->rank);
    return st;
}

static rk_status settle_blocks(const folder *d, const rk_adapter_part *p, const char *module,
                               rk_error *err)
{
    const rk_adapter_config *c = &d->config;
    const bool bat = is_word(c->init, "bat") || is_word(c->init, "bat-in"),
               mini = is_word(c->init, "mini");
    if (bat != (p->form != RK_PART_MISS))
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: init_weights is %s, but the tensor of '%s' has %d dimensions",
                       d->config_path, c->init ? c->init : "not given", module,
                       p->form == RK_PART_MISS ? 2 : 3);
    if (mini && given(c->mini_r, 1) != (double)p->width)
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: mini_r is %g, but the tensor of '%s' is %" PRId64 " wide",
                       d->config_path, given(c->mini_r, 1), module, p->width);
    return RK_OK;
}

static rk_status settle(void *user, rk_adapter_part *p, const char *module, rk_error *err)
{
    const folder *d = user;
    const bool lora = p->form == RK_PART_LORA || p->form == RK_PART_DORA;
    if (lora != d->lora)
        return rk_fail(err, RK_ERR_FORMAT, "%s: peft_type is %s, but '%s' has tensors of %s",
                       d->config_path, d->config.peft_type, module, rk_forms[p->form].name);
    rk_status st = check_rank(d, p, module, err);
    if (st == RK_OK)
        st = lora ? settle_lora(d, p, module, err) : settle_blocks(d, p, module, err);
    return st;
}

/* Inits after which the tensors stand beside a W that the start was taken from; a word may have more
 * behind it: "pissa_niter_4". */
static const struct {
    const char *init, *method;
} starts[] = {
    {"pissa", "pissa"}, {"olora", "olora"}, {"lora_ga", "lora-ga"}, {"corda", ""}, {"loftq", ""}};

static int start_of(const char *init)
{
    for (size_t i = 0; init && i < RK_COUNT(starts); i++)
        if (!strncmp(init, starts[i].init, strlen(starts[i].init)))
            return (int)i;
    return -1;
}

static void name_method(rk_adapter_set *s, const folder *d)
{
    const rk_adapter_config *c = &d->config;
    const int start = start_of(c->init);
    const char *method = start >= 0  ? starts[start].method
                         : c->dora   ? "dora"
                         : c->rslora ? "rslora"
                         : d->lora   ? "lora"
                         : is_word(c->init, "bat") || is_word(c->init, "bat-in") ? "bat"
                         : is_word(c->peft_type, "BONE")                         ? "bone"
                                                                                 : "miss";
    snprintf(s->method, sizeof s->method, "%s", method);
    s->alpha = d->lora ? given(c->alpha, 8) : 0;
    s->rslora = d->lora && c->rslora;
}

/* Starts that lie in the second halves of the tensors, or in files of their own. */
static rk_status read_starts(rk_adapter_set *s, const folder *d, const char *path,
                             const rk_adapter_reading *how, rk_error *err)
{
    const char *stored = rk_file_meta(d->weights, "start");
    rk_status st = RK_OK;
    bool found = false;
    if (is_word(stored, "stacked")) {
        for (int64_t i = 0; i < s->n_parts && st == RK_OK; i++)
            st = rk_adapter_unstack(&s->parts[i], rk_file_name(d->weights), err);
        return st;
    }
    if (start_of(d->config.init) < 0)
        return RK_OK;
    char *beside = rk_path_join(path, "init_pissa.pth");
    st = beside ? rk_adapter_start_read(s, beside, how, &found, err)
                : rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", path);
    free(beside);
    if (st == RK_OK && !found)
        st = rk_fail(
            err, RK_ERR_UNSUPPORTED,
            "%s: init_lora_weights is '%.32s': it stands beside a base that its start was taken "
            "from; expected that start (--start), or the adapter converted to plain LoRA",
            d->config_path, d->config.init);
    return st;
}

static rk_status read_hf(rk_adapter_set *s, const char *path, const rk_file *f,
                         const rk_adapter_reading *how, rk_error *err)
{
    folder d;
    (void)f;
    rk_status st = folder_open(&d, path, err);
    if (st != RK_OK)
        return st;
    const rk_adapter_collecting collecting = {
        .blocks = is_word(d.config.init, "bat-in") ? RK_PART_BAT_IN : RK_PART_BAT_OUT,
        .mini = is_word(d.config.init, "mini"),
        .whole = true,
        .settle = settle,
        .user = &d};
    st = rk_adapter_collect(s, d.weights, &collecting, err);
    if (st == RK_OK) {
        name_method(s, &d);
        st = read_starts(s, &d, path, how, err);
    }
    if (st == RK_OK)
        st = rk_adapter_meta_read(s, d.weights, err);
    folder_close(&d);
    return st;
}

/* ---- writing ---- */

/* The tensors of a part under the names of peft. */
static rk_status put_part(rk_file *f, const rk_adapter_part *p, bool bone, rk_error *err)
{
    static const char *const kinds[RK_PART_FORMS][RK_PART_TENSORS_MAX] = {
        [RK_PART_LORA] = {"lora_A.weight", "lora_B.weight"},
        [RK_PART_DORA] = {"lora_A.weight", "lora_B.weight", "lora_magnitude_vector"},
        [RK_PART_MISS] = {"miss_block"},
        [RK_PART_BAT_IN] = {"miss_block"},
        [RK_PART_BAT_OUT] = {"miss_block"},
    };
    char module[RK_PARAM_NAME_MAX], names[RK_PART_TENSORS_MAX][RK_TENSOR_NAME_MAX];
    rk_status st = RK_OK;
    rk_part_module(p, module, sizeof module);
    for (int i = 0; i < rk_forms[p->form].n_tensors; i++)
        snprintf(names[i], sizeof names[i], "%s%s.%s", prefix, module,
                 bone ? "bone_block" : kinds[p->form][i]);
    for (int i = 0; i < rk_forms[p->form].n_tensors && st == RK_OK; i++) {
        int64_t dims[RK_MAX_DIMS];
        const int n = rk_part_dims(p, i, dims);
        st = rk_adapter_put(f, names[i], n, dims, p->tensors[i], err);
    }
    return st;
}

static rk_status build(rk_file **out, const rk_adapter_set *s, const char *path, rk_error *err)
{
    rk_status st = rk_file_new(out, "safetensors", path, err);
    for (int64_t i = 0; i < s->n_parts && st == RK_OK; i++)
        st = put_part(*out, &s->parts[i], rk_adapter_is_bone(s), err);
    return st == RK_OK ? rk_adapter_put_whole(*out, s, prefix, err) : st;
}

static rk_status write_weights(const rk_adapter_set *s, const rk_file *f, const char *dir,
                               bool overwrite, rk_error *err)
{
    char text[RK_ADAPTER_PAIRS_MAX][RK_ADAPTER_TEXT_MAX];
    rk_pair pairs[RK_ADAPTER_PAIRS_MAX];
    rk_file_tensor *rows = rk_adapter_rows(f);
    char *path = rk_path_join(dir, weights_name);
    const int n = rk_adapter_meta(s, s->parts[0].start[0] != NULL, pairs, text);
    const rk_file_contents c = {rows, rk_file_count(f), pairs, n, NULL, NULL};
    const rk_status st = rows && path ? rk_st_write(path, &c, overwrite, NULL, err)
                                      : rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", dir);
    free(rows);
    free(path);
    return st;
}

static rk_status write_config(const rk_buf *text, const char *dir, bool overwrite, rk_error *err)
{
    rk_out *out = NULL;
    char *path = rk_path_join(dir, config_name);
    rk_status st = path ? rk_out_open(&out, path, overwrite, err)
                        : rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", dir);
    if (st == RK_OK) {
        rk_out_write(out, text->data, text->len);
        st = rk_out_commit(out, err);
    }
    free(path);
    return st;
}

/* The config comes first: without tensors beside it it is no adapter. */
static rk_status write_into(const rk_adapter_set *s, const rk_file *f, const rk_buf *config,
                            const char *dir, bool overwrite, rk_error *err)
{
    const rk_status st = write_config(config, dir, overwrite, err);
    return st == RK_OK ? write_weights(s, f, dir, overwrite, err) : st;
}

/* A folder that does not exist appears whole; in one that does, such as that of a run, each file does. */
static rk_status write_folder(const rk_adapter_set *s, const rk_file *f, const rk_buf *config,
                              const char *path, bool overwrite, rk_error *err)
{
    char *tmp = NULL;
    if (rk_path_is_folder(path))
        return write_into(s, f, config, path, overwrite, err);
    rk_status st = rk_dir_begin(&tmp, path, err);
    if (st != RK_OK)
        return st;
    st = write_into(s, f, config, tmp, overwrite, err);
    if (st == RK_OK)
        return rk_dir_commit(tmp, path, err);
    rk_dir_abort(tmp);
    return st;
}

static rk_status write_hf(const rk_adapter_set *s, const char *path, const rk_adapter_writing *how,
                          rk_error *err)
{
    rk_file *f = NULL;
    rk_buf config = {0};
    rk_adapter_set *lora = NULL; /* of a set with starts */
    rk_status st = rk_adapter_config_put(&config, s, how->base, path, err);
    if (st == RK_OK && s->parts[0].start[0])
        st = rk_adapter_set_to_lora(&lora, s, err);
    if (st == RK_OK)
        st = build(&f, lora ? lora : s, path, err);
    if (st == RK_OK)
        st = write_folder(s, f, &config, path, how->overwrite, err);
    rk_file_close(f);
    rk_adapter_set_free(lora);
    rk_buf_deinit(&config);
    return st;
}

static const char *const endings[] = {NULL};

const rk_adapter_format_row rk_adapter_hf = {
    .name = "hf", .endings = endings, .read = read_hf, .write = write_hf};
