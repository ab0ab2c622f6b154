/* config_tf.c: how many heads there are, the wavelengths of the rotary embedding and the eps of the norms
 * are in config.json alone; other sizes are compared with the tensors. Transformers 5 has moved
 * what concerns the rotary embedding into an object of its own, rope_parameters. Members that are not
 * known are passed over, but for those that change what is computed. */
#include "format/config_tf.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "format/header.h"
#include "io/json_scan.h"
#include "io/map.h"
#include "io/path.h"
#include "io/text_mark.h"

#define ABSENT ((double)NAN)

enum { CONFIG_BYTES_MAX = 1 << 20, DEPTH_MAX = 64 };

/* Numbers, and the sizes that they are. One that no tensor shows goes into the metadata, `otherwise`
 * where config.json is silent, as transformers has it; ABSENT: nothing then. */
static const struct {
    const char *key, *size;
    double otherwise;
} numbers[] = {
    {"vocab_size", "n_vocab", ABSENT},
    {"hidden_size", "n_embd", ABSENT},
    {"intermediate_size", "dim_ffn", ABSENT},
    {"num_hidden_layers", "n_layer", ABSENT},
    {"num_attention_heads", "n_head", ABSENT},
    {"num_key_value_heads", "n_kv_head", ABSENT},
    {"head_dim", "head_size", ABSENT},
    {"rms_norm_eps", "rms_eps", 1e-6},
    {"rope_theta", "rope_theta", 10000},
    {"max_position_embeddings", "n_positions", ABSENT},
    {"head_size", "head_size", ABSENT},
    {"wkv_gate_mode", "wkv_gate_mode", ABSENT},
    {"num_attention_heads", "n_attention_head", ABSENT},
    {"num_key_value_heads", "n_attention_kv_head", ABSENT},
};

/* What a member has to be where it is there at all. */
typedef enum want {
    FLAG,    /* true or false, kept at `offset` */
    WORD,    /* a text, kept at `offset` */
    EQUALS,  /* the text `value` */
    FALSE_,  /* false */
    ONE,     /* the number 1 */
    IS,      /* the number `value` */
    TRUE_,   /* true */
    UNSET,   /* null */
    LAYERS,  /* the text `value`: all of them; or an array of layers */
    TYPES,   /* an array of words for what layers have */
    DEFAULT, /* null, or an object of the rotary embedding: its members are those below */
    SIZES,   /* an object of sizes of the architecture `value` */
} want;

typedef struct member {
    const char *key;
    want want;
    const char *value;
    size_t offset;
} member;

static const member members[] = {
    {"model_type", WORD, NULL, offsetof(rk_tf_config, model_type)},
    {"tie_word_embeddings", FLAG, NULL, offsetof(rk_tf_config, tied)},
    {"attention_bias", FLAG, NULL, offsetof(rk_tf_config, attention_bias)},
    {"wkv_has_gate", FLAG, NULL, offsetof(rk_tf_config, gate)},
    {"wkv_has_group_norm", FLAG, NULL, offsetof(rk_tf_config, group_norm)},
    {"wkv_version", IS, "7", 0},
    {"wkv_use_vfirst", TRUE_, NULL, 0},
    {"wkv_layers", LAYERS, "full", 0},
    {"head_size_divisor", IS, "8", 0},
    {"hidden_act", EQUALS, "silu", 0},
    {"mlp_bias", FALSE_, NULL, 0},
    {"use_sliding_window", FALSE_, NULL, 0},
    {"rope_interleaved", FALSE_, NULL, 0},
    {"partial_rotary_factor", ONE, NULL, 0},
    {"quantization_config", UNSET, NULL, 0},
    {"layer_types", TYPES, NULL, 0},
    {"wuneng", SIZES, "wuneng", 0},
    {"rope_scaling", DEFAULT, NULL, 0},
    {"rope_parameters", DEFAULT, NULL, 0},
};

static const member rope_members[] = {
    {"rope_type", EQUALS, "default", 0},
    {"type", EQUALS, "default", 0},
    {"partial_rotary_factor", ONE, NULL, 0},
    {"full_attention", UNSET, NULL, 0}, /* an object for each kind of layer */
    {"sliding_attention", UNSET, NULL, 0},
};

typedef struct reading {
    rk_json_scan scan;
    rk_tf_config *c;
    const char *name;
    char *text;    /* room for any string of the file */
    rk_error *err; /* filled where `refused` */
    rk_status refused;
} reading;

/* ---- values ---- */

