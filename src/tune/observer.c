/* observer.c: the maps of an observer as parameters, as a file, and as what they are: products with
 * states. Training computes the same products with operations (train/task_observer.c). */
#include "tune/observer.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/format.h"
#include "io/path.h"
#include "io/safetensors.h"

static const struct {
    rk_param_spec spec;
    bool mix; /* (L, H, H'), else (L, H, N, N) */
} maps[RK_OBSERVER_MAPS] = {
    [RK_OBSERVER_LEFT] = {{.name = "observer.left", .role = RK_ROLE_ADAPTER, .lr_scale = 1}, false},
    [RK_OBSERVER_RIGHT] = {{.name = "observer.right", .role = RK_ROLE_ADAPTER, .lr_scale = 1},
                           false},
    [RK_OBSERVER_MIX] = {{.name = "observer.mix", .role = RK_ROLE_ADAPTER, .lr_scale = 1}, true},
    [RK_OBSERVER_CONSTANT] = {{.name = "observer.constant", .role = RK_ROLE_ADAPTER, .lr_scale = 1},
                              false},
};

/* ---- sizes ---- */

/* The part of every layer's state that is matrices of heads; -1: there is none. */
static int matrix_part(const rk_model *m)
{
    for (int i = 0; i < m->arch->n_state && rk_n_kept(&m->hp) == 0; i++) {
        const rk_state_entry *p = &m->state.parts[rk_state_part_at(m, 0, i)];
        const rk_param_spec *spec = rk_state_tuned_param(m->arch, p->spec);
        if (spec && spec->scope == RK_SCOPE_TUNED && p->n_dims == 3)
            return i;
    }
    return -1;
}

rk_status rk_observer_of(rk_observer *o, const rk_model *teacher, const rk_model *own,
                         rk_error *err)
{
    const int part = matrix_part(teacher);
    if (part < 0)
        return rk_fail(err, RK_ERR_UNSUPPORTED,
                       "an observer tells states that are matrices, not those of %s",
                       teacher->arch->name);
    if (own->arch != teacher->arch)
        return rk_fail(err, RK_ERR_ARG, "the observer is an %s model, its teacher is %s",
                       own->arch->name, teacher->arch->name);
    const int64_t *of = teacher->state.parts[part].dims, *mine = own->state.parts[part].dims;
    if (of[1] != mine[1])
        return rk_fail(err, RK_ERR_ARG,
                       "the heads of the observer have %" PRId64 " channels, those of its teacher "
                       "%" PRId64,
                       mine[1], of[1]);
    *o = (rk_observer){.layers = teacher->hp.n_layer,
                       .heads = of[0],
                       .size = of[1],
                       .own_layers = own->hp.n_layer,
                       .own_heads = mine[0],
                       .part = part};
    return RK_OK;
}

static int map_dims(const rk_observer *o, int map, int64_t *dims)
{
    dims[0] = o->layers;
    dims[1] = o->heads;
    dims[2] = maps[map].mix ? o->own_heads : o->size;
    dims[3] = o->size;
    return maps[map].mix ? 3 : 4;
}

static int64_t map_count(const rk_observer *o, int map)
{
    int64_t dims[RK_MAX_DIMS], n = 1;
    const int n_dims = map_dims(o, map, dims);
    for (int d = 0; d < n_dims; d++)
        n *= dims[d];
    return n;
}

/* ---- parameters ---- */

static void begin_map(const rk_observer *o, int map, float *x)
{
    const int64_t n = o->size, square = n * n, count = map_count(o, map);
    const bool unit = map == RK_OBSERVER_LEFT || map == RK_OBSERVER_RIGHT;
    for (int64_t i = 0; i < count; i++)
        x[i] = maps[map].mix                     ? 1.0f / (float)o->own_heads
               : unit && i % square / n == i % n ? 1.0f
                                                 : 0.0f;
}

