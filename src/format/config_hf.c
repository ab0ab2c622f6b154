/* config_hf.c: sizes follow from the tensors' shapes, so only three things are taken from
 * config.json: the eps of the norms, which no tensor shows; whether the head is the table of
 * embeddings; and its sizes, as a check that it belongs to this model. */
#include "format/config_hf.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "format/header.h"
#include "io/json_scan.h"
#include "io/path.h"
#include "io/text_mark.h"

#define ABSENT ((double)NAN)

enum { MARKED_MAX = 4, CONFIG_BYTES_MAX = 1 << 20, DEPTH_MAX = 64, NUMBER_BYTES_MAX = 32 };

/* Sizes that are compared with those of the tensors where these are a model's. fla's num_heads is
 * none: beside head_dim its classes do not look at it. */
static const struct {
    const char *key, *size;
} sizes[] = {
    {"vocab_size", "n_vocab"},           {"intermediate_size", "dim_ffn"},
    {"attention_hidden_size", "n_embd"}, {"head_size", "head_size"},
    {"head_dim", "head_size"},           {"decay_low_rank_dim", "rank_w"},
    {"a_low_rank_dim", "rank_a"},        {"v_low_rank_dim", "rank_v"},
    {"gate_low_rank_dim", "rank_g"},
};

/* The numbers that are looked for; ABSENT: missing or null. */
typedef struct config {
    double hidden_size, num_hidden_layers, norm_eps, layer_norm_epsilon, group_norm_epsilon,
        head_size_divisor, ln0_fused, tied;
    double sizes[RK_COUNT(sizes)];
    rk_size marked[MARKED_MAX]; /* sizes that no tensor shows, by their own names */
    int n_marked;
} config;

static const struct {
    const char *key;
    size_t offset;
} members[] = {
    {"hidden_size", offsetof(config, hidden_size)},
    {"num_hidden_layers", offsetof(config, num_hidden_layers)},
    {"norm_eps", offsetof(config, norm_eps)},
    {"layer_norm_epsilon", offsetof(config, layer_norm_epsilon)},
    {"group_norm_epsilon", offsetof(config, group_norm_epsilon)},
    {"head_size_divisor", offsetof(config, head_size_divisor)},
    {"embedding_layer_norm_fused", offsetof(config, ln0_fused)},
    {"tie_word_embeddings", offsetof(config, tied)},
};

/* The size with a mark that has this name in any architecture. */
static const rk_size_spec *marked_size(const char *key, size_t n)
{
    const rk_size_spec *s;
    for (int a = 0; rk_archs[a]; a++)
        for (int i = 0; (s = rk_size_at(rk_archs[a], i)); i++)
            if (s->file.from == RK_FROM_MARK && n == strlen(s->name) && !memcmp(s->name, key, n))
                return s;
    return NULL;
}

static double *member_of(config *c, const char *key, size_t n)
{
    const rk_size_spec *s = marked_size(key, n);
    if (s && c->n_marked < MARKED_MAX) {
        c->marked[c->n_marked] = (rk_size){s->name, ABSENT};
        return &c->marked[c->n_marked++].value;
    }
    for (size_t i = 0; i < RK_COUNT(members); i++)
        if (n == strlen(members[i].key) && !memcmp(members[i].key, key, n))
            return (double *)(void *)((char *)c + members[i].offset);
    for (size_t i = 0; i < RK_COUNT(sizes); i++)
        if (n == strlen(sizes[i].key) && !memcmp(sizes[i].key, key, n))
            return &c->sizes[i];
    return NULL;
}

