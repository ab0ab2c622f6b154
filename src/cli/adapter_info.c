/* adapter_info.c: `rwkv adapter info`: what an adapter holds. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "cli/adapter_in.h"
#include "cli/command.h"
#include "tune/adapter_file.h"

typedef struct info_options {
    rk_common_options common;
    const char *path;
    bool json;
} info_options;

#define AT(member) offsetof(info_options, member)

static const rk_option rows[] = {
    {NULL, 0, RK_OPT_OPERAND, "ADAPTER", AT(path), 0, 0, RK_REQUIRED,
     "a folder, .pth, .safetensors or .gguf"},
    {"json", 0, RK_OPT_FLAG, NULL, AT(json), 0, 0, NULL, "print one JSON object"},
    RK_COMMON_ROWS(info_options, common),
};

static int info_main(int argc, char **argv);

const rk_command rk_cmd_adapter_info = {
    .name = "adapter info",
    .summary = "say what an adapter is",
    .usage = "ADAPTER [--json]",
    .options = {rows, RK_COUNT(rows)},
    .examples = "  rwkv adapter info runs/style\n"
                "  rwkv adapter info rwkv-0.pth --json",
    .main = info_main,
};

static int64_t part_floats(const rk_adapter_part *p)
{
    int64_t n = 0;
    for (int i = 0; i < rk_forms[p->form].n_tensors; i++)
        n += rk_part_count(p, i);
    return n;
}

static int64_t whole_floats(const rk_adapter_whole *w)
{
    int64_t n = 1;
    for (int d = 0; d < w->n_dims; d++)
        n *= w->dims[d];
    return n;
}

static json_t *shape_of(const int64_t *dims, int n_dims)
{
    json_t *all = json_array();
    for (int d = 0; d < n_dims; d++)
        json_array_append_new(all, json_integer(dims[d]));
    return all;
}

/* Sizes that the files do not show are null. */
static json_t *size_or_null(int64_t n)
{
    return n > 0 ? json_integer(n) : json_null();
}

static json_t *parts_of(const rk_adapter_set *s)
{
    json_t *all = json_array();
    for (int64_t i = 0; i < s->n_parts; i++) {
        const rk_adapter_part *p = &s->parts[i];
        json_array_append_new(
            all, json_pack("{s:s, s:s, s:o, s:o, s:I, s:f, s:I, s:b}", "name", p->name, "form",
                           rk_forms[p->form].name, "inputs", size_or_null(p->in), "outputs",
                           size_or_null(p->out), "rank", (json_int_t)p->rank, "scale", p->scale,
                           "numbers", (json_int_t)part_floats(p), "start", p->start[0] != NULL));
    }
    return all;
}

static json_t *whole_of(const rk_adapter_set *s)
{
    json_t *all = json_array();
    for (int64_t i = 0; i < s->n_whole; i++)
        json_array_append_new(all, json_pack("{s:s, s:o}", "name", s->whole[i].name, "shape",
                                             shape_of(s->whole[i].dims, s->whole[i].n_dims)));
    return all;
}

static int64_t floats_of(const rk_adapter_set *s)
{
    int64_t n = 0;
    for (int64_t i = 0; i < s->n_parts; i++)
        n += part_floats(&s->parts[i]);
    for (int64_t i = 0; i < s->n_whole; i++)
        n += whole_floats(&s->whole[i]);
    return n;
}

/* Everything there is to say; NULL: memory ran out, or the path is not UTF-8. */
static json_t *describe(const char *path, const rk_adapter_set *s)
{
    char fingerprint[17] = "";
    if (s->fingerprint)
        snprintf(fingerprint, sizeof fingerprint, "%016" PRIx64, s->fingerprint);
    return json_pack("{s:s, s:s, s:s, s:f, s:b, s:s, s:I, s:o, s:o}", "path", path, "method",
                     s->method, "arch", s->arch, "alpha", s->alpha, "rslora", s->rslora,
                     "fingerprint", fingerprint, "n_params", (json_int_t)floats_of(s), "matrices",
                     parts_of(s), "whole", whole_of(s));
}