rk_status rk_observer_attach(const rk_observer *o, rk_model *own, rk_error *err)
{
    rk_param added[RK_OBSERVER_MAPS] = {{.spec = NULL}};
    bool ok = true;
    for (int map = 0; map < RK_OBSERVER_MAPS && ok; map++) {
        rk_param *p = &added[map];
        int64_t dims[RK_MAX_DIMS];
        const int n = map_dims(o, map, dims);
        float *x = calloc((size_t)map_count(o, map), sizeof *x);
        *p = (rk_param){.spec = &maps[map].spec, .initial = x, .owned = x};
        snprintf(p->name, sizeof p->name, "%s", maps[map].spec.name);
        p->tensor = rk_tensor_over(RK_F32, n, dims, NULL);
        ok = x != NULL;
        if (ok)
            begin_map(o, map, x);
    }
    const rk_status st = ok ? rk_model_add_params(own, added, RK_OBSERVER_MAPS, err)
                            : rk_fail(err, RK_ERR_NOMEM, "out of memory for maps of states");
    for (int map = 0; map < RK_OBSERVER_MAPS && st != RK_OK; map++)
        free(added[map].owned);
    return st;
}

rk_param *rk_observer_param(const rk_model *own, rk_observer_map map)
{
    return rk_model_param(own, maps[map].spec.name);
}

/* ---- the file ---- */

static const char file_name[] = "observer.safetensors", teacher_key[] = "teacher";

rk_status rk_observer_save(const rk_model *own, uint64_t teacher, const char *dir, rk_error *err)
{
    rk_file_tensor tensors[RK_OBSERVER_MAPS];
    char text[24];
    const rk_pair meta = {teacher_key, text};
    const rk_file_contents c = {
        .tensors = tensors, .n_tensors = RK_OBSERVER_MAPS, .meta = &meta, .n_meta = 1};
    char *path = rk_path_join(dir, file_name);
    if (!path)
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", dir);
    snprintf(text, sizeof text, "%016" PRIx64, teacher);
    for (int map = 0; map < RK_OBSERVER_MAPS; map++) {
        const rk_param *p = rk_observer_param(own, (rk_observer_map)map);
        tensors[map] = (rk_file_tensor){.name = p->name,
                                        .dtype = RK_F32,
                                        .n_dims = p->tensor.n_dims,
                                        .data = p->tensor.data,
                                        .bytes = rk_tensor_bytes(&p->tensor)};
        memcpy(tensors[map].dims, p->tensor.dims, sizeof p->tensor.dims);
    }
    const rk_status st = rk_st_write(path, &c, true, NULL, err);
    free(path);
    return st;
}

/* An observer that has been opened. */
typedef struct told {
    rk_observer sizes;
    rk_model *own;
    rk_file *file;
    const float *maps[RK_OBSERVER_MAPS];
} told;

static rk_status check_map(const told *t, int map, const rk_file_tensor *found, rk_error *err)
{
    const char *file = rk_file_name(t->file), *name = maps[map].spec.name;
    int64_t dims[RK_MAX_DIMS];
    const int n = map_dims(&t->sizes, map, dims);
    bool fits = found && found->dtype == RK_F32 && found->n_dims == n;
    for (int d = 0; fits && d < n; d++)
        fits = found->dims[d] == dims[d];
    if (!fits)
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: tensor '%s' is missing or does not fit the two models", file, name);
    for (int64_t i = 0; i < map_count(&t->sizes, map); i++)
        if (!isfinite(((const float *)found->data)[i]))
            return rk_fail(err, RK_ERR_FORMAT, "%s: tensor '%s' has a value that is not finite",
                           file, name);
    return RK_OK;
}

static rk_status read_maps(told *t, const rk_model *teacher, rk_error *err)
{
    char text[24];
    const char *made_for = rk_file_meta(t->file, teacher_key);
    snprintf(text, sizeof text, "%016" PRIx64, teacher->fingerprint);
    if (!made_for || strcmp(made_for, text) != 0)
        return rk_fail(err, RK_ERR_ARG,
                       "%s: is the observer of a model with fingerprint %.32s, this one has %s",
                       rk_file_name(t->file), made_for ? made_for : "unknown", text);
    rk_status st = rk_observer_of(&t->sizes, teacher, t->own, err);
    for (int map = 0; map < RK_OBSERVER_MAPS && st == RK_OK; map++) {
        const rk_file_tensor *found = rk_file_find(t->file, maps[map].spec.name);
        st = check_map(t, map, found, err);
        t->maps[map] = st == RK_OK ? found->data : NULL;
    }
    return st;
}

