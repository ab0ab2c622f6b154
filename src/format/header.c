/* header.c: GGUF files name sizes by llama.cpp's keys, rwkv.cpp's by ours. */
#include "format/header.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "format/scheme.h"

enum { KEY_MAX = 128 };

/* Beside the keys of scheme.h, which are those that are written. */
static const rk_scheme_number read_only[] = {{"attention.group_norm_epsilon", "ln_x_eps", 0}};

/* Call fn with each number that names a size, until one fails. */
typedef rk_status number_fn(void *user, const char *key, const char *size, rk_error *err);

static rk_status for_each_in(const rk_scheme_number *numbers, int n, const char *prefix,
                             number_fn *fn, void *user, rk_error *err)
{
    char key[KEY_MAX];
    rk_status st = RK_OK;
    for (int i = 0; i < n && st == RK_OK; i++) {
        if (!numbers[i].size)
            continue;
        snprintf(key, sizeof key, "%s%s%s", prefix, *prefix ? "." : "", numbers[i].key);
        st = fn(user, key, numbers[i].size, err);
    }
    return st;
}

static rk_status for_each_number(const rk_file *f, const rk_arch *arch, number_fn *fn, void *user,
                                 rk_error *err)
{
    static const rk_scheme_number rwkvcpp[] = {
        {"n_vocab", "n_vocab", 0}, {"n_embd", "n_embd", 0}, {"n_layer", "n_layer", 0}};
    const char *prefix = rk_file_meta(f, "general.architecture");
    if (!strcmp(rk_file_container(f), "rwkv.cpp"))
        return for_each_in(rwkvcpp, RK_COUNT(rwkvcpp), "", fn, user, err);
    if (strcmp(rk_file_container(f), "gguf") != 0 || !prefix)
        return RK_OK;
    const rk_scheme *s = rk_scheme_gguf_numbers(arch);
    const rk_status st = for_each_in(s->numbers, s->n_numbers, prefix, fn, user, err);
    return st == RK_OK ? for_each_in(read_only, RK_COUNT(read_only), prefix, fn, user, err) : st;
}

/* ---- constants ---- */

typedef struct take_job {
    rk_file *f;
    const rk_arch *arch;
} take_job;

/* A header holds 32 bits: what rounds to the default is the default. */
static bool is_default(const rk_size_spec *s, const char *text)
{
    char *end = NULL;
    const double x = strtod(text, &end);
    return *text && !*end && (float)x == (float)rk_size_default(s);
}

/* The shortest decimal that is the same in 32 bits: what the number was before it was put there. */
static void shorten(char *out, size_t size, const char *text)
{
    const float x = (float)strtod(text, NULL);
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(out, size, "%.*g", digits, (double)x);
        if ((float)strtod(out, NULL) == x)
            return;
    }
}

static rk_status take_number(void *user, const char *key, const char *size, rk_error *err)
{
    const take_job *j = user;
    const rk_size_spec *s = rk_size_find(j->arch, size);
    const char *text = rk_file_meta(j->f, key);
    const bool stated = s && s->file.from == RK_FROM_STATED;
    char brief[32];
    if (!text || !s || (s->file.from != RK_FROM_META && !stated) || rk_file_meta(j->f, size) ||
        (!stated && is_default(s, text)))
        return RK_OK;
    if (stated && s->at.real)
        shorten(brief, sizeof brief, text);
    return rk_file_add_meta(j->f, size, stated && s->at.real ? brief : text, err);
}

rk_status rk_header_take(rk_file *f, const rk_arch *arch, rk_error *err)
{
    take_job j = {f, arch};
    return for_each_number(f, arch, take_number, &j, err);
}

/* ---- sizes ---- */

typedef struct check_job {
    const rk_file *f;
    const rk_arch *arch;
    const rk_hparams *hp;
} check_job;

rk_status rk_header_compare(const char *where, const char *key, double said, const rk_arch *arch,
                            const char *size, const rk_hparams *hp, rk_error *err)
{
    const rk_size_spec *s = rk_size_find(arch, size);
    if (!s || s->file.from == RK_FROM_META || said == rk_size_value(s, hp))
        return RK_OK;
    return rk_fail(err, RK_ERR_FORMAT, "%s: %s is %.10g, but its tensors show %.10g", where, key,
                   said, rk_size_value(s, hp));
}

static rk_status check_number(void *user, const char *key, const char *size, rk_error *err)
{
    const check_job *j = user;
    const char *text = rk_file_meta(j->f, key);
    char *end = NULL;
    const double said = text ? strtod(text, &end) : 0;
    if (!text)
        return RK_OK;
    if (!*text || *end)
        return rk_fail(err, RK_ERR_FORMAT, "%s: %s is '%.32s', expected a number",
                       rk_file_name(j->f), key, text);
    const rk_size_spec *s = rk_size_find(j->arch, size);
    if (s && s->file.from == RK_FROM_STATED) /* it was taken from here */
        return RK_OK;
    return rk_header_compare(rk_file_name(j->f), key, said, j->arch, size, j->hp, err);
}

rk_status rk_header_check(const rk_file *f, const rk_arch *arch, const rk_hparams *hp,
                          rk_error *err)
{
    check_job j = {f, arch, hp};
    return for_each_number(f, arch, check_number, &j, err);
}