/* What is not computed here; false, as a failure of the scan. */
static bool refuse(reading *r, const char *key, const char *found, const char *expected)
{
    r->refused = rk_fail(r->err, RK_ERR_UNSUPPORTED,
                         "%s: %s is %.40s, which is not computed here, expected %s", r->name, key,
                         found, expected);
    return false;
}

static bool take_text(reading *r)
{
    size_t n = 0;
    if (!rk_json_string(&r->scan, r->text, &n))
        return false;
    r->text[n] = '\0';
    if (strlen(r->text) == n)
        return true;
    r->scan.expected = "text without NUL";
    return false;
}

static bool take_flag(reading *r, bool *out)
{
    if (rk_json_peek_bool(&r->scan, out))
        return true;
    r->scan.expected = "true or false";
    return false;
}

/* A flag, also as the number that our own run folders have. */
static bool take_truth(reading *r, double *out)
{
    bool flag;
    if (rk_json_peek_bool(&r->scan, &flag)) {
        *out = flag;
        return true;
    }
    if (rk_json_number(&r->scan, out) && (*out == 0 || *out == 1))
        return true;
    r->scan.expected = "true or false";
    return false;
}

static bool take_equal(reading *r, const member *m)
{
    if (!take_text(r))
        return false;
    return !strcmp(r->text, m->value) || refuse(r, m->key, r->text, m->value);
}

static bool take_word(reading *r, const member *m)
{
    if (!take_text(r))
        return false;
    snprintf((char *)r->c + m->offset, RK_TF_WORD_MAX, "%s", r->text);
    return true;
}

/* Behind the '[' of an array: call fn with the place of each element, until one fails. */
static bool take_elements(reading *r, bool (*fn)(reading *r, int64_t i))
{
    int64_t i = 0;
    if (rk_json_peek_take(&r->scan, ']'))
        return true;
    do
        if (!fn(r, i++))
            return false;
    while (rk_json_peek_take(&r->scan, ','));
    return rk_json_take(&r->scan, ']');
}

static bool take_type(reading *r, int64_t i)
{
    if (!take_text(r))
        return false;
    const bool linear = !strcmp(r->text, "linear_attention");
    if (!linear && strcmp(r->text, "full_attention") != 0)
        return refuse(r, "layer_types", r->text, "full_attention or linear_attention");
    if (linear && i < RK_LAYERS_MAX)
        rk_layer_add(&r->c->linear, i);
    r->c->n_types = i + 1;
    return true;
}

static bool take_layer(reading *r, int64_t i)
{
    double x = -1;
    (void)i;
    r->scan.expected = "the number of a layer";
    if (!rk_json_number(&r->scan, &x) || !(x >= 0 && x < RK_LAYERS_MAX && x == floor(x)))
        return false;
    rk_layer_add(&r->c->mixers, (int64_t)x);
    return true;
}

/* All layers, in the word for it, or a list. */
static bool take_layers(reading *r, const member *m)
{
    const bool list = rk_json_peek_take(&r->scan, '[');
    r->c->lists_mixers = true;
    memset(&r->c->mixers, list ? 0 : 0xff, sizeof r->c->mixers);
    if (!list)
        return take_equal(r, m);
    return take_elements(r, take_layer);
}

static bool take_object(reading *r, const member *rows, size_t n, bool inner);
static bool take_number(reading *r, double *to);

/* What is said of a size, as metadata has it. */
static bool take_size(reading *r, const rk_size_spec *s)
{
    rk_tf_config *c = r->c;
    double x = (double)NAN;
    if (!s || c->n_stated == RK_TF_STATED)
        return rk_json_skip(&r->scan, DEPTH_MAX);
    char *text = c->stated[c->n_stated].text;
    c->stated[c->n_stated++].size = s->name;
    if (s->at.words)
        return take_text(r) && snprintf(text, RK_TF_WORD_MAX, "%s", r->text) >= 0;
    return take_number(r, &x) && snprintf(text, RK_TF_WORD_MAX, "%.17g", x) >= 0;
}

static bool take_sizes(reading *r, const char *name)
{
    static const member layers = {"layers", LAYERS, "all", 0};
    const rk_arch *arch = rk_arch_find(name);
    if (!rk_json_take(&r->scan, '{'))
        return false;
    if (rk_json_peek_take(&r->scan, '}'))
        return true;
    do
        if (!take_text(r) || !rk_json_take(&r->scan, ':') ||
            !(!strcmp(r->text, layers.key) ? take_layers(r, &layers)
                                           : take_size(r, rk_size_find(arch, r->text))))
            return false;
    while (rk_json_peek_take(&r->scan, ','));
    return rk_json_take(&r->scan, '}');
}

