/* tuned_file.c: a file whose matrices lie the other way round is the same file with a mark at each of them,
 * so that nothing is copied to read it. */
#include "infer/tuned_file.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "base/str.h"
#include "format/scheme.h"
#include "infer/session.h"
#include "io/pth.h"

rk_tuned_layout rk_tuned_layout_of(const char *path)
{
    static const char *const key_value[] = {".state", ".st"};
    for (size_t i = 0; i < RK_COUNT(key_value); i++)
        if (rk_ends_with(path, key_value[i]))
            return RK_TUNED_KEY_VALUE;
    return RK_TUNED_VALUE_KEY;
}

void rk_tuned_transpose(float *x, int64_t n_head, int64_t n)
{
    for (int64_t h = 0; h < n_head; h++, x += n * n)
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < i; j++) {
                const float above = x[j * n + i];
                x[j * n + i] = x[i * n + j];
                x[i * n + j] = above;
            }
}

/* A tensor of LoRA, MiSS, Bone or DiSHA, as any program calls it. */
static bool is_adapters(const char *name)
{
    static const char *const words[] = {".lora_A", ".disha", ".bone", ".miss_block"};
    for (size_t i = 0; i < RK_COUNT(words); i++)
        if (strstr(name, words[i]))
            return true;
    return false;
}

bool rk_file_holds_tuned_states(const rk_file *f)
{
    bool any = false, adapter = false;
    for (int64_t i = 0; i < rk_file_count(f); i++) {
        any = any || rk_state_is_tuned_name(rk_file_at(f, i)->name);
        adapter = adapter || is_adapters(rk_file_at(f, i)->name);
    }
    return rk_file_is_tuned_state(f) || (any && adapter);
}

/* ---- reading: (key, value), and beside an adapter ---- */

/* The states of f, whose matrices are exchanged or stay; what else is in it is left out. */
static rk_status take_states(rk_file *out, const rk_file *f, bool exchange, rk_error *err)
{
    rk_status st = RK_OK;
    for (int64_t i = 0; i < rk_file_count(f) && st == RK_OK; i++) {
        rk_file_tensor t = *rk_file_at(f, i);
        if (!rk_state_is_tuned_name(t.name))
            continue;
        if (exchange && t.n_dims == 3 && rk_ends_with(t.name, ".time_state")) {
            const int64_t rows = t.dims[1];
            t.dims[1] = t.dims[2];
            t.dims[2] = rows;
            t.exchanged = !t.exchanged;
        }
        st = rk_file_add(out, &t, err);
    }
    return st == RK_OK ? rk_file_finish(out, err) : st;
}

/* The states of a file as a file; takes it over, whatever the result. */
static rk_status states_of(rk_file **f, bool exchange, rk_error *err)
{
    rk_file *out = NULL;
    rk_status st = rk_file_new(&out, rk_file_container(*f), rk_file_name(*f), err);
    if (st == RK_OK)
        st = take_states(out, *f, exchange, err);
    if (st == RK_OK)
        st = rk_file_own(out, *f, err);
    if (st != RK_OK) {
        rk_file_close(out);
        rk_file_close(*f);
        out = NULL;
    }
    *f = out;
    return st;
}

/* ---- reading: a file without a header ---- */

/* Sizes of the states that a model's streams begin with. */
typedef struct sizes {
    int64_t n_layer, n_embd, n_head, head_size;
} sizes;

static int64_t floats_of(const sizes *z)
{
    return z->n_layer * (2 * z->n_embd + z->n_head * z->head_size * z->head_size);
}

/* False: the model's state is no matrix for each head of every layer. */
static bool sizes_of(const rk_model *m, sizes *z)
{
    const int64_t n = m->hp.head_size;
    *z = (sizes){m->hp.n_layer, m->hp.n_embd, n > 0 ? m->hp.n_embd / n : 0, n};
    for (int i = 0; i < m->state.n_parts; i++)
        if (m->state.parts[i].spec->kind == RK_STATE_MATRIX)
            return z->n_head > 0 && rk_n_kept(&m->hp) == 0;
    return false;
}

static bool all_zero(const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (x[i] != 0.0f)
            return false;
    return true;
}

static rk_status add_state(rk_file *out, const char *kind, int64_t layer, int n_dims,
                           const int64_t *dims, const float *data, rk_error *err)
{
    char name[RK_PARAM_NAME_MAX];
    rk_file_tensor t = {.name = name, .dtype = RK_F32, .n_dims = n_dims, .data = data};
    snprintf(name, sizeof name, "blocks.%" PRId64 ".att.%s", layer, kind);
    memcpy(t.dims, dims, (size_t)n_dims * sizeof *dims);
    rk_file_shape_bytes(RK_F32, n_dims, dims, &t.bytes);
    return rk_file_add(out, &t, err);
}