/* A value that has been skipped, as a number: true is 1, false 0, null ABSENT. False: it is none. */
static bool number_at(const unsigned char *p, size_t n, double *x)
{
    static const struct {
        const char *word;
        double value;
    } words[] = {{"true", 1}, {"false", 0}, {"null", ABSENT}};
    char text[NUMBER_BYTES_MAX] = "", *end = NULL;
    while (n > 0 && strchr(" \t\r\n", *p))
        p++, n--;
    for (size_t i = 0; i < RK_COUNT(words); i++)
        if (n == strlen(words[i].word) && !memcmp(p, words[i].word, n)) {
            *x = words[i].value;
            return true;
        }
    if (n == 0 || n >= sizeof text || !strchr("-0123456789", *p))
        return false;
    memcpy(text, p, n);
    *x = strtod(text, &end);
    return end == text + n;
}

/* key has room for the whole text. */
static bool scan(rk_json_scan *s, char *key, config *c)
{
    size_t n = 0;
    if (!rk_json_take(s, '{'))
        return false;
    if (rk_json_peek_take(s, '}'))
        return rk_json_at_end(s);
    do {
        if (!rk_json_string(s, key, &n) || !rk_json_take(s, ':'))
            return false;
        double *const member = member_of(c, key, n);
        const unsigned char *const begin = s->p;
        if (!rk_json_skip(s, DEPTH_MAX))
            return false;
        if (member && !number_at(begin, (size_t)(s->p - begin), member)) {
            s->p = begin;
            s->expected = "a number";
            return false;
        }
    } while (rk_json_peek_take(s, ','));
    return rk_json_take(s, '}') && rk_json_at_end(s);
}

static rk_status read_members(config *c, const rk_map *map, rk_error *err)
{
    char *key = map->size <= CONFIG_BYTES_MAX ? malloc(map->size + 1) : NULL;
    size_t mark = 0;
    rk_status st = rk_text_begin(map->data, map->size, map->name, &mark, err);
    rk_json_scan s = {map->data + mark, map->data + map->size, NULL};
    if (st == RK_OK && map->size > CONFIG_BYTES_MAX)
        st = rk_fail(err, RK_ERR_FORMAT, "%s: a configuration of %zu bytes, expected at most %d",
                     map->name, map->size, CONFIG_BYTES_MAX);
    else if (st == RK_OK && !key)
        st = rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", map->name);
    else if (st == RK_OK && !scan(&s, key, c))
        st = rk_fail(err, RK_ERR_FORMAT, "%s: byte %zu: expected %s", map->name,
                     (size_t)(s.p - map->data), s.expected);
    free(key);
    return st;
}

static rk_status check_size(const rk_map *map, const char *key, double said, int64_t found,
                            rk_error *err)
{
    if (isnan(said) || said == (double)found)
        return RK_OK;
    return rk_fail(err, RK_ERR_FORMAT, "%s: %s is %g, the tensors beside it have %" PRId64,
                   map->name, key, said, found);
}

static rk_status check_sizes(const rk_file *canonical, const config *c, const rk_map *map,
                             rk_error *err)
{
    const rk_arch *arch = rk_arch_detect(canonical);
    rk_hparams hp;
    rk_status st = RK_OK;
    if (!arch || rk_sizes_read(arch, canonical, &hp, NULL) != RK_OK)
        return RK_OK; /* whoever opens the model says what it lacks */
    for (size_t i = 0; i < RK_COUNT(sizes) && st == RK_OK; i++)
        if (!isnan(c->sizes[i]))
            st = rk_header_compare(map->name, sizes[i].key, c->sizes[i], arch, sizes[i].size, &hp,
                                   err);
    return st;
}

static rk_status add_number(rk_file *f, const char *key, double x, rk_error *err)
{
    char text[32];
    if (isnan(x) || rk_file_meta(f, key))
        return RK_OK;
    snprintf(text, sizeof text, "%.9g", x);
    return rk_file_add_meta(f, key, text, err);
}

/* fla's RWKV-7 gives its group norm head_size times the eps of the other norms; the classes of
 * versions 5 and 6 divide what goes into one of eps 1e-5. fla's RWKV-6 says nothing of its own: it
 * has what the model had that it was made of. */
