/* adapter_config_put.c: adapter_config.json as peft 0.18 writes it, for the parts of a set.
 *
 * target_modules names every matrix in full: shorter endings would also fit layers that are not adapted,
 * and peft would give those adapters of their own. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "io/json_line.h"
#include "tune/adapter_config.h"

static bool is_lora(const rk_adapter_part *p)
{
    return p->form == RK_PART_LORA || p->form == RK_PART_DORA;
}

/* Rank and alpha of the tensors as they are written. */
static int64_t rank_of(const rk_adapter_part *p)
{
    return p->start[0] ? 2 * p->rank : p->rank;
}

/* A quotient times its divisor may miss the dividend by a rounding: then it is the alpha of the set. */
static double alpha_of(const rk_adapter_set *s, const rk_adapter_part *p)
{
    const double r = (double)rank_of(p), alpha = p->scale * (s->rslora ? sqrt(r) : r);
    const double set = s->alpha * (!p->start[0] ? 1 : s->rslora ? sqrt(2.0) : 2);
    return fabs(alpha - set) <= 1e-12 * set ? set : alpha;
}

/* What one config cannot say of its modules. */
static rk_status check_parts(const rk_adapter_set *s, const char *path, rk_error *err)
{
    const rk_adapter_part *first = s->parts;
    if (s->n_parts == 0)
        return rk_fail(err, RK_ERR_UNSUPPORTED,
                       "%s: no matrix is adapted, so no such folder can hold it", path);
    for (int64_t i = 0; i < s->n_parts; i++) {
        const rk_adapter_part *p = &s->parts[i];
        if (p->form != first->form || !p->start[0] != !first->start[0])
            return rk_fail(err, RK_ERR_UNSUPPORTED,
                           "%s: '%s' and '%s' are adapted in different ways", path, first->name,
                           p->name);
        if (p->form == RK_PART_MISS && (p->width == p->out) != (first->width == first->out))
            return rk_fail(err, RK_ERR_UNSUPPORTED, "%s: '%s' has MiSS's form mini, '%s' has not",
                           path, p->width == p->out ? first->name : p->name,
                           p->width == p->out ? p->name : first->name);
        if (is_lora(p) && !(p->scale > 0))
            return rk_fail(err, RK_ERR_ARG,
                           "%s: the alpha of its LoRA is not known; --alpha says it", path);
    }
    return RK_OK;
}

/* ---- members, one a line ---- */

static void put_key(rk_buf *b, const char *key)
{
    rk_buf_puts(b, b->len == 0 ? "{\n  " : ",\n  ");
    rk_json_quote(b, key, strlen(key));
    rk_buf_puts(b, ": ");
}

static void put_raw(rk_buf *b, const char *key, const char *value)
{
    put_key(b, key);
    rk_buf_puts(b, value);
}

static void put_text(rk_buf *b, const char *key, const char *text)
{
    put_key(b, key);
    if (text)
        rk_json_quote(b, text, strlen(text));
    else
        rk_buf_puts(b, "null");
}

/* As short as gives the number back. */
static void put_number(rk_buf *b, double x)
{
    rk_buf_printf(b, x == floor(x) && fabs(x) < 1e15 ? "%.0f" : "%.17g", x);
}

static void put_item(rk_buf *b, int64_t *n, const char *text)
{
    rk_buf_puts(b, (*n)++ ? ",\n    " : "\n    ");
    rk_json_quote(b, text, strlen(text));
}

/* The modules whose value is another than that of the first part; nothing where all have the same, because
 * MissConfig of peft knows no patterns. */
static void put_patterns(rk_buf *b, const char *key, const rk_adapter_set *s,
                         double (*value)(const rk_adapter_set *s, const rk_adapter_part *p))
{
    char module[RK_PARAM_NAME_MAX];
    int64_t n = 0;
    bool differ = false;
    for (int64_t i = 0; i < s->n_parts; i++)
        differ = differ || value(s, &s->parts[i]) != value(s, &s->parts[0]);
    if (!differ)
        return;
    put_key(b, key);
    rk_buf_puts(b, "{");
    for (int64_t i = 0; i < s->n_parts; i++) {
        const rk_adapter_part *p = &s->parts[i];
        if (value(s, p) == value(s, &s->parts[0]))
            continue;
        rk_part_module(p, module, sizeof module);
        put_item(b, &n, module);
        rk_buf_puts(b, ": ");
        put_number(b, value(s, p));
    }
    rk_buf_puts(b, "\n  }");
}

static double rank_value(const rk_adapter_set *s, const rk_adapter_part *p)
{
    (void)s;
    return (double)rank_of(p);
}

