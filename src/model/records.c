/* records.c: the rows of a channel mix in records. */
#include "model/records.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "base/num.h"
#include "model/init.h"
#include "tensor/sparse_mix.h"

#define PART(f) RK_SCOPE_LAYER, offsetof(rk_sparse_mix, f)

/* In the place of ffn.key, and of ffn.value. Letters: b planes, B bytes of a row of bits, p hidden. */
static const rk_param_spec keys[] = {
    {"blocks.%d.ffn.records", "F2C", RK_ROLE_RECORDS, PART(records), rk_init_constant, 0, 1},
};
enum { LIMITS, PLANES, PLANE_SCALE, PLANE_OFFSET, FC1, FC2 };
static const rk_param_spec values[] = {
    [LIMITS] = {"blocks.%d.ffn.limits", "2", RK_ROLE_PREDICTOR, PART(limits), rk_init_constant, 0,
                1},
    [PLANES] = {"blocks.%d.ffn.planes", "bFB", RK_ROLE_PLANES, PART(planes), rk_init_constant, 0,
                1},
    [PLANE_SCALE] = {"blocks.%d.ffn.plane_scale", "bF", RK_ROLE_PREDICTOR, PART(plane_scale),
                     rk_init_constant, 0, 1},
    [PLANE_OFFSET] = {"blocks.%d.ffn.plane_offset", "F", RK_ROLE_PREDICTOR, PART(plane_offset),
                      rk_init_constant, 0, 1},
    [FC1] = {"blocks.%d.mlp.fc1.weight", "pC", RK_ROLE_PREDICTOR_MATRIX, PART(fc1),
             rk_init_constant, 0, 1},
    [FC2] = {"blocks.%d.mlp.fc2.weight", "Fp", RK_ROLE_PREDICTOR_MATRIX, PART(fc2),
             rk_init_constant, 0, 1},
};

/* Name, place, letter, range, default; where a file shows it; option. */
/* clang-format off */
static const rk_size_spec sizes[] = {
    {"ffn_records", RK_SIZE(ffn_records), 0, {0, 1}, {NULL, 0},
     {RK_FROM_PRESENCE, "blocks.0.ffn.records", 0, 0}, RK_NO_OPTION},
    {"plane_bits", RK_SIZE(plane_bits), 'b', {0, 8}, {NULL, 0},
     {RK_FROM_OPTIONAL, "blocks.0.ffn.planes", 3, 0}, RK_NO_OPTION},
    {"plane_bytes", RK_SIZE(plane_bytes), 'B', {0, RK_EMBD_MAX}, {NULL, 0},
     {RK_FROM_OTHERS, NULL, 0, 0}, RK_NO_OPTION},
    {"predictor_size", RK_SIZE(predictor_size), 'p', {0, RK_RANK_MAX}, {NULL, 0},
     {RK_FROM_OPTIONAL, "blocks.0.mlp.fc1.weight", 2, 0}, RK_NO_OPTION},
};
/* clang-format on */
const rk_size_table rk_sizes_records = {sizes, RK_COUNT(sizes)};

bool rk_records_has_size(const char *name)
{
    for (size_t i = 0; i < RK_COUNT(sizes); i++)
        if (!strcmp(sizes[i].name, name))
            return true;
    return false;
}

static const char key_matrix[] = "blocks.%d.ffn.key.weight",
                  value_matrix[] = "blocks.%d.ffn.value.weight";

const rk_file_tensor *rk_records_shows(const rk_arch *arch, const rk_file *f, const char *tensor)
{
    return rk_size_find(arch, "ffn_records") && !strcmp(tensor, "blocks.0.ffn.key.weight")
               ? rk_file_find(f, "blocks.0.ffn.records")
               : NULL;
}

/* Which blocks of neurons a token uses is chosen by the scores of all of them. */
static rk_status refuse_routed(const rk_arch *arch, const rk_hparams *hp, const rk_file *file,
                               rk_error *err)
{
    const rk_size_spec *routed = rk_size_find(arch, "route_k");
    if (!hp->ffn_records || !routed || rk_size_value(routed, hp) == 0)
        return RK_OK;
    return rk_fail(err, file ? RK_ERR_FORMAT : RK_ERR_UNSUPPORTED,
                   "%s: parameter tokens that are routed (route_k) cannot be in records: blocks "
                   "are chosen by the scores of all of them",
                   file ? rk_file_name(file) : arch->name);
}