static bool take_member(reading *r, const member *m)
{
    bool flag = false;
    double x = 0;
    if (rk_json_peek_null(&r->scan))
        return true;
    switch (m->want) {
    case FLAG:
        return take_truth(r, (double *)(void *)((char *)r->c + m->offset));
    case WORD:
        return take_word(r, m);
    case EQUALS:
        return take_equal(r, m);
    case FALSE_:
        return take_flag(r, &flag) && (!flag || refuse(r, m->key, "true", "false"));
    case ONE:
        return rk_json_number(&r->scan, &x) && (x == 1 || refuse(r, m->key, "another number", "1"));
    case IS:
        return rk_json_number(&r->scan, &x) &&
               (x == strtod(m->value, NULL) || refuse(r, m->key, "another number", m->value));
    case TRUE_:
        return take_flag(r, &flag) && (flag || refuse(r, m->key, "false", "true"));
    case UNSET:
        return refuse(r, m->key, "set", "null");
    case LAYERS:
        return take_layers(r, m);
    case TYPES:
        return rk_json_take(&r->scan, '[') && take_elements(r, take_type);
    case SIZES:
        return take_sizes(r, m->value);
    case DEFAULT:
        return take_object(r, rope_members, RK_COUNT(rope_members), true);
    }
    return false;
}

static bool take_number(reading *r, double *to)
{
    if (rk_json_peek_null(&r->scan) || rk_json_number(&r->scan, to))
        return true;
    r->scan.expected = "a number";
    return false;
}

/* A number, for every size that it is. */
static bool take_number_of(reading *r, size_t first)
{
    double x = ABSENT;
    if (!take_number(r, &x))
        return false;
    for (size_t i = first; i < RK_COUNT(numbers); i++)
        if (!strcmp(numbers[i].key, numbers[first].key))
            r->c->numbers[i] = x;
    return true;
}

/* The value of the key in r->text. Only rope_theta is looked for in an inner object. */
static bool take_value(reading *r, const member *rows, size_t n, bool inner)
{
    for (size_t i = 0; i < RK_COUNT(numbers); i++)
        if (!strcmp(r->text, numbers[i].key) && (!inner || !strcmp(r->text, "rope_theta")))
            return take_number_of(r, i);
    for (size_t i = 0; i < n; i++)
        if (!strcmp(r->text, rows[i].key))
            return take_member(r, &rows[i]);
    return rk_json_skip(&r->scan, DEPTH_MAX);
}

static bool take_object(reading *r, const member *rows, size_t n, bool inner)
{
    if (!rk_json_take(&r->scan, '{'))
        return false;
    if (rk_json_peek_take(&r->scan, '}'))
        return true;
    do
        if (!take_text(r) || !rk_json_take(&r->scan, ':') || !take_value(r, rows, n, inner))
            return false;
    while (rk_json_peek_take(&r->scan, ','));
    return rk_json_take(&r->scan, '}');
}

rk_status rk_tf_config_read(rk_tf_config *c, const void *data, size_t bytes, const char *name,
                            rk_error *err)
{
    size_t mark = 0;
    *c = (rk_tf_config){
        .tied = ABSENT, .attention_bias = ABSENT, .gate = ABSENT, .group_norm = ABSENT};
    for (size_t i = 0; i < RK_COUNT(numbers); i++)
        c->numbers[i] = ABSENT;
    rk_status st = rk_text_begin(data, bytes, name, &mark, err);
    if (st == RK_OK && bytes > CONFIG_BYTES_MAX)
        return rk_fail(err, RK_ERR_FORMAT, "%s: a configuration of %zu bytes, expected at most %d",
                       name, bytes, CONFIG_BYTES_MAX);
    if (st != RK_OK)
        return st;
    const unsigned char *const text = data;
    reading r = {.scan = {text + mark, text + bytes, NULL},
                 .c = c,
                 .name = name,
                 .text = malloc(bytes + 1),
                 .err = err};
    if (!r.text)
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", name);
    if (!take_object(&r, members, RK_COUNT(members), false) || !rk_json_at_end(&r.scan))
        st = r.refused != RK_OK
                 ? r.refused
                 : rk_fail(err, RK_ERR_FORMAT, "%s: byte %zu: expected %s", name,
                           (size_t)(r.scan.p - text), r.scan.expected ? r.scan.expected : "JSON");
    free(r.text);
    return st;
}