static void put_targets(rk_buf *b, const rk_adapter_set *s)
{
    char module[RK_PARAM_NAME_MAX];
    int64_t n = 0;
    put_key(b, "target_modules");
    rk_buf_puts(b, "[");
    for (int64_t i = 0; i < s->n_parts; i++) {
        rk_part_module(&s->parts[i], module, sizeof module);
        put_item(b, &n, module);
    }
    rk_buf_puts(b, "\n  ]");
}

/* The module of a parameter, if peft can replace it whole: one whose every parameter is here. "": none. */
static void whole_module(const rk_adapter_set *s, const rk_adapter_whole *w, char *module)
{
    char bias[RK_PARAM_NAME_MAX + 8];
    const size_t n = strlen(w->name) - strlen(".weight");
    *module = '\0';
    if (!rk_ends_with(w->name, ".weight"))
        return;
    snprintf(bias, sizeof bias, "%.*s.bias", (int)n, w->name);
    bool complete = w->n_dims == 2; /* a matrix, which has no bias */
    for (int64_t i = 0; i < s->n_whole && !complete; i++)
        complete = !strcmp(s->whole[i].name, bias);
    if (complete)
        snprintf(module, RK_PARAM_NAME_MAX, "%.*s", (int)n, w->name);
}

static void put_whole(rk_buf *b, const rk_adapter_set *s)
{
    char module[RK_PARAM_NAME_MAX];
    int64_t n = 0;
    put_key(b, "modules_to_save");
    for (int64_t i = 0; i < s->n_whole; i++) {
        whole_module(s, &s->whole[i], module);
        if (*module && n == 0)
            rk_buf_puts(b, "[");
        if (*module)
            put_item(b, &n, module);
    }
    rk_buf_puts(b, n ? "\n  ]" : "null");
}

/* ---- methods ---- */

static void put_lora(rk_buf *b, const rk_adapter_set *s)
{
    put_key(b, "lora_alpha");
    put_number(b, alpha_of(s, &s->parts[0]));
    put_patterns(b, "alpha_pattern", s, alpha_of);
    put_raw(b, "lora_dropout", "0.0");
    put_raw(b, "use_rslora", s->rslora ? "true" : "false");
    put_raw(b, "use_dora", s->parts[0].form == RK_PART_DORA ? "true" : "false");
    put_raw(b, "fan_in_fan_out", "false");
    put_raw(b, "init_lora_weights", "true");
}

bool rk_adapter_is_bone(const rk_adapter_set *s)
{
    bool bone = !strcmp(s->method, "bone");
    for (int64_t i = 0; i < s->n_parts; i++)
        bone = bone && s->parts[i].form == RK_PART_MISS && s->parts[i].width == s->parts[i].out;
    return bone;
}

static void put_miss(rk_buf *b, const rk_adapter_set *s)
{
    const rk_adapter_part *p = &s->parts[0];
    const bool mini = p->form == RK_PART_MISS && p->width != p->out;
    put_raw(b, rk_adapter_is_bone(s) ? "bone_dropout" : "miss_dropout", "0.0");
    if (!rk_adapter_is_bone(s)) {
        put_key(b, "mini_r");
        put_number(b, mini ? (double)p->width : 1);
    }
    put_raw(b, "init_weights",
            p->form == RK_PART_BAT_IN    ? "\"bat-in\""
            : p->form == RK_PART_BAT_OUT ? "\"bat\""
            : mini                       ? "\"mini\""
                                         : "true");
}

rk_status rk_adapter_config_put(rk_buf *b, const rk_adapter_set *s, const char *base,
                                const char *path, rk_error *err)
{
    const rk_status st = check_parts(s, path, err);
    if (st != RK_OK)
        return st;
    put_text(b, "peft_type",
             is_lora(&s->parts[0])   ? "LORA"
             : rk_adapter_is_bone(s) ? "BONE"
                                     : "MISS");
    put_text(b, "base_model_name_or_path", base);
    put_raw(b, "task_type", "null");
    put_raw(b, "inference_mode", "true");
    put_raw(b, "bias", "\"none\"");
    put_key(b, "r");
    put_number(b, (double)rank_of(&s->parts[0]));
    put_patterns(b, "rank_pattern", s, rank_value);
    if (is_lora(&s->parts[0]))
        put_lora(b, s);
    else
        put_miss(b, s);
    put_targets(b, s);
    put_whole(b, s);
    rk_buf_puts(b, "\n}\n");
    return b->failed ? rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", path) : RK_OK;
}
