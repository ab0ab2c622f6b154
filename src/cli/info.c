/* info.c: `rwkv info`: what a model file is. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "cli/adapter_in.h"
#include "cli/command.h"
#include "format/ranges.h"
#include "format/relatives.h"
#include "format/survey.h"
#include "model/pair.h"
#include "model/records.h"

typedef struct info_options {
    rk_common_options common;
    const char *model;
    bool json;
} info_options;

static const rk_option rows[] = {
    {"model", 'm', RK_OPT_TEXT, "FILE", offsetof(info_options, model), 0, 0, RK_REQUIRED,
     "a model: .pth, .safetensors, .gguf or .bin"},
    RK_MODEL_OPERAND(info_options, model),
    {"json", 0, RK_OPT_FLAG, NULL, offsetof(info_options, json), 0, 0, NULL,
     "print one JSON object"},
    RK_COMMON_ROWS(info_options, common),
};

static int info_main(int argc, char **argv);

const rk_command rk_cmd_info = {
    .name = "info",
    .summary = "say what a model file is",
    .usage = "-m FILE [--json]",
    .options = {rows, RK_COUNT(rows)},
    .examples = "  rwkv info model.safetensors\n"
                "  rwkv info -m model.safetensors --json",
    .main = info_main,
};

/* ---- gathering ---- */

/* How many tensors, elements and bytes the file holds of each type. */
static json_t *types(const rk_file *f)
{
    json_t *all = json_object();
    for (int t = 0; t < RK_DTYPE_COUNT && all; t++) {
        size_t n = 0, bytes = 0;
        for (int64_t i = 0; i < rk_file_count(f); i++)
            if (rk_file_at(f, i)->dtype == (rk_dtype)t) {
                n++;
                bytes += rk_file_at(f, i)->bytes;
            }
        json_t *row = n == 0 ? NULL
                             : json_pack("{s:I, s:I, s:I}", "tensors", (json_int_t)n, "elements",
                                         (json_int_t)(bytes / rk_dtype_bytes((rk_dtype)t)) *
                                             rk_dtype_block((rk_dtype)t),
                                         "bytes", (json_int_t)bytes);
        if (n > 0 && json_object_set_new(all, rk_dtype_name((rk_dtype)t), row) != 0) {
            json_decref(all);
            all = NULL;
        }
    }
    return all;
}

/* Text of a file, which need not be UTF-8; NULL: memory ran out. */
static json_t *any_text(const char *s)
{
    json_t *text = json_string(s);
    char *copy = text ? NULL : strdup(s);
    for (char *c = copy; c && *c; c++)
        if ((unsigned char)*c >= 0x80)
            *c = '?';
    if (copy)
        text = json_string(copy);
    free(copy);
    return text;
}

static bool add_pair(json_t *to, const rk_pair *pair)
{
    json_t *key = any_text(pair->key);
    const bool ok =
        key && json_object_set_new(to, json_string_value(key), any_text(pair->value)) == 0;
    json_decref(key);
    return ok;
}

/* All but what is there for the way back to GGUF only. */
static json_t *metadata(const rk_file *f)
{
    json_t *all = json_object();
    for (int64_t i = 0; i < rk_file_meta_count(f) && all; i++) {
        const rk_pair pair = rk_file_meta_at(f, i);
        if (!strncmp(pair.key, RK_GGUF_KEPT, strlen(RK_GGUF_KEPT)) || add_pair(all, &pair))
            continue;
        json_decref(all);
        all = NULL;
    }
    return all;
}

static json_t *warnings(const rk_survey *s)
{
    json_t *all = json_array();
    for (int i = 0; i < s->n_warnings && all; i++)
        if (json_array_append_new(all, any_text(s->warnings[i])) != 0) {
            json_decref(all);
            all = NULL;
        }
    return all;
}

/* All sizes by their names, those of pairs and records of a model that has some; of a file whose architecture is not
 * one of ours none. */