/* ---- beside a model ---- */

/* What config.json calls an architecture: by the name that it has here, or by another; a marked size may
 * follow ("rwkv_hybrid+wkv_gate_mode"). */
static bool is_type(const char *type, const rk_arch *arch)
{
    const char *name = arch == &rk_arch_arwkv7 ? "rwkv_hybrid" : arch->name;
    const size_t n = strcspn(type, "+");
    return (strlen(arch->name) == n && !strncmp(type, arch->name, n)) ||
           (strlen(name) == n && !strncmp(type, name, n));
}

#define ATTENTION "model.layers.%d.self_attn."

/* A flag and whether a layer has the tensor that it is about. */
static rk_status check_part(const rk_file *f, const char *name, const char *key, double said,
                            const char *tensor, rk_error *err)
{
    const bool there = rk_file_in_any_layer(f, tensor);
    if (isnan(said) || (said != 0) == there)
        return RK_OK;
    return rk_fail(err, RK_ERR_FORMAT, "%s: %s is %s, but there is %s tensor '%s'", name, key,
                   there ? "false" : "true", there ? "a" : "no",
                   tensor + strlen("model.layers.%d."));
}

static rk_status check_parts(const rk_tf_config *c, const rk_arch *arch, const rk_file *f,
                             const char *name, rk_error *err)
{
    if (arch != &rk_arch_arwkv7)
        return RK_OK;
    const rk_status st =
        check_part(f, name, "wkv_has_gate", c->gate, ATTENTION "time_mixer.g1", err);
    return st == RK_OK ? check_part(f, name, "wkv_has_group_norm", c->group_norm,
                                    ATTENTION "time_mixer.ln_x.weight", err)
                       : st;
}

static rk_status check_type(const rk_tf_config *c, const rk_arch *arch, const rk_file *f,
                            const char *name, rk_error *err)
{
    const bool biases = rk_file_in_any_layer(f, ATTENTION "q_proj.bias");
    const bool has_q = rk_file_in_any_layer(f, ATTENTION "q_proj.weight");
    if (*c->model_type && !is_type(c->model_type, arch))
        return rk_fail(err, RK_ERR_UNSUPPORTED,
                       "%s: model_type is '%s', but the tensors beside it are those of a %s model",
                       name, c->model_type, arch->name);
    if (has_q && !isnan(c->attention_bias) && (c->attention_bias != 0) != biases)
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: attention_bias is %s, but the tensors beside it have %s of q, k and v",
                       name, biases ? "false" : "true", biases ? "biases" : "no biases");
    return RK_OK;
}

/* Files of a head that is the table of embeddings may hold it twice. */
static rk_status check_tied(const rk_tf_config *c, rk_file *canonical, const rk_file *f,
                            const char *name, rk_error *err)
{
    const rk_file_tensor *emb = rk_file_find(f, "model.embed_tokens.weight");
    const rk_file_tensor *head = rk_file_find(f, "lm_head.weight");
    if (c->tied == 0 && emb && !head)
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: tie_word_embeddings is false, but there is no 'lm_head.weight'", name);
    if (c->tied != 1 || !emb || !head)
        return RK_OK;
    if (head->bytes != emb->bytes || memcmp(head->data, emb->data, emb->bytes) != 0)
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: tie_word_embeddings is true, but 'lm_head.weight' is not the table of "
                       "embeddings",
                       name);
    rk_file_remove(canonical, "lm_head.weight");
    return RK_OK;
}

static bool is_unshown(const rk_size_spec *s)
{
    return s && (s->file.from == RK_FROM_STATED || s->file.from == RK_FROM_META ||
                 s->file.from == RK_FROM_PRESENCE);
}

static rk_status state_sizes(const rk_tf_config *c, const rk_arch *arch, rk_file *canonical,
                             rk_error *err)
{
    rk_status st = RK_OK;
    for (int i = 0; i < c->n_stated && st == RK_OK; i++)
        if (is_unshown(rk_size_find(arch, c->stated[i].size)) &&
            !rk_file_meta(canonical, c->stated[i].size))
            st = rk_file_add_meta(canonical, c->stated[i].size, c->stated[i].text, err);
    for (size_t i = 0; i < RK_COUNT(numbers) && st == RK_OK; i++) {
        const double x = isnan(c->numbers[i]) ? numbers[i].otherwise : c->numbers[i];
        char text[32];
        if (isnan(x) || !is_unshown(rk_size_find(arch, numbers[i].size)) ||
            rk_file_meta(canonical, numbers[i].size))
            continue;
        snprintf(text, sizeof text, "%.15g", x);
        if (strtod(text, NULL) != x)
            snprintf(text, sizeof text, "%.17g", x);
        st = rk_file_add_meta(canonical, numbers[i].size, text, err);
    }
    return st;
}