/* ---- text ---- */

/* The lowest and highest rank of the parts. */
static void ranks_of(const rk_adapter_set *s, int64_t *low, int64_t *high)
{
    *low = *high = s->parts[0].rank;
    for (int64_t i = 1; i < s->n_parts; i++) {
        *low = rk_min_i64(*low, s->parts[i].rank);
        *high = rk_max_i64(*high, s->parts[i].rank);
    }
}

static void print_matrices(const rk_adapter_set *s)
{
    int64_t low, high;
    if (s->n_parts == 0)
        return;
    ranks_of(s, &low, &high);
    printf("  %-16s %" PRId64 " in the form %s%s, rank %" PRId64, "matrices", s->n_parts,
           rk_forms[s->parts[0].form].name, s->parts[0].start[0] ? " beside a start" : "", low);
    if (high != low)
        printf(" to %" PRId64, high);
    putchar('\n');
    if (s->parts[0].scale == 0)
        printf("  %-16s not in the file; --alpha says it where the adapter is used\n", "alpha");
    else if (s->alpha != 0)
        printf("  %-16s %g%s\n", "alpha", s->alpha, s->rslora ? ", over the root of the rank" : "");
    for (int64_t i = 0; i < s->n_parts; i++)
        printf("  %-32s rank %" PRId64 ", scale %g\n", s->parts[i].name, s->parts[i].rank,
               s->parts[i].scale);
}

static bool holds(const rk_adapter_set *s, const char *word)
{
    for (int64_t i = 0; i < s->n_whole; i++)
        if (strstr(s->whole[i].name, word))
            return true;
    return false;
}

static bool holds_kernel(const rk_adapter_set *s)
{
    return holds(s, ".att.kernel_");
}

/* Whole parameters without anything that says whose they are may be those of a model. */
static bool is_something(const rk_adapter_set *s)
{
    return s->n_parts > 0 || *s->method || holds(s, "_state") || holds_kernel(s);
}

static void print_text(const char *path, const rk_adapter_set *s)
{
    printf("%s: %s of %" PRId64 " parameters\n", path,
           s->n_parts > 0    ? "an adapter"
           : holds_kernel(s) ? "a kernel state"
                             : "initial states",
           floats_of(s));
    if (*s->method)
        printf("  %-16s %s\n", "method", s->method);
    if (*s->arch)
        printf("  %-16s %s\n", "architecture", s->arch);
    if (s->fingerprint)
        printf("  %-16s %016" PRIx64 "\n", "made for", s->fingerprint);
    print_matrices(s);
    for (int64_t i = 0; i < s->n_whole; i++) {
        printf("  %-32s whole, (", s->whole[i].name);
        for (int d = 0; d < s->whole[i].n_dims; d++)
            printf("%s%" PRId64, d ? ", " : "", s->whole[i].dims[d]);
        puts(")");
    }
}

rk_status rk_adapter_show(const char *path, bool json, rk_error *err)
{
    rk_adapter_set *s = NULL;
    rk_status st = rk_adapter_open(&s, path, NULL, err);
    if (st == RK_OK && !is_something(s))
        st = rk_fail(err, RK_ERR_FORMAT, "%s: neither an adapter nor initial states", path);
    json_t *all = st == RK_OK && json ? describe(path, s) : NULL;
    if (st == RK_OK && json && !all)
        st = rk_fail(err, RK_ERR_NOMEM, "%s: its path is not UTF-8, or memory ran out", path);
    if (st == RK_OK && json)
        st = rk_command_json(all, err);
    else if (st == RK_OK)
        print_text(path, s);
    rk_adapter_set_free(s);
    return st;
}

static int info_main(int argc, char **argv)
{
    info_options o = {0};
    int status = 0;
    rk_error err = {0};
    if (!rk_command_options(&rk_cmd_adapter_info, argc, argv, &o, &status))
        return status;
    return rk_adapter_show(o.path, o.json, &err) == RK_OK ? 0 : rk_command_fail(&err);
}