/* Sizes of a part that a model lacks say nothing. */
static bool is_of_nothing(const rk_model *m, const rk_size *s)
{
    return (m->hp.low_rank == 0 && rk_pair_has_size(s->name)) ||
           (!m->hp.ffn_records && rk_records_has_size(s->name)) ||
           (m->hp.n_clusters == 0 && !strcmp(s->name, "n_clusters")) ||
           (m->hp.emb_rows == 0 && !strcmp(s->name, "emb_rows"));
}

static json_t *sizes(const rk_model *m)
{
    json_t *all = json_object();
    rk_size size;
    for (int64_t i = 0; m && all && rk_model_get_size(m, i, &size); i++) {
        const double x = size.value;
        if (is_of_nothing(m, &size))
            continue;
        json_t *value = x == floor(x) ? json_integer((json_int_t)x) : json_real(x);
        if (json_object_set_new(all, size.name, value) != 0) {
            json_decref(all);
            all = NULL;
        }
    }
    return all;
}

/* The layers of a hybrid that kept attention alone. */
static json_t *kept_layers(const rk_model *m)
{
    json_t *all = json_array();
    for (int64_t l = 0; m && all && l < m->hp.n_layer; l++)
        if (rk_layer_in(&m->hp.kept, l) && json_array_append_new(all, json_integer(l)) != 0) {
            json_decref(all);
            all = NULL;
        }
    return all;
}

/* Matrices of bytes with ranges. */
static int64_t ranged_matrices(const rk_survey *s)
{
    int64_t n = 0;
    for (int64_t i = 0; s->model && i < s->model->n_params; i++)
        n += rk_ranges_has(s->model, &s->model->params[i]);
    return n;
}

/* Everything there is to say; the text output reads it too. NULL: memory ran out. */
static json_t *describe(const char *path, const rk_survey *s)
{
    char fingerprint[17] = "";
    const rk_model_info *i = &s->info;
    if (s->model)
        snprintf(fingerprint, sizeof fingerprint, "%016" PRIx64, i->fingerprint);
    return json_pack(
        "{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:o, s:o, "
        "s:s, s:b, s:o, s:o, s:o, s:I}",
        "path", path, "arch", s->arch, "n_vocab", (json_int_t)i->n_vocab, "n_embd",
        (json_int_t)i->n_embd, "n_layer", (json_int_t)i->n_layer, "n_head", (json_int_t)i->n_head,
        "head_size", (json_int_t)i->head_size, "dim_ffn", (json_int_t)i->dim_ffn, "ctx_len",
        (json_int_t)i->ctx_len, "n_params", (json_int_t)i->n_params, "state_bytes",
        (json_int_t)i->state_bytes, "bytes_per_token", (json_int_t)s->bytes_per_token,
        "fingerprint", fingerprint, "types", types(s->file), "metadata", metadata(s->file),
        "container", rk_file_container(s->file), "runs", s->model != NULL, "warnings", warnings(s),
        "kept_layers", kept_layers(s->model ? s->model : s->skeleton), "sizes",
        sizes(s->model ? s->model : s->skeleton), "int8_matrices", (json_int_t)ranged_matrices(s));
}

/* ---- printing ---- */

