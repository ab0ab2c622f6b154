/* model.c: models made from a parameter table: built empty, initialised, asked for facts. Opening
 * one from a file is format/open.c. */
#include "model/model.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "kernels/ranges.h"
#include "model/clusters.h"
#include "model/pack.h"
#include "model/pair.h"
#include "model/records.h"
#include "model/residence.h"
#include "tensor/sparse_mix.h"

/* ---- shapes and names ---- */

void rk_param_name(const rk_param_spec *spec, int64_t layer, char *name)
{
    const char *mark = strstr(spec->name, "%d");
    if (mark)
        snprintf(name, RK_PARAM_NAME_MAX, "%.*s%lld%s", (int)(mark - spec->name), spec->name,
                 (long long)layer, mark + 2);
    else
        snprintf(name, RK_PARAM_NAME_MAX, "%s", spec->name);
}

static const rk_arch *root_of(const rk_arch *arch)
{
    while (arch->base)
        arch = arch->base;
    return arch;
}

size_t rk_arch_layers(const rk_arch *arch, const char **prefix)
{
    const rk_arch *root = root_of(arch);
    const char *mark = NULL;
    for (int i = 0; i < root->n_params && !mark; i++) {
        *prefix = root->params[i].name;
        mark = strstr(*prefix, "%d");
    }
    return mark ? (size_t)(mark - *prefix) : 0;
}

int64_t rk_arch_layer_of(const rk_arch *arch, const char *name, const char **rest)
{
    enum { DIGITS_MAX = 6 };
    const char *prefix;
    const size_t n = rk_arch_layers(arch, &prefix);
    *rest = name;
    if (n == 0 || strncmp(name, prefix, n) != 0)
        return -1;
    const size_t digits = strspn(name + n, "0123456789");
    if (digits == 0 || digits > DIGITS_MAX || name[n + digits] != '.')
        return -1;
    *rest = name + n + digits + 1;
    return strtoll(name + n, NULL, 10);
}

/* ---- building from the table ---- */

/* The table's role, but of a matrix of one row. */
static rk_role role_of(const rk_param_spec *spec, const rk_tensor *t)
{
    const bool vector = rk_roles[spec->role].any_type && rk_tensor_rows(t) == 1;
    return vector && spec->role != RK_ROLE_PLANES ? RK_ROLE_VECTOR : spec->role;
}

static rk_low_rank *pair_at(const rk_model *m, int64_t layer, int kind)
{
    return &m->pairs[layer * RK_PAIR_KINDS + kind];
}

/* Where the top or layer struct, or what stands in a matrix's place, refers to a parameter. */
static void *place_of(const rk_model *m, const rk_param_spec *spec, int64_t layer)
{
    int kind;
    void *owner = rk_param_of_model(spec) ? m->top : rk_model_layer(m, layer);
    if (rk_pair_is_part(spec, &kind))
        owner = pair_at(m, layer, kind);
    if (rk_records_is_part(spec))
        owner = &m->mixes[layer];
    return (unsigned char *)owner + spec->field;
}

rk_weight *rk_param_weight(const rk_model *m, const rk_param *p)
{
    return rk_roles[p->spec->role].weight ? place_of(m, p->spec, p->layer) : NULL;
}

/* Let the structs refer to the parameter where it lies now. */
static void refer_to(rk_model *m, rk_param *p)
{
    rk_tensor *const tensor = &p->tensor;
    if (rk_roles[p->spec->role].weight)
        rk_param_weight(m, p)->matrix = tensor;
    else
        memcpy(place_of(m, p->spec, p->layer), &tensor, sizeof tensor);
}

/* The last of the model's parameters. */
static rk_param *append_param(rk_model *m, const rk_param_spec *spec, int64_t layer)
{
    rk_param *p = &m->params[m->n_params++];
    int64_t dims[RK_MAX_DIMS];
    const int n_dims = rk_shape_dims(m->arch, &m->hp, spec->shape, dims);
    *p = (rk_param){.spec = spec, .layer = layer};
    rk_param_name(spec, layer, p->name);
    p->tensor = rk_tensor_over(spec->role == RK_ROLE_PLANES ? RK_U8 : RK_F32, n_dims, dims, NULL);
    p->role = role_of(spec, &p->tensor);
    return p;
}

