/* open.c: a model from a file: which architecture, which sizes, where its parameters lie.
 *
 * A file's matrices stay in its pages, whatever their type; vectors are widened to f32 in memory of
 * the model's own, because kernels read them as reals and they are small. */
#define _XOPEN_SOURCE 700 /* realpath */
#include "format/format.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "format/header.h"
#include "format/ranges.h"
#include "format/relatives.h"
#include "format/scheme_forms.h"
#include "io/checksum.h"
#include "model/clusters.h"
#include "model/lm.h"
#include "model/records.h"

/* ---- parameters ---- */

static bool is_float(rk_dtype t)
{
    return t == RK_F32 || t == RK_BF16 || t == RK_F16 || t == RK_F64;
}

/* Are the shapes equal up to dimensions of length 1, which files add and leave out? */
static bool same_squeezed(const rk_file_tensor *f, const rk_tensor *t)
{
    int a = 0, b = 0;
    for (;;) {
        while (a < f->n_dims && f->dims[a] == 1)
            a++;
        while (b < t->n_dims && t->dims[b] == 1)
            b++;
        if (a == f->n_dims || b == t->n_dims)
            return a == f->n_dims && b == t->n_dims;
        if (f->dims[a++] != t->dims[b++])
            return false;
    }
}

/* Matrices stay in the mapping, except those in f64, which no kernel takes as weights: they are
 * converted. */
static bool stays_mapped(const rk_param *p, const rk_file_tensor *t)
{
    return rk_roles[p->role].any_type && t->dtype != RK_F64;
}

rk_status rk_model_check_param(const rk_model *m, const rk_param *p, rk_error *err)
{
    const rk_file_tensor *t = rk_file_find(m->file, p->name);
    char found[64], expected[64];
    if (!t)
        return p->used && !p->added
                   ? rk_fail(err, RK_ERR_FORMAT, "%s: no tensor '%s', which an %s model has",
                             rk_file_name(m->file), p->name, m->arch->name)
                   : RK_OK;
    const bool bits = p->role == RK_ROLE_PLANES;
    const bool ranged = t->dtype == RK_U8 && rk_ranges_may(p) && !t->exchanged;
    const bool type = bits ? t->dtype == RK_U8
                           : is_float(t->dtype) || ranged ||
                                 (rk_dtype_is_blocks(t->dtype) && stays_mapped(p, t) &&
                                  !rk_records_is_part(p->spec));
    if (!p->used || (type && same_squeezed(t, &p->tensor)))
        return ranged ? rk_ranges_check(m, p, err) : RK_OK;
    rk_tensor shape = {.dtype = t->dtype};
    shape.n_dims = t->n_dims < RK_MAX_DIMS ? t->n_dims : RK_MAX_DIMS;
    memcpy(shape.dims, t->dims, (size_t)shape.n_dims * sizeof *shape.dims);
    return rk_fail(err, RK_ERR_FORMAT, "%s: tensor '%s' is %s, expected %s of %s",
                   rk_file_name(m->file), p->name, rk_tensor_describe(&shape, found, sizeof found),
                   strchr(rk_tensor_describe(&p->tensor, expected, sizeof expected), '('),
                   bits ? "u8" : "a float type");
}

/* Check every tensor and count the floats that must be widened. */
static rk_status check_params(const rk_model *m, size_t *floats, rk_error *err)
{
    *floats = 0;
    for (int64_t i = 0; i < m->n_params; i++) {
        const rk_param *p = &m->params[i];
        const rk_file_tensor *t = rk_file_find(m->file, p->name);
        const rk_status st = rk_model_check_param(m, p, err);
        if (st != RK_OK)
            return st;
        if (p->added || (t && p->used && !stays_mapped(p, t)))
            *floats += (size_t)rk_tensor_count(&p->tensor);
        else if (rk_ranges_has(m, p))
            *floats += (size_t)rk_ranges_floats(p);
    }
    return RK_OK;
}