/* x: all floats of the file. The row of a shift that no layer has is left out. */
static rk_status add_layers(rk_file *out, const sizes *z, const float *x, rk_error *err)
{
    const int64_t c = z->n_embd, n = z->head_size, each = floats_of(z) / z->n_layer;
    rk_status st = RK_OK;
    bool shift = false;
    for (int64_t l = 0; l < z->n_layer; l++) {
        shift = shift || !all_zero(x + l * each, c);
        if (!all_zero(x + l * each + c, c))
            return rk_fail(
                err, RK_ERR_FORMAT,
                "%s: layer %" PRId64
                " has a token before the first one in its channel mix: a state in the middle "
                "of a text, expected one that texts begin with",
                rk_file_name(out), l);
    }
    for (int64_t l = 0; l < z->n_layer && st == RK_OK; l++, x += each) {
        st = add_state(out, "time_state", l, 3, (const int64_t[]){z->n_head, n, n}, x + 2 * c, err);
        if (st == RK_OK && shift)
            st = add_state(out, "ts_state", l, 1, &c, x, err);
    }
    return st == RK_OK ? rk_file_finish(out, err) : st;
}

static rk_status read_flat(rk_file *out, const rk_map *map, const rk_model *m, rk_error *err)
{
    sizes z;
    if (!m)
        return rk_fail(err, RK_ERR_ARG,
                       "%s: such a file does not show its sizes; -m names the model", map->name);
    if (!sizes_of(m, &z))
        return rk_fail(err, RK_ERR_UNSUPPORTED, "%s: there are no such files of %s models",
                       map->name, m->arch->name);
    if (map->size != (size_t)floats_of(&z) * sizeof(float))
        return rk_fail(err, RK_ERR_FORMAT, "%s: %zu bytes, the states of the model are %zu",
                       map->name, map->size, (size_t)floats_of(&z) * sizeof(float));
    float *x = rk_file_alloc(out, map->size, err);
    if (!x)
        return RK_ERR_NOMEM;
    memcpy(x, map->data, map->size);
    const rk_status st = rk_map_check(map, err);
    return st == RK_OK ? add_layers(out, &z, x, err) : st;
}

static rk_status open_flat(rk_file **out, const char *path, const rk_model *m, rk_error *err)
{
    rk_map map;
    rk_status st = rk_map_open(&map, path, err);
    if (st != RK_OK)
        return st;
    st = rk_file_new(out, "rwkv.cpp", path, err);
    if (st == RK_OK)
        st = read_flat(*out, &map, m, err);
    if (st != RK_OK) {
        rk_file_close(*out);
        *out = NULL;
    }
    rk_map_close(&map);
    return st;
}

static rk_status open_one(rk_file **out, const char *path, rk_tuned_layout layout,
                          const rk_model *m, rk_error *err)
{
    if (layout == RK_TUNED_RWKV_CPP)
        return open_flat(out, path, m, err);
    const rk_status st = rk_file_open(out, path, err);
    if (layout == RK_TUNED_BY_NAME)
        layout = rk_tuned_layout_of(path);
    if (st != RK_OK || !rk_file_holds_tuned_states(*out) ||
        (layout != RK_TUNED_KEY_VALUE && rk_file_is_tuned_state(*out)))
        return st;
    return states_of(out, layout == RK_TUNED_KEY_VALUE, err);
}

/* ---- sums ---- */

/* The values of a tensor of states in memory of out, matrices in this order. */
static rk_status read_values(rk_file *out, const rk_file_tensor *t, bool key_value, float **values,
                             rk_error *err)
{
    const bool matrices = t->n_dims == 3 && t->dims[1] == t->dims[2];
    if (!rk_state_is_tuned_name(t->name) || !rk_file_is_float(t) || (t->n_dims != 1 && !matrices))
        return rk_fail(err, RK_ERR_FORMAT, "%s: tensor '%s' is no initial state", rk_file_name(out),
                       t->name);
    const int64_t n = rk_file_tensor_count(t);
    float *x = *values = rk_file_alloc(out, (size_t)n * sizeof *x, err);
    if (!x)
        return RK_ERR_NOMEM;
    rk_file_floats(t, 0, n, x);
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return rk_fail(err, RK_ERR_FORMAT, "%s: tensor '%s' holds a value that is not finite",
                           rk_file_name(out), t->name);
    if (matrices && t->exchanged != key_value)
        rk_tuned_transpose(x, t->dims[0], t->dims[1]);
    return RK_OK;
}