/* In the place of the matrix of a row. */
static void add_pair(rk_model *m, const rk_param_spec *spec, int64_t layer, int kind)
{
    rk_low_rank *pair = pair_at(m, layer, kind);
    *pair = rk_pair_new(&m->hp);
    *(rk_weight *)place_of(m, spec, layer) =
        (rk_weight){.low_rank = pair, .adapted_as = ++m->n_weights};
    for (int part = 0; part < RK_PAIR_PARTS; part++) {
        if (part == RK_PAIR_DIAGONAL && m->hp.pair_form != RK_PAIR_ENHANCED)
            continue;
        rk_param *p = append_param(m, rk_pair_spec(kind, (rk_pair_part)part), layer);
        p->used = true;
        refer_to(m, p);
    }
}

/* In the place of ffn.key or ffn.value. */
static void add_records(rk_model *m, const rk_param_spec *spec, int64_t layer,
                        rk_records_place place)
{
    const rk_param_spec *row;
    if (place == RK_RECORDS_KEY)
        *(rk_weight *)place_of(m, spec, layer) = (rk_weight){.records = &m->mixes[layer]};
    for (int i = 0; (row = rk_records_spec(&m->hp, place, i)); i++) {
        rk_param *p = append_param(m, row, layer);
        p->used = true;
        refer_to(m, p);
    }
}

static bool has_param(const rk_model *m, const rk_param_spec *spec, int64_t layer)
{
    const rk_hparams *hp = &m->hp;
    const bool kept = rk_layer_in(&hp->kept, layer);
    switch (spec->scope) {
    case RK_SCOPE_TIED:
        return hp->tied;
    case RK_SCOPE_UNTIED:
        return !hp->tied;
    case RK_SCOPE_LN0:
        return !hp->ln0_fused;
    case RK_SCOPE_CLUSTERS:
        return hp->n_clusters > 0;
    case RK_SCOPE_NO_CLUSTERS:
        return hp->n_clusters == 0;
    case RK_SCOPE_SOME:
        return m->arch->has(hp, spec, layer);
    case RK_SCOPE_KEPT:
        return kept;
    case RK_SCOPE_MIXER:
    case RK_SCOPE_LATER:
        return !kept;
    case RK_SCOPE_TUNED:
        return !kept && hp->tuned_state;
    case RK_SCOPE_TUNED_SHIFT:
        return !kept && hp->tuned_shift;
    case RK_SCOPE_TUNED_BASIS:
        return !kept && hp->tuned_basis;
    case RK_SCOPE_MODEL:
    case RK_SCOPE_LAYER:
        break;
    }
    return true;
}

static void add_param(rk_model *m, const rk_param_spec *spec, int64_t layer)
{
    const int kind = m->hp.low_rank > 0 ? rk_pair_kind(spec) : -1;
    const rk_records_place place =
        m->hp.ffn_records ? rk_records_place_of(spec) : RK_RECORDS_NOWHERE;
    if (!has_param(m, spec, layer))
        return;
    if (place != RK_RECORDS_NOWHERE) {
        add_records(m, spec, layer, place);
        return;
    }
    if (kind >= 0 && m->hp.pair_rank[kind] > 0) {
        add_pair(m, spec, layer, kind);
        return;
    }
    rk_param *p = append_param(m, spec, layer);
    p->used = spec->scope != RK_SCOPE_LATER || layer > rk_first_mixer(&m->hp);
    if (rk_roles[spec->role].weight)
        *rk_param_weight(m, p) =
            (rk_weight){.layout = rk_roles[spec->role].layout, .adapted_as = ++m->n_weights};
    refer_to(m, p);
    if (rk_roles[spec->role].head)
        m->head = rk_param_weight(m, p);
}

/* What pairs and records have more than the matrices in whose place they are. */
enum { MORE_PARAMS = RK_PAIR_KINDS * (RK_PAIR_PARTS - 1) + RK_RECORDS_PARAMS - 2 };