/* Have layers whose mixer is the architecture's own no attention? */
static bool is_recurrent(const rk_arch *arch)
{
    for (int i = 0; i < arch->n_state; i++)
        if (arch->state[i].kind == RK_STATE_TOKENS && arch->state[i].in == RK_IN_ALL)
            return false;
    return true;
}

/* Lists of layers against the tensors'. */
static rk_status check_layers(const rk_tf_config *c, const rk_arch *arch, const rk_hparams *hp,
                              const char *name, rk_error *err)
{
    if (c->n_types > 0 && c->n_types != hp->n_layer)
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: layer_types has %" PRId64 " layers, but its tensors show %" PRId64,
                       name, c->n_types, hp->n_layer);
    for (int64_t l = 0; l < rk_min_i64(hp->n_layer, RK_LAYERS_MAX); l++) {
        const bool kept = rk_layer_in(&hp->kept, l), linear = is_recurrent(arch) && !kept;
        if (c->lists_mixers && rk_layer_in(&c->mixers, l) == kept)
            return rk_fail(err, RK_ERR_FORMAT,
                           "%s: layer %" PRId64
                           " is %s its list of layers, but %s tensors of %s are "
                           "beside it",
                           name, l, kept ? "in" : "not in", kept ? "no" : "the", arch->name);
        if (c->n_types > 0 && rk_layer_in(&c->linear, l) != linear)
            return rk_fail(err, RK_ERR_FORMAT,
                           "%s: layer_types has %s_attention for layer %" PRId64
                           ", but its tensors are those of %s",
                           name, linear ? "full" : "linear", l,
                           linear ? "a recurrence" : "attention");
    }
    return RK_OK;
}

/* Whoever opens the model says what it lacks. A size of 0 is of a part that the model is without. */
static rk_status check_sizes(const rk_tf_config *c, const rk_arch *arch, const rk_file *canonical,
                             const char *name, rk_error *err)
{
    rk_hparams hp;
    rk_status st = RK_OK;
    if (rk_sizes_read(arch, canonical, &hp, NULL) != RK_OK)
        return RK_OK;
    for (size_t i = 0; i < RK_COUNT(numbers) && st == RK_OK; i++) {
        const rk_size_spec *s = rk_size_find(arch, numbers[i].size);
        const bool there = s && (s->range.min > 0 || rk_size_value(s, &hp) != 0);
        if (there && !s->at.real && !isnan(c->numbers[i]))
            st = rk_header_compare(name, numbers[i].key, c->numbers[i], arch, numbers[i].size, &hp,
                                   err);
    }
    return st == RK_OK ? check_layers(c, arch, &hp, name, err) : st;
}

static rk_status apply(rk_file *canonical, const rk_file *f, const rk_map *map, rk_error *err)
{
    const rk_arch *arch = rk_arch_detect(f);
    rk_tf_config c;
    rk_status st = rk_tf_config_read(&c, map->data, map->size, map->name, err);
    if (st == RK_OK)
        st = check_type(&c, arch, f, map->name, err);
    if (st == RK_OK)
        st = check_parts(&c, arch, f, map->name, err);
    if (st == RK_OK)
        st = check_tied(&c, canonical, f, map->name, err);
    if (st == RK_OK)
        st = state_sizes(&c, arch, canonical, err);
    if (st == RK_OK) /* sizes are looked for by name */
        st = rk_file_finish(canonical, err);
    return st == RK_OK ? check_sizes(&c, arch, canonical, map->name, err) : st;
}

rk_status rk_tf_config_apply(rk_file *canonical, const rk_file *foreign, rk_error *err)
{
    rk_map map = {.fd = -1};
    if (rk_file_is_memory(foreign))
        return RK_OK;
    char *folder = rk_path_parent(rk_file_name(foreign));
    char *path = folder ? rk_path_join(folder, "config.json") : NULL;
    rk_status st =
        path ? RK_OK : rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", rk_file_name(foreign));
    if (st == RK_OK && access(path, F_OK) == 0) {
        st = rk_map_open(&map, path, err);
        if (st == RK_OK)
            st = apply(canonical, foreign, &map, err);
        rk_map_close(&map);
    }
    free(path);
    free(folder);
    return st;
}