/* "A:0.5" of a list: the path into room, and the factor, 1 where there is none. */
static rk_status take_term(const char *term, size_t n, char *path, size_t size, double *factor,
                           rk_error *err)
{
    char *colon, *end = NULL;
    if (n >= size)
        return rk_fail(err, RK_ERR_ARG, "a state's name of more than %zu bytes", size);
    snprintf(path, size, "%.*s", (int)n, term);
    *factor = 1.0;
    colon = strrchr(path, ':');
    if (!colon || access(path, F_OK) == 0)
        return RK_OK;
    *factor = strtod(colon + 1, &end);
    if (end == colon + 1 || *end || !isfinite(*factor))
        return rk_fail(err, RK_ERR_ARG, "%s: no such file, and no factor as in FILE:0.5", path);
    *colon = '\0';
    return RK_OK;
}

/* Add factor times t to the tensor of its name in out; the first term makes it. */
static rk_status add_tensor(rk_file *out, bool first, const rk_file_tensor *t, double factor,
                            const rk_file *from, rk_error *err)
{
    const rk_file_tensor *sum = first ? NULL : rk_file_find(out, t->name);
    float *to = NULL, *x = NULL;
    rk_status st = read_values(out, t, false, &x, err);
    if (st != RK_OK)
        return st;
    const int64_t n = rk_file_tensor_count(t);
    if (!first && (!sum || rk_file_tensor_count(sum) != n || sum->n_dims != t->n_dims))
        return rk_fail(err, RK_ERR_FORMAT, "%s: tensor '%s' is not that of the other states",
                       rk_file_name(from), t->name);
    if (sum)
        memcpy(&to, &sum->data, sizeof to); /* made here */
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(factor * (double)x[i] + (to ? (double)to[i] : 0.0));
    if (to) {
        memcpy(to, x, (size_t)n * sizeof *x);
        return RK_OK;
    }
    rk_file_tensor made = *t;
    made.dtype = RK_F32;
    made.data = x;
    made.bytes = (size_t)n * sizeof *x;
    made.exchanged = false;
    return rk_file_add(out, &made, err);
}

static rk_status add_term(rk_file *out, bool first, const rk_file *f, double factor, rk_error *err)
{
    rk_status st = RK_OK;
    if (!rk_file_is_tuned_state(f) || rk_file_is_kernel_state(f))
        return rk_fail(err, RK_ERR_FORMAT, "%s: only tuned states can be scaled and added",
                       rk_file_name(f));
    if (!first && rk_file_count(f) != rk_file_count(out))
        return rk_fail(err, RK_ERR_FORMAT, "%s: other tensors than the states before it",
                       rk_file_name(f));
    for (int64_t i = 0; i < rk_file_count(f) && st == RK_OK; i++)
        st = add_tensor(out, first, rk_file_at(f, i), factor, f, err);
    return st == RK_OK && first ? rk_file_finish(out, err) : st;
}

static rk_status open_sum(rk_file **out, const char *terms, rk_tuned_layout layout,
                          const rk_model *m, rk_error *err)
{
    char path[4096];
    rk_status st = rk_file_new(out, "states", terms, err);
    bool first = true;
    for (const char *at = terms; *at && st == RK_OK; at += strspn(at, ",")) {
        const size_t n = strcspn(at, ",");
        rk_file *f = NULL;
        double factor;
        st = take_term(at, n, path, sizeof path, &factor, err);
        if (st == RK_OK)
            st = open_one(&f, path, layout, m, err);
        if (st == RK_OK)
            st = add_term(*out, first, f, factor, err);
        if (st == RK_OK)
            st = rk_file_check(f, err);
        rk_file_close(f);
        first = false;
        at += n;
    }
    return st;
}

rk_status rk_tuned_file_open(rk_file **out, const char *path, rk_tuned_layout layout,
                             const rk_model *m, rk_error *err)
{
    *out = NULL;
    if (access(path, F_OK) == 0 || !strpbrk(path, ",:"))
        return open_one(out, path, layout, m, err);
    return open_sum(out, path, layout, m, err);
}

/* ---- writing ---- */

/* In place, in the front half of the memory. */
static rk_status to_half(const rk_file *out, const char *name, float *x, int64_t n, rk_error *err)
{
    for (int64_t i = 0; i < n; i++) {
        const uint16_t half = rk_f32_to_f16(x[i]);
        if (!isfinite(rk_f16_to_f32(half)))
            return rk_fail(err, RK_ERR_FORMAT, "%s: tensor '%s' holds %g, too large for f16",
                           rk_file_name(out), name, (double)x[i]);
        memcpy((char *)x + (size_t)i * sizeof half, &half, sizeof half);
    }
    return RK_OK;
}