static size_t n_specs(const rk_arch *arch)
{
    size_t n = 0;
    for (; arch; arch = arch->base)
        n += (size_t)arch->n_params;
    return n;
}

static void add_layer(rk_model *m, const rk_arch *arch, int64_t layer)
{
    if (arch->base)
        add_layer(m, arch->base, layer);
    for (int i = 0; i < arch->n_params; i++)
        if (!rk_param_of_model(&arch->params[i]))
            add_param(m, &arch->params[i], layer);
}

/* The order of files: what stands before the layers in the table, the layers, the rest. */
static void add_params(rk_model *m)
{
    const rk_arch *root = root_of(m->arch);
    const rk_param_spec *t = root->params;
    int first = 0, last = root->n_params;
    while (first < last && rk_param_of_model(&t[first]))
        first++;
    while (last > first && rk_param_of_model(&t[last - 1]))
        last--;
    for (int i = 0; i < first; i++)
        add_param(m, &t[i], 0);
    for (int64_t l = 0; l < m->hp.n_layer; l++)
        add_layer(m, m->arch, l);
    for (int i = last; i < root->n_params; i++)
        add_param(m, &t[i], 0);
}

rk_status rk_model_new(rk_model **out, const rk_arch *arch, const rk_hparams *hp, rk_error *err)
{
    const size_t layers = (size_t)hp->n_layer;
    rk_model *m = calloc(1, sizeof *m);
    if (m) {
        m->arch = arch;
        m->hp = *hp;
        m->top = calloc(1, arch->top_bytes);
        m->layers = calloc(layers, arch->layer_bytes);
        m->pairs = calloc(layers * RK_PAIR_KINDS, sizeof *m->pairs);
        m->mixes = calloc(layers, sizeof *m->mixes);
        m->params = calloc((layers + 1) * (n_specs(arch) + MORE_PARAMS), sizeof *m->params);
    }
    if (!m || !m->top || !m->layers || !m->pairs || !m->mixes || !m->params) {
        rk_model_close(m);
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for a model of %zu layers", layers);
    }
    add_params(m);
    m->packs = rk_packs_new(m->n_params);
    m->ranges = calloc((size_t)m->n_params, sizeof *m->ranges);
    if (!m->packs || !m->ranges || rk_state_layout_init(&m->state, m, err) != RK_OK) {
        rk_model_close(m);
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for a model of %zu layers", layers);
    }
    *out = m;
    return RK_OK;
}

rk_status rk_model_add_params(rk_model *m, const rk_param *added, int64_t n, rk_error *err)
{
    const int64_t before = m->n_params;
    rk_param *params = realloc(m->params, (size_t)(before + n) * sizeof *params);
    rk_packs *packs = rk_packs_new(before + n);
    m->params = params ? params : m->params;
    for (int64_t i = 0; params && i < before; i++)
        if (!rk_roles[params[i].role].adapter)
            refer_to(m, &params[i]);
    if (!params || !packs) {
        rk_packs_free(packs);
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for %lld parameters", (long long)n);
    }
    rk_packs_free(m->packs);
    m->packs = packs;
    for (int64_t i = 0; i < n; i++) {
        rk_param *p = &params[before + i];
        *p = added[i];
        p->role = p->spec->role;
        p->used = p->added = true;
    }
    m->n_params += n;
    return RK_OK;
}

const char *rk_model_name(const rk_model *m)
{
    return m->file ? rk_file_name(m->file) : "the model";
}

rk_param *rk_model_param(const rk_model *m, const char *name)
{
    for (int64_t i = 0; i < m->n_params; i++)
        if (!strcmp(m->params[i].name, name))
            return &m->params[i];
    return NULL;
}

void rk_model_close(rk_model *m)
{
    if (!m)
        return;
    for (int64_t i = 0; m->params && i < m->n_params; i++)
        free(m->params[i].owned);
    rk_residence_free(m->residence);
    rk_file_close(m->file);
    rk_packs_free(m->packs);
    rk_state_layout_deinit(&m->state);
    free(m->owned);
    free(m->ranges);
    free(m->state_pairs);
    free(m->params);
    free(m->layers);
    free(m->pairs);
    free(m->mixes);
    rk_clusters_free(m->clusters);
    free(m->top);
    free(m);
}