static rk_status open_told(told *t, const char *dir, const rk_model *teacher, rk_error *err)
{
    char *model = rk_path_join(dir, "model.safetensors"), *file = rk_path_join(dir, file_name);
    rk_status st = model && file ? RK_OK : rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", dir);
    if (st == RK_OK)
        st = rk_file_open_single(&t->file, file, err);
    if (st == RK_OK)
        st = rk_model_open(&t->own, model, err);
    if (st == RK_OK)
        st = read_maps(t, teacher, err);
    free(model);
    free(file);
    return st;
}

/* ---- telling a state ---- */

/* c (n, n) = a b. */
static void product(int64_t n, const float *a, const float *b, float *c)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0.0;
            for (int64_t k = 0; k < n; k++)
                sum += (double)a[i * n + k] * (double)b[k * n + j];
            c[i * n + j] = (float)sum;
        }
}

/* Head h of layer l from the heads `own` (H', N, N); room for two matrices more. */
static void tell_head(const told *t, int64_t l, int64_t h, const float *own, float *room, float *to)
{
    const rk_observer *o = &t->sizes;
    const int64_t square = o->size * o->size, at = l * o->heads + h;
    for (int64_t i = 0; i < square; i++) {
        double sum = 0.0;
        for (int64_t k = 0; k < o->own_heads; k++)
            sum += (double)t->maps[RK_OBSERVER_MIX][at * o->own_heads + k] *
                   (double)own[k * square + i];
        room[i] = (float)sum;
    }
    product(o->size, t->maps[RK_OBSERVER_LEFT] + at * square, room, room + square);
    product(o->size, room + square, t->maps[RK_OBSERVER_RIGHT] + at * square, to);
    for (int64_t i = 0; i < square; i++)
        to[i] += t->maps[RK_OBSERVER_CONSTANT][at * square + i];
}

/* own: the observer's state; all (of the teacher) has zeros elsewhere. */
static void tell_all(const told *t, const rk_model *teacher, const float *own, float *room,
                     float *all)
{
    const rk_observer *o = &t->sizes;
    for (int64_t l = 0; l < o->layers; l++) {
        const rk_state_entry *to = &teacher->state.parts[rk_state_part_at(teacher, l, o->part)];
        const rk_state_entry *from =
            &t->own->state.parts[rk_state_part_at(t->own, rk_observer_layer(o, l), o->part)];
        for (int64_t h = 0; h < o->heads; h++)
            tell_head(t, l, h, own + from->at, room, all + to->at + h * o->size * o->size);
    }
}

static rk_status read_tokens(const told *t, rk_engine *e, const int32_t *tokens, int64_t n,
                             float *own, size_t bytes, rk_error *err)
{
    rk_session *s = NULL;
    rk_status st = rk_session_new(&s, t->own, e, err);
    if (st == RK_OK)
        st = rk_session_eval(s, tokens, n, NULL, err);
    if (st == RK_OK)
        st = rk_session_state_get(s, own, bytes, err);
    rk_session_free(s);
    return st;
}

static rk_status tell(const told *t, const rk_model *teacher, rk_engine *e, const int32_t *tokens,
                      int64_t n, const char *path, rk_error *err)
{
    const size_t bytes = rk_state_layout_bytes(&t->own->state, 0);
    float *own = malloc(bytes), *all = calloc(1, rk_state_layout_bytes(&teacher->state, 0));
    float *room = malloc(2 * (size_t)(t->sizes.size * t->sizes.size) * sizeof *room);
    rk_status st =
        own && all && room ? RK_OK : rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", path);
    if (st == RK_OK)
        st = read_tokens(t, e, tokens, n, own, bytes, err);
    if (st == RK_OK) {
        tell_all(t, teacher, own, room, all);
        st = rk_state_write(teacher, all, path, err);
    }
    free(own);
    free(all);
    free(room);
    return st;
}

rk_status rk_observer_state(const char *dir, const rk_model *teacher, rk_engine *e,
                            const int32_t *tokens, int64_t n, const char *path, rk_error *err)
{
    told t = {.own = NULL};
    rk_status st = open_told(&t, dir, teacher, err);
    if (st == RK_OK)
        st = tell(&t, teacher, e, tokens, n, path, err);
    rk_model_close(t.own);
    rk_file_close(t.file);
    return st;
}