bool rk_model_knows(const rk_model *m, const char *name)
{
    const rk_size_spec *s;
    for (int i = 0; (s = rk_size_marked(m->arch, &m->hp, i)); i++)
        if (!strcmp(s->name, name))
            return true;
    for (int64_t i = 0; i < m->n_params; i++)
        if (!m->params[i].added && !strcmp(m->params[i].name, name))
            return true;
    return rk_ranges_knows(m, name);
}

/* A tensor that the architecture does not have means that it is another model. */
static rk_status refuse_unknown(const rk_model *m, rk_error *err)
{
    int64_t known = 0;
    for (int64_t i = 0; i < m->n_params; i++)
        known += (rk_file_find(m->file, m->params[i].name) != NULL) +
                 (rk_ranges_has(m, &m->params[i]) ? RK_RANGES_PARTS : 0);
    if (known == rk_file_count(m->file))
        return RK_OK;
    for (int64_t i = 0; i < rk_file_count(m->file); i++)
        if (!rk_model_knows(m, rk_file_at(m->file, i)->name))
            return rk_fail(err, RK_ERR_UNSUPPORTED, "%s: tensor '%s' is none of an %s model's",
                           rk_file_name(m->file), rk_file_at(m->file, i)->name, m->arch->name);
    return RK_OK;
}

/* The file's memory as it is; what lies transposed becomes a view with exchanged strides. */
static void bind_mapped(rk_tensor *to, const rk_file_tensor *t)
{
    to->dtype = t->dtype;
    memcpy(&to->data, &t->data, sizeof t->data); /* read only from here on */
    if (t->exchanged) {
        to->strides[0] = 1;
        to->strides[1] = to->dims[0];
    }
}

/* Only products read what lies transposed; for others it is copied into the order of its
 * dimensions. Vectors, those of ranges too, go to *at, which moves on. */
static rk_status bind_found(rk_model *m, int64_t i, const rk_file_tensor *found, float **at,
                            rk_error *err)
{
    rk_param *p = &m->params[i];
    rk_file_tensor t = *found;
    const bool mapped = stays_mapped(p, &t);
    const rk_status st =
        mapped && rk_roles[p->role].product ? RK_OK : rk_form_straighten(m->file, &t, err);
    if (st != RK_OK)
        return st;
    if (mapped && rk_ranges_has(m, p)) {
        float *const vectors = *at;
        *at += rk_ranges_floats(p);
        bind_mapped(&p->tensor, &t);
        return rk_ranges_take(m, i, vectors, err);
    }
    if (mapped) {
        bind_mapped(&p->tensor, &t);
        return RK_OK;
    }
    p->tensor.data = *at;
    rk_file_floats(&t, 0, rk_tensor_count(&p->tensor), *at);
    rk_file_drop_around(m->file, t.data, t.bytes); /* the matrices beside it are not used yet */
    *at += rk_tensor_count(&p->tensor);
    return RK_OK;
}

/* What the file lacks takes its initial values. */
static rk_status bind_added(rk_model *m, int64_t i, float **at, rk_error *err)
{
    rk_tensor *t = &m->params[i].tensor;
    t->data = *at;
    *at += rk_tensor_count(t);
    return rk_param_init(m, i, 0, t->data, NULL, err);
}

static rk_status bind_param(rk_model *m, int64_t i, float **at, rk_error *err)
{
    rk_param *p = &m->params[i];
    const rk_file_tensor *found = rk_file_find(m->file, p->name);
    if (p->added)
        return bind_added(m, i, at, err);
    return found && p->used ? bind_found(m, i, found, at, err) : RK_OK;
}

static rk_status bind_params(rk_model *m, rk_error *err)
{
    size_t floats = 0;
    rk_status st = check_params(m, &floats, err);
    if (st != RK_OK)
        return st;
    float *at = m->owned = malloc((floats + 1) * sizeof *at);
    if (!at)
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory for its vectors",
                       rk_file_name(m->file));
    for (int64_t i = 0; i < m->n_params && st == RK_OK; i++)
        st = bind_param(m, i, &at, err);
    return st;
}

static void add_size(rk_checksum *c, const rk_size_spec *s, double x)
{
    rk_checksum_add(c, s->name, strlen(s->name));
    rk_checksum_add(c, &x, sizeof x);
}