rk_status rk_records_settle(const rk_arch *arch, rk_hparams *hp, const rk_file *file, rk_error *err)
{
    if (!rk_size_find(arch, "ffn_records"))
        return RK_OK;
    const rk_status st = refuse_routed(arch, hp, file, err);
    if (st != RK_OK)
        return st;
    if (file && !hp->ffn_records && (hp->plane_bits > 0 || hp->predictor_size > 0))
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: predictors of active neurons, and no 'blocks.0.ffn.records'",
                       rk_file_name(file));
    if (!hp->ffn_records)
        hp->plane_bits = hp->predictor_size = 0;
    hp->plane_bytes = hp->plane_bits > 0 ? rk_ceil_div(hp->n_embd, 8) : 0;
    return RK_OK;
}

/* ---- rows ---- */

rk_records_place rk_records_place_of(const rk_param_spec *spec)
{
    if (!strcmp(spec->name, key_matrix) && !strcmp(spec->shape, "FC"))
        return RK_RECORDS_KEY;
    if (!strcmp(spec->name, value_matrix) && !strcmp(spec->shape, "CF"))
        return RK_RECORDS_VALUE;
    return RK_RECORDS_NOWHERE;
}

static bool is_there(const rk_hparams *hp, const rk_param_spec *spec)
{
    if (spec >= &values[FC1] && spec <= &values[FC2])
        return hp->predictor_size > 0;
    return hp->plane_bits > 0 || spec < &values[PLANES] || spec > &values[PLANE_OFFSET];
}

const rk_param_spec *rk_records_spec(const rk_hparams *hp, rk_records_place place, int i)
{
    if (place == RK_RECORDS_KEY)
        return i < (int)RK_COUNT(keys) ? &keys[i] : NULL;
    for (int v = 0; v < (int)RK_COUNT(values); v++)
        if (is_there(hp, &values[v]) && i-- == 0)
            return &values[v];
    return NULL;
}

bool rk_records_is_part(const rk_param_spec *spec)
{
    return (spec >= keys && spec < keys + RK_COUNT(keys)) ||
           (spec >= values && spec < values + RK_COUNT(values));
}

rk_records_place rk_records_begins(const rk_param_spec *spec)
{
    if (spec == &keys[0])
        return RK_RECORDS_KEY;
    return spec == &values[LIMITS] ? RK_RECORDS_VALUE : RK_RECORDS_NOWHERE;
}

const rk_param_spec *rk_records_matrix(const rk_arch *arch, rk_records_place place)
{
    for (; arch; arch = arch->base)
        for (int i = 0; i < arch->n_params; i++)
            if (rk_records_place_of(&arch->params[i]) == place)
                return &arch->params[i];
    return NULL;
}

/* ---- numbers ---- */

static rk_status check_finite(const rk_model *m, const rk_param *p, rk_error *err)
{
    for (int64_t i = 0; i < rk_tensor_count(&p->tensor); i++)
        if (!isfinite(((const float *)p->tensor.data)[i]))
            return rk_fail(err, RK_ERR_FORMAT, "%s: tensor '%s' holds a number that is not finite",
                           rk_file_name(m->file), p->name);
    return RK_OK;
}

static rk_status check_limits(const rk_model *m, const rk_param *p, rk_error *err)
{
    static const char *const names[] = {"theta", "p"};
    for (size_t i = 0; i < RK_COUNT(names); i++) {
        const double x = (double)((const float *)p->tensor.data)[i];
        if (!(x >= 0 && x <= 1))
            return rk_fail(err, RK_ERR_FORMAT, "%s: tensor '%s': %s is %g, expected 0 to 1",
                           rk_file_name(m->file), p->name, names[i], x);
    }
    return RK_OK;
}

rk_status rk_records_check(const rk_model *m, rk_error *err)
{
    rk_status st = RK_OK;
    for (int64_t i = 0; m->hp.ffn_records && i < m->n_params && st == RK_OK; i++) {
        const rk_param *p = &m->params[i];
        if (p->spec == &values[LIMITS])
            st = check_limits(m, p, err);
        else if (p->spec == &values[PLANE_SCALE] || p->spec == &values[PLANE_OFFSET])
            st = check_finite(m, p, err);
    }
    return st;
}