static double ln_x_eps(const rk_file *canonical, const config *c)
{
    const rk_file_tensor *r_k = rk_file_find(canonical, "blocks.0.att.r_k");
    if (!isnan(c->group_norm_epsilon))
        return c->group_norm_epsilon;
    if (!isnan(c->head_size_divisor))
        return 1e-5 * c->head_size_divisor * c->head_size_divisor;
    return r_k && r_k->n_dims == 2 ? (double)r_k->dims[1] * c->norm_eps : ABSENT;
}

/* One matrix is both the table of embeddings and the head; files hold it once. */
static rk_status tie(rk_file *canonical, const rk_map *map, rk_error *err)
{
    const rk_file_tensor *emb = rk_file_find(canonical, "emb.weight");
    const rk_file_tensor *head = rk_file_find(canonical, "head.weight");
    if (!emb || (head && head->bytes == emb->bytes && !memcmp(head->data, emb->data, emb->bytes)))
        return RK_OK;
    if (head)
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: tie_word_embeddings is true, but the head beside it is not the table "
                       "of embeddings",
                       map->name);
    rk_file_tensor t = *emb;
    t.name = "head.weight";
    return rk_file_add(canonical, &t, err);
}

static rk_status apply(rk_file *canonical, const config *c, const rk_map *map, rk_error *err)
{
    const rk_file_tensor *emb = rk_file_find(canonical, "emb.weight");
    rk_status st = check_size(map, "num_hidden_layers", c->num_hidden_layers,
                              rk_count_layers(&rk_arch_rwkv7, canonical), err);
    if (st == RK_OK && emb && emb->n_dims == 2)
        st = check_size(map, "hidden_size", c->hidden_size, emb->dims[1], err);
    if (st == RK_OK)
        st = add_number(canonical, "ln_eps",
                        isnan(c->norm_eps) ? c->layer_norm_epsilon : c->norm_eps, err);
    if (st == RK_OK)
        st = add_number(canonical, "ln_x_eps", ln_x_eps(canonical, c), err);
    if (st == RK_OK)
        st = add_number(canonical, "ln0_fused", c->ln0_fused, err);
    for (int i = 0; i < c->n_marked && st == RK_OK; i++)
        st = add_number(canonical, c->marked[i].name, c->marked[i].value, err);
    if (st == RK_OK)
        st = check_sizes(canonical, c, map, err);
    return st == RK_OK && c->tied == 1 ? tie(canonical, map, err) : st;
}

rk_status rk_hf_read_config(rk_file *canonical, const rk_file *foreign, rk_error *err)
{
    config c = {.hidden_size = ABSENT,
                .num_hidden_layers = ABSENT,
                .norm_eps = ABSENT,
                .layer_norm_epsilon = ABSENT,
                .group_norm_epsilon = ABSENT,
                .head_size_divisor = ABSENT,
                .ln0_fused = ABSENT,
                .tied = ABSENT};
    rk_map map = {.fd = -1};
    char *folder = rk_file_is_memory(foreign) ? NULL : rk_path_parent(rk_file_name(foreign));
    char *path = folder ? rk_path_join(folder, "config.json") : NULL;
    const bool there = path && access(path, F_OK) == 0;
    rk_status st = RK_OK;
    for (size_t i = 0; i < RK_COUNT(sizes); i++)
        c.sizes[i] = ABSENT;
    if (!path && !rk_file_is_memory(foreign))
        st = rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", rk_file_name(foreign));
    if (there)
        st = rk_map_open(&map, path, err);
    if (there && st == RK_OK)
        st = read_members(&c, &map, err);
    if (there && st == RK_OK) /* the names in it may need rk_file_finish first */
        st = rk_file_finish(canonical, err);
    if (there && st == RK_OK)
        st = apply(canonical, &c, &map, err);
    rk_map_close(&map);
    free(path);
    free(folder);
    return st;
}