/* What the matrix in whose place records stand would add: states fit both. */
static void add_records(rk_checksum *c, const rk_model *m, const rk_param *p)
{
    const rk_records_place place = rk_records_begins(p->spec);
    const rk_param_spec *spec = rk_records_matrix(m->arch, place);
    char name[RK_PARAM_NAME_MAX];
    int64_t dims[RK_MAX_DIMS];
    if (place == RK_RECORDS_NOWHERE)
        return;
    rk_param_name(spec, p->layer, name);
    rk_checksum_add(c, name, strlen(name));
    rk_checksum_add(c, dims,
                    (size_t)rk_shape_dims(m->arch, &m->hp, spec->shape, dims) * sizeof *dims);
}

/* Of architecture, marked and stated sizes, shapes and vectors rounded to bf16: equal for a model and its narrower forms. */
static rk_status fingerprint(rk_model *m, rk_error *err)
{
    rk_checksum *c = rk_checksum_new();
    if (!c)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for a fingerprint");
    rk_checksum_add(c, m->arch->name, strlen(m->arch->name));
    for (int64_t i = 0; i < m->n_params; i++) {
        const rk_param *p = &m->params[i];
        if (!p->used || p->added || p->role == RK_ROLE_CLUSTERS) /* of the head: states fit */
            continue;
        if (rk_records_is_part(p->spec)) {
            add_records(c, m, p);
            continue;
        }
        const char *name = strcmp(p->name, RK_LM_ROWS) ? p->name : "head.weight";
        rk_checksum_add(c, name, strlen(name));
        rk_checksum_add(c, p->tensor.dims, (size_t)p->tensor.n_dims * sizeof *p->tensor.dims);
        if (rk_tensor_rows(&p->tensor) != 1)
            continue;
        for (int64_t e = 0; e < rk_tensor_count(&p->tensor); e++) {
            const uint16_t h = rk_f32_to_bf16(((const float *)p->tensor.data)[e]);
            rk_checksum_add(c, &h, sizeof h);
        }
    }
    const rk_size_spec *s;
    for (int i = 0; (s = rk_size_marked(m->arch, &m->hp, i)); i++)
        add_size(c, s, rk_size_value(s, &m->hp));
    for (int i = 0; (s = rk_size_at(m->arch, i)); i++)
        if (s->file.from == RK_FROM_STATED) /* in 32 bits, which some containers have */
            add_size(c, s, (double)(float)rk_size_value(s, &m->hp));
    m->fingerprint = m->base_fingerprint = rk_checksum_value(c);
    rk_checksum_free(c);
    return RK_OK;
}

/* ---- a hierarchical head ---- */

/* A head by tokens beside clusters is of a file that was made before rows lay by clusters. */
static rk_status refuse_whole_head(const rk_file *f, const rk_hparams *hp, rk_error *err)
{
    if (hp->n_clusters == 0 || !rk_file_find(f, "head.weight"))
        return RK_OK;
    return rk_fail(
        err, RK_ERR_FORMAT,
        "%s: 'head.weight' beside the clusters of a hierarchical head, expected its rows "
        "cluster by cluster in '" RK_LM_ROWS "'; `rwkv compress head` makes them of the "
        "model without clusters",
        rk_file_name(f));
}

/* Are the rows of clusters such as are read piece by piece? */
static rk_status check_rows(const rk_model *m, rk_error *err)
{
    const rk_tensor *t = m->head->matrix;
    if (rk_tensor_is_contiguous(t) && !rk_dtype_is_blocks(t->dtype))
        return RK_OK;
    return rk_fail(err, RK_ERR_UNSUPPORTED,
                   "%s: tensor '" RK_LM_ROWS "' is %s, expected whole rows of a float type",
                   rk_file_name(m->file),
                   rk_dtype_is_blocks(t->dtype) ? rk_dtype_name(t->dtype) : "transposed");
}