static json_int_t number(const json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

static const char *text(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

/* A string from a file, without what could steer a terminal. */
static void print_harmless(const char *s)
{
    for (; *s; s++)
        putchar((unsigned char)*s < 0x20 || *s == 0x7f ? '?' : *s);
}

static void print_types(json_t *o)
{
    for (void *i = json_object_iter(o); i; i = json_object_iter_next(o, i)) {
        const json_t *row = json_object_iter_value(i);
        printf("  %-16s %" JSON_INTEGER_FORMAT " tensors, %.1f MB\n", json_object_iter_key(i),
               number(row, "tensors"), (double)number(row, "bytes") / 1e6);
    }
}

static void print_metadata(json_t *o)
{
    for (void *i = json_object_iter(o); i; i = json_object_iter_next(o, i)) {
        fputs("metadata ", stdout);
        print_harmless(json_object_iter_key(i));
        fputs(": ", stdout);
        print_harmless(json_string_value(json_object_iter_value(i)));
        putchar('\n');
    }
}

static void print_warnings(json_t *o, bool more)
{
    for (size_t i = 0; i < json_array_size(o); i++) {
        fputs("warning: ", stdout);
        print_harmless(json_string_value(json_array_get(o, i)));
        putchar('\n');
    }
    if (more)
        puts("warning: and more of that kind");
}

/* The rows of sizes, where they are known. */
static void print_sizes(const json_t *o)
{
    static const char *const common[] = {"n_layer", "n_embd",  "n_head", "head_size",
                                         "dim_ffn", "n_vocab", "ctx_len"};
    json_t *all = json_object_get(o, "sizes");
    for (size_t i = 0; i < RK_COUNT(common); i++)
        if (number(o, common[i]) > 0)
            printf("  %-16s %" JSON_INTEGER_FORMAT "\n", common[i], number(o, common[i]));
    for (void *i = json_object_iter(all); i; i = json_object_iter_next(all, i))
        if (!json_object_get(o, json_object_iter_key(i)))
            printf("  %-16s %g\n", json_object_iter_key(i),
                   json_number_value(json_object_iter_value(i)));
    const json_t *kept = json_object_get(o, "kept_layers");
    if (json_array_size(kept) > 0)
        printf("  %-16s", "attention only");
    for (size_t i = 0; i < json_array_size(kept); i++)
        printf("%s %" JSON_INTEGER_FORMAT, i ? "," : " in layers",
               json_integer_value(json_array_get(kept, i)));
    if (json_array_size(kept) > 0)
        putchar('\n');
    if (number(o, "int8_matrices") > 0)
        printf("  %-16s %" JSON_INTEGER_FORMAT " matrices are bytes with ranges\n", "int8",
               number(o, "int8_matrices"));
    if (number(o, "state_bytes") > 0)
        printf("  %-16s %" JSON_INTEGER_FORMAT " bytes a stream\n", "state",
               number(o, "state_bytes"));
    if (number(o, "bytes_per_token") > 0)
        printf("  %-16s %.2f MB of weights and state read and written a token\n", "decoding",
               (double)number(o, "bytes_per_token") / 1e6);
}

static void print_text(const json_t *o, bool more_warnings)
{
    printf("%s: %s, %.2f million parameters%s\n", text(o, "path"), text(o, "arch"),
           (double)number(o, "n_params") / 1e6,
           json_is_true(json_object_get(o, "runs")) ? "" : "; it cannot be run");
    print_sizes(o);
    if (*text(o, "fingerprint"))
        printf("  %-16s %s\n", "fingerprint", text(o, "fingerprint"));
    print_types(json_object_get(o, "types"));
    print_metadata(json_object_get(o, "metadata"));
    print_warnings(json_object_get(o, "warnings"), more_warnings);
}

/* Nothing is known of it: an adapter or initial states, perhaps. */
static bool is_no_model(const rk_survey *s)
{
    return !s->model && !s->skeleton && !strcmp(s->arch, "unknown");
}

static rk_status work(const info_options *o, rk_error *err)
{
    rk_survey s;
    rk_command_note_model(&o->common, o->model);
    rk_error unsaid;
    rk_status st = rk_survey_open(&s, o->model, err);
    if ((st != RK_OK || is_no_model(&s)) && rk_adapter_show(o->model, o->json, &unsaid) == RK_OK) {
        if (st == RK_OK)
            rk_survey_close(&s);
        return RK_OK;
    }
    json_t *all = st == RK_OK ? describe(o->model, &s) : NULL;
    if (st == RK_OK)
        st = rk_file_check(s.file, err);
    const bool more_warnings = s.more_warnings;
    rk_survey_close(&s);
    if (st == RK_OK && !all)
        st = rk_fail(err, RK_ERR_NOMEM, "%s: its path is not UTF-8, or memory ran out", o->model);
    if (st == RK_OK && o->json)
        return rk_command_json(all, err);
    if (st == RK_OK)
        print_text(all, more_warnings);
    json_decref(all);
    return st;
}

static int info_main(int argc, char **argv)
{
    info_options o = {0};
    int status = 0;
    rk_error err = {0};
    if (!rk_command_options(&rk_cmd_info, argc, argv, &o, &status))
        return status;
    return work(&o, &err) == RK_OK ? 0 : rk_command_fail(&err);
}