rk_status rk_param_init(const rk_model *m, int64_t i, uint64_t seed, float *to,
                        const atomic_int *abort, rk_error *err)
{
    const rk_param *p = &m->params[i];
    if (p->initial) {
        memcpy(to, p->initial, (size_t)rk_tensor_count(&p->tensor) * sizeof *to);
        return RK_OK;
    }
    const rk_init in = {.hp = &m->hp,
                        .layer = p->layer,
                        .index = i,
                        .seed = seed,
                        .rows = rk_tensor_rows(&p->tensor),
                        .cols = rk_tensor_cols(&p->tensor),
                        .x = to,
                        .arg = p->spec->init_arg,
                        .abort = abort};
    return p->spec->init(&in, err);
}

rk_status rk_model_init(rk_model *m, uint64_t seed, const atomic_int *abort, rk_error *err)
{
    rk_status st = RK_OK;
    for (int64_t i = 0; i < m->n_params && st == RK_OK; i++)
        st = rk_param_init(m, i, seed, m->params[i].tensor.data, abort, err);
    return st;
}

/* ---- facts ---- */

bool rk_model_get_size(const rk_model *m, int64_t i, rk_size *size)
{
    const rk_size_spec *s = i < 0 || i > INT_MAX ? NULL : rk_size_at(m->arch, (int)i);
    if (s)
        *size = (rk_size){s->name, rk_size_value(s, &m->hp)};
    return s != NULL;
}

void rk_model_get_info(const rk_model *m, rk_model_info *info)
{
    *info = (rk_model_info){.arch = m->arch->name,
                            .n_vocab = m->hp.n_vocab,
                            .n_embd = m->hp.n_embd,
                            .n_layer = m->hp.n_layer,
                            .n_head = m->hp.n_head,
                            .head_size = m->hp.head_size,
                            .dim_ffn = m->hp.dim_ffn,
                            .ctx_len = m->ctx_len,
                            .fingerprint = m->fingerprint};
    info->state_bytes = m->state.count * (int64_t)sizeof(float);
    for (int64_t i = 0; i < m->n_params; i++)
        if (m->params[i].tensor.data)
            info->n_params += rk_tensor_count(&m->params[i].tensor);
}

/* Of a parameter as the file has it, of a table one row; one that is the head, too, is read whole. */
static int64_t file_bytes(const rk_param *p)
{
    const int64_t all = p->used ? (int64_t)rk_tensor_bytes(&p->tensor) : 0;
    return rk_param_is_table(p) && !rk_param_is_product(p) ? all / p->tensor.dims[0] : all;
}

static int64_t state_bytes(const rk_model *m)
{
    return m->state.count * (int64_t)sizeof(float);
}

int64_t rk_model_bytes_per_token(const rk_model *m)
{
    int64_t bytes = 2 * state_bytes(m);
    for (int64_t i = 0; i < m->n_params; i++)
        bytes +=
            m->params[i].tensor.packed ? rk_model_pack_bytes_read(m, i) : file_bytes(&m->params[i]);
    return bytes;
}

int64_t rk_model_lean_bytes_per_token(const rk_model *m)
{
    int64_t bytes = 2 * state_bytes(m);
    for (int64_t i = 0; i < m->n_params; i++) {
        const rk_param *p = &m->params[i];
        const int64_t narrow = rk_ceil_div(rk_tensor_count(&p->tensor) * 34, 32);
        bytes += rk_param_is_low_rank(p) ? rk_min_i64(narrow, file_bytes(p)) : file_bytes(p);
    }
    return bytes;
}

int64_t rk_model_products(const rk_model *m, int64_t *head)
{
    int64_t n = 0;
    for (int64_t i = 0; i < m->n_params; i++)
        if (rk_param_is_product(&m->params[i]) && !rk_roles[m->params[i].role].head)
            n += rk_tensor_count(&m->params[i].tensor);
    if (head)
        *head = rk_tensor_count(m->head->matrix);
    return n;
}