/* The clusters of its tensors, which are f32 in memory. */
static rk_status take_clusters(rk_model *m, rk_error *err)
{
    static const char *const names[] = {"head_l1.weight", "head_l1.bias", "head_clusters"};
    rk_error why;
    if (m->hp.n_clusters == 0)
        return RK_OK;
    for (size_t i = 0; i < RK_COUNT(names); i++) {
        const rk_tensor *t = &rk_model_param(m, names[i])->tensor;
        for (int64_t e = 0; e < rk_tensor_count(t); e++)
            if (!isfinite(((const float *)t->data)[e]))
                return rk_fail(err, RK_ERR_FORMAT,
                               "%s: tensor '%s' holds a number that is not finite",
                               rk_file_name(m->file), names[i]);
    }
    const rk_tensor *of = &rk_model_param(m, "head_clusters")->tensor;
    const rk_status st =
        rk_clusters_new(&m->clusters, m->hp.n_clusters, m->hp.n_vocab, of->data, &why);
    return st == RK_OK
               ? check_rows(m, err)
               : rk_fail(err, st, "%s: tensor 'head_clusters': %s", rk_file_name(m->file), why.msg);
}

/* ---- the model ---- */

/* Are there tensors for about so many layers? Else one large number in a name would lead to tables
 * of any size. */
static bool has_layers(const rk_file *f, const rk_arch *arch, int64_t n_layer)
{
    enum { MISSING_MAX = 64 };
    int64_t n = 0;
    for (const rk_arch *a = arch; a; a = a->base)
        for (int i = 0; i < a->n_params; i++)
            n += a->params[i].scope == RK_SCOPE_LAYER;
    return n_layer * n <= rk_file_count(f) + MISSING_MAX;
}

/* What the sizes get beside those of the file, and which parameters are then not in it. */
static void add_options(rk_hparams *hp, const rk_open_options *o)
{
    hp->tuned_state = hp->tuned_state || (o && o->tuned_state);
    hp->tuned_shift = hp->tuned_shift || (o && o->tuned_shift);
    hp->tuned_basis = hp->tuned_basis || (o && o->tuned_basis);
}

static void mark_added(rk_model *m, const rk_hparams *file, const rk_file *adopted)
{
    for (int64_t i = 0; i < m->n_params; i++) {
        const rk_scope scope = m->params[i].spec->scope;
        m->params[i].added =
            (scope == RK_SCOPE_SOME && adopted && !rk_file_find(adopted, m->params[i].name)) ||
            (scope == RK_SCOPE_TUNED && !file->tuned_state) ||
            (scope == RK_SCOPE_TUNED_SHIFT && !file->tuned_shift) ||
            (scope == RK_SCOPE_TUNED_BASIS && !file->tuned_basis);
    }
}

rk_status rk_model_for_file(rk_model **out, rk_file *f, const rk_open_options *o, rk_error *err)
{
    const rk_arch *arch = rk_arch_detect(f);
    const bool adopted = arch && o && o->as && o->as != arch && o->as->adopts == arch;
    rk_hparams hp = {0}, own;
    rk_status st = rk_refuse_relatives(f, err);
    arch = adopted ? o->as : arch;
    if (st == RK_OK && !arch)
        st = rk_fail(err, RK_ERR_UNSUPPORTED,
                     "%s: its tensor names are those of no architecture here", rk_file_name(f));
    if (st == RK_OK)
        st = rk_header_take(f, arch, err);
    if (st == RK_OK)
        st = rk_sizes_read(arch, f, &hp, err);
    if (st == RK_OK)
        st = rk_header_check(f, arch, &hp, err);
    if (st == RK_OK)
        st = refuse_whole_head(f, &hp, err);
    if (st == RK_OK && !has_layers(f, arch, hp.n_layer))
        st = rk_fail(err, RK_ERR_FORMAT, "%s: a block numbered %lld among %lld tensors",
                     rk_file_name(f), (long long)hp.n_layer - 1, (long long)rk_file_count(f));
    if (st == RK_OK && adopted)
        st = arch->adopt(&hp, o->sizes, o->n_sizes, err);
    own = hp;
    add_options(&hp, o);
    if (st == RK_OK)
        st = rk_model_new(out, arch, &hp, err);
    if (st != RK_OK) {
        rk_file_close(f);
        return st;
    }
    const char *ctx_len = rk_file_meta(f, "ctx_len");
    mark_added(*out, &own, adopted ? f : NULL);
    (*out)->file = f;
    (*out)->ctx_len = ctx_len ? strtoll(ctx_len, NULL, 10) : 0;
    return RK_OK;
}

