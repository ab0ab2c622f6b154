/* ranges.c: the four vectors of a matrix of bytes: their names, lengths and places. */
#include "format/ranges.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "format/scheme.h"

/* Endings of names; which have a number for each output, the others one for each input. */
static const struct {
    const char *ending;
    bool of_outputs;
} parts[RK_RANGES_PARTS] = {{"_mx", true}, {"_rx", true}, {"_my", false}, {"_ry", false}};

bool rk_ranges_may(const rk_param *p)
{
    return p->used && rk_roles[p->role].ranged && p->tensor.n_dims == 2;
}

static const rk_file_tensor *in_file(const rk_model *m, const char *name)
{
    return m->file ? rk_file_find(m->file, name) : NULL;
}

bool rk_ranges_has(const rk_model *m, const rk_param *p)
{
    const rk_file_tensor *t = p->trained ? NULL : in_file(m, p->name);
    return rk_ranges_may(p) &&
           (p->tensor.dtype == RK_RANGED || (!p->tensor.data && t && t->dtype == RK_U8));
}

bool rk_model_has_ranges(const rk_model *m)
{
    bool any = false;
    for (int64_t i = 0; i < m->n_params && !any; i++)
        any = rk_ranges_has(m, &m->params[i]);
    return any;
}

static int64_t length_of(const rk_param *p, int part)
{
    return p->tensor.dims[parts[part].of_outputs ? 0 : 1];
}

static void name_of(const rk_param *p, int part, char name[RK_RANGES_NAME_MAX])
{
    snprintf(name, RK_RANGES_NAME_MAX, "%s%s", p->name, parts[part].ending);
}

int64_t rk_ranges_floats(const rk_param *p)
{
    return 2 * (p->tensor.dims[0] + p->tensor.dims[1]);
}

void rk_ranges_place(rk_model *m, int64_t i, float *at)
{
    rk_param *p = &m->params[i];
    rk_ranges *r = &m->ranges[i];
    r->mx = at;
    r->rx = r->mx + p->tensor.dims[0];
    r->my = r->rx + p->tensor.dims[0];
    r->ry = r->my + p->tensor.dims[1];
    p->tensor.dtype = RK_RANGED;
    p->tensor.ranges = r;
}

/* ---- from a file ---- */

/* Is it a vector of n floats, whatever its dimensions of one? */
static bool is_vector(const rk_file_tensor *t, int64_t n)
{
    return rk_file_is_float(t) && !t->exchanged && rk_file_tensor_count(t) == n;
}

rk_status rk_ranges_check(const rk_model *m, const rk_param *p, rk_error *err)
{
    for (int i = 0; i < RK_RANGES_PARTS; i++) {
        char name[RK_RANGES_NAME_MAX], found[64];
        name_of(p, i, name);
        const rk_file_tensor *t = in_file(m, name);
        if (!t)
            return rk_fail(err, RK_ERR_FORMAT,
                           "%s: tensor '%s' is u8, and there is no '%s' beside it",
                           rk_file_name(m->file), p->name, name);
        rk_tensor shape = {.dtype = t->dtype, .n_dims = (int)rk_min_i64(t->n_dims, RK_MAX_DIMS)};
        memcpy(shape.dims, t->dims, (size_t)shape.n_dims * sizeof *shape.dims);
        if (!is_vector(t, length_of(p, i)))
            return rk_fail(err, RK_ERR_FORMAT,
                           "%s: tensor '%s' is %s, expected (%" PRId64 ") of a float type",
                           rk_file_name(m->file), name,
                           rk_tensor_describe(&shape, found, sizeof found), length_of(p, i));
    }
    return RK_OK;
}

rk_status rk_ranges_take(rk_model *m, int64_t i, float *at, rk_error *err)
{
    const rk_param *p = &m->params[i];
    float *to = at;
    int64_t n = 0;
    for (int k = 0; k < RK_RANGES_PARTS; k++, to += n) {
        char name[RK_RANGES_NAME_MAX];
        n = length_of(p, k);
        name_of(p, k, name);
        const rk_file_tensor *t = in_file(m, name);
        rk_file_floats(t, 0, n, to);
        rk_file_drop_around(m->file, t->data, t->bytes);
        for (int64_t e = 0; e < n; e++)
            if (!isfinite(to[e]))
                return rk_fail(err, RK_ERR_FORMAT,
                               "%s: tensor '%s' holds a number that is not finite",
                               rk_file_name(m->file), name);
    }
    rk_ranges_place(m, i, at);
    return RK_OK;
}

bool rk_ranges_knows(const rk_model *m, const char *name)
{
    char matrix[RK_RANGES_NAME_MAX];
    const size_t n = strlen(name);
    for (int i = 0; i < RK_RANGES_PARTS; i++) {
        const size_t e = strlen(parts[i].ending);
        if (n <= e || n >= sizeof matrix || strcmp(name + n - e, parts[i].ending) != 0)
            continue;
        snprintf(matrix, sizeof matrix, "%.*s", (int)(n - e), name);
        const rk_param *p = rk_model_param(m, matrix);
        const rk_file_tensor *t = in_file(m, matrix);
        return p && t && rk_ranges_may(p) && t->dtype == RK_U8;
    }
    return false;
}

/* ---- to a file ---- */

rk_status rk_ranges_store(const rk_model *m, const rk_param *p, rk_file *to, rk_error *err)
{
    const rk_ranges *r = p->tensor.ranges;
    const float *const vectors[RK_RANGES_PARTS] = {r ? r->mx : NULL, r ? r->rx : NULL,
                                                   r ? r->my : NULL, r ? r->ry : NULL};
    rk_status st = RK_OK;
    for (int i = 0; i < RK_RANGES_PARTS && st == RK_OK; i++) {
        char name[RK_RANGES_NAME_MAX];
        const int64_t n = length_of(p, i);
        rk_file_tensor t = {.dtype = RK_F32,
                            .n_dims = 1,
                            .dims = {n},
                            .data = vectors[i],
                            .bytes = (size_t)n * sizeof(float)};
        name_of(p, i, name);
        if (!r)
            t = *in_file(m, name);
        t.name = name;
        st = rk_file_add(to, &t, err);
    }
    return st;
}