static rk_status add_written(rk_file *out, const rk_file_tensor *from, bool key_value, bool half,
                             rk_error *err)
{
    float *x = NULL;
    rk_file_tensor t = *from;
    const int64_t n = rk_file_tensor_count(from);
    rk_status st = read_values(out, from, key_value, &x, err);
    if (st == RK_OK && half)
        st = to_half(out, from->name, x, n, err);
    t.dtype = half ? RK_F16 : RK_F32;
    t.bytes = (size_t)n * rk_dtype_bytes(t.dtype);
    t.data = x;
    t.exchanged = false;
    return st == RK_OK ? rk_file_add(out, &t, err) : st;
}

static rk_status write_tensors(const rk_file *out, const char *path, bool overwrite, rk_error *err)
{
    const rk_pair pairs[] = {{"format", "pt"}};
    rk_file_tensor *rows = calloc((size_t)rk_file_count(out) + 1, sizeof *rows);
    const rk_file_contents c = {rows, rk_file_count(out), pairs, RK_COUNT(pairs), NULL, NULL};
    if (!rows)
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", path);
    for (int64_t i = 0; i < c.n_tensors; i++)
        rows[i] = *rk_file_at(out, i);
    const rk_status st = rk_ends_with(path, ".pth") || rk_ends_with(path, ".pt")
                             ? rk_pth_write(path, &c, overwrite, err)
                             : rk_st_write(path, &c, overwrite, NULL, err);
    free(rows);
    return st;
}

/* A layer of a file without a header: the rows before the first token, then the matrices. */
static rk_status write_layer(rk_out *out, rk_file *memory, const rk_file *f, int64_t layer,
                             rk_error *err)
{
    char name[RK_PARAM_NAME_MAX];
    float *x = NULL, *shift = NULL;
    snprintf(name, sizeof name, "blocks.%" PRId64 ".att.time_state", layer);
    const rk_file_tensor *t = rk_file_find(f, name);
    if (!t || t->n_dims != 3)
        return rk_fail(err, RK_ERR_UNSUPPORTED,
                       "%s: no '%s' of a matrix for each head, which such a file needs",
                       rk_file_name(f), name);
    const int64_t c = t->dims[0] * t->dims[1];
    rk_status st = read_values(memory, t, false, &x, err);
    snprintf(name, sizeof name, "blocks.%" PRId64 ".att.ts_state", layer);
    const rk_file_tensor *ts = rk_file_find(f, name);
    if (st == RK_OK && ts)
        st = read_values(memory, ts, false, &shift, err);
    if (st == RK_OK && ts && rk_file_tensor_count(ts) != c)
        st = rk_fail(err, RK_ERR_FORMAT, "%s: '%s' has not the width of the matrices",
                     rk_file_name(f), name);
    float *zeros = st == RK_OK ? rk_file_alloc(memory, (size_t)c * sizeof *zeros, err) : NULL;
    if (!zeros)
        return st == RK_OK ? RK_ERR_NOMEM : st;
    memset(zeros, 0, (size_t)c * sizeof *zeros);
    rk_out_write(out, shift ? shift : zeros, (size_t)c * sizeof *zeros);
    rk_out_write(out, zeros, (size_t)c * sizeof *zeros);
    rk_out_write(out, x, (size_t)rk_file_tensor_count(t) * sizeof *x);
    return RK_OK;
}

static rk_status write_flat(rk_file *memory, const rk_file *f, const char *path, bool overwrite,
                            rk_error *err)
{
    rk_out *out = NULL;
    int64_t n_matrices = 0;
    rk_status st = rk_out_open(&out, path, overwrite, err);
    for (int64_t i = 0; i < rk_file_count(f); i++)
        n_matrices += rk_ends_with(rk_file_at(f, i)->name, ".time_state");
    for (int64_t l = 0; l < n_matrices && st == RK_OK; l++)
        st = write_layer(out, memory, f, l, err);
    if (st == RK_OK && n_matrices == 0)
        st = rk_fail(err, RK_ERR_FORMAT, "%s: holds no initial states", rk_file_name(f));
    if (st == RK_OK)
        return rk_out_commit(out, err);
    rk_out_abort(out);
    return st;
}

rk_status rk_tuned_file_write(const rk_file *f, const char *path, rk_tuned_layout layout, bool half,
                              bool overwrite, rk_error *err)
{
    rk_file *out = NULL;
    rk_status st = rk_file_new(&out, "safetensors", rk_file_name(f), err);
    if (layout == RK_TUNED_BY_NAME)
        layout = rk_tuned_layout_of(path);
    if (st == RK_OK && layout == RK_TUNED_RWKV_CPP)
        st = write_flat(out, f, path, overwrite, err);
    else {
        for (int64_t i = 0; i < rk_file_count(f) && st == RK_OK; i++)
            st = add_written(out, rk_file_at(f, i), layout == RK_TUNED_KEY_VALUE, half, err);
        if (st == RK_OK)
            st = write_tensors(out, path, overwrite, err);
    }
    rk_file_close(out);
    return st;
}