/* Takes ownership of f. */
static rk_status open_file(rk_model **out, rk_file *f, const rk_open_options *o, rk_error *err)
{
    rk_model *m = NULL;
    rk_status st = rk_model_for_file(&m, f, o, err);
    if (st != RK_OK)
        return st;
    st = bind_params(m, err);
    if (st == RK_OK)
        st = refuse_unknown(m, err);
    if (st == RK_OK)
        st = take_clusters(m, err);
    if (st == RK_OK)
        st = rk_records_check(m, err);
    if (st == RK_OK)
        st = fingerprint(m, err);
    if (st != RK_OK) {
        rk_model_close(m);
        return st;
    }
    *out = m;
    return RK_OK;
}

/* The tensors of the file at path as if f held them; f closes it. */
static rk_status add_beside(rk_file *f, const char *path, rk_error *err)
{
    rk_file *more = NULL;
    rk_status st = rk_file_open(&more, path, err);
    const int64_t n = st == RK_OK ? rk_file_count(more) : 0;
    for (int64_t i = 0; i < n && st == RK_OK; i++) {
        const char *name = rk_file_at(more, i)->name;
        if (!rk_state_is_tuned_name(name))
            st = rk_fail(err, RK_ERR_FORMAT, "%s: tensor '%s' is no initial state", path, name);
        else if (rk_file_find(f, name))
            st = rk_fail(err, RK_ERR_FORMAT, "%s: tensor '%s' is in %s, too", path, name,
                         rk_file_name(f));
    }
    if (st != RK_OK) {
        rk_file_close(more);
        return st;
    }
    st = rk_file_own(f, more, err);
    for (int64_t i = 0; i < n && st == RK_OK; i++)
        st = rk_file_add(f, rk_file_at(more, i), err);
    char *full = realpath(path, NULL);
    if (st == RK_OK)
        st = rk_file_add_meta(f, RK_OPENED_BESIDE, full ? full : path, err);
    free(full);
    return st == RK_OK ? rk_file_finish(f, err) : st;
}

/* That of the model alone, which adapters go by. */
static rk_status take_base_fingerprint(rk_model *m, const char *path, rk_error *err)
{
    rk_model *alone = NULL;
    const rk_status st = rk_model_open_with(&alone, path, NULL, err);
    if (st == RK_OK)
        m->base_fingerprint = alone->fingerprint;
    rk_model_close(alone);
    return st;
}

rk_status rk_model_open_with(rk_model **out, const char *path, const rk_open_options *o,
                             rk_error *err)
{
    rk_file *f = NULL;
    rk_status st = rk_file_open(&f, path, err);
    if (st == RK_OK)
        st = rk_scheme_import(&f, err);
    if (st != RK_OK)
        return st;
    if (o && o->beside)
        st = add_beside(f, o->beside, err);
    if (st != RK_OK) {
        rk_file_close(f);
        return st;
    }
    rk_model *m = NULL;
    st = open_file(&m, f, o, err);
    if (st == RK_OK && o && o->beside)
        st = take_base_fingerprint(m, path, err);
    if (st == RK_OK)
        *out = m;
    else
        rk_model_close(m);
    return st;
}

rk_status rk_model_open(rk_model **out, const char *path, rk_error *err)
{
    return rk_model_open_with(out, path, NULL, err);
}

rk_status rk_model_open_memory(rk_model **out, const void *data, size_t bytes, rk_error *err)
{
    rk_file *f = NULL;
    rk_status st = rk_file_open_memory(&f, data, bytes, "model in memory", err);
    if (st == RK_OK)
        st = rk_scheme_import(&f, err);
    return st == RK_OK ? open_file(out, f, NULL, err) : st;
}
