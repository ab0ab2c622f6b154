/* save.c: saving a model to a file of any container.
 *
 * A file is assembled in three steps: the model's tensors under their own names, the names and
 * layouts of the container (scheme.h), and the types they are to have. Then the tensors are written
 * one after the other: with an unchanged type their bytes are copied, else they are converted
 * through floats in pieces, so that no second copy of a tensor is held. Transposed tensors are
 * small and are put in order in memory of their own. */
#include "format/save.h"

#include <ctype.h>
#include <float.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "format/ranges.h"
#include "io/pth.h"
#include "io/safetensors.h"
#include "kernels/blocks.h"

/* ---- elements ---- */

enum {
    PIECE = 1 << 18,       /* about so many elements; whole rows */
    PIECE_BYTES = 4 << 20, /* bytes of a piece that is copied */
};

static void read_elements(const rk_file_tensor *t, int64_t at, int64_t n, float *out)
{
    if (rk_dtype_is_blocks(t->dtype))
        rk_blocks_widen(t->dtype, n,
                        (const char *)t->data +
                            (size_t)(at / rk_dtype_block(t->dtype)) * rk_dtype_bytes(t->dtype),
                        out);
    else
        rk_file_floats(t, at, n, out);
}

static size_t elements_bytes(rk_dtype t, int64_t n)
{
    return (size_t)(n / rk_dtype_block(t)) * rk_dtype_bytes(t);
}

/* Rows of a tensor on their way from one type to another. */
typedef struct row_job {
    const rk_file_tensor *from;
    rk_dtype dtype;
    int64_t cols, first; /* of the piece: its first row */
    const float *weights;
    float *x;
    char *out;
    atomic_bool unfit; /* a value cannot be represented in blocks */
} row_job;

/* Can x (n) be quantised? Scales of blocks are f16: larger numbers would become infinities. */
static bool fit_blocks(const float *x, int64_t n)
{
    bool fit = true;
    for (int64_t i = 0; i < n; i++)
        fit &= fabsf(x[i]) <= 65504.0f; /* false for NaN, too */
    return fit;
}

/* Element `at` of a tensor is infinite as a float: was it before? */
static bool was_infinite(const rk_file_tensor *t, int64_t at)
{
    double x = 0.0;
    if (t->dtype == RK_F64)
        memcpy(&x, (const char *)t->data + (size_t)at * sizeof x, sizeof x);
    return t->dtype != RK_F64 || isinf(x);
}

/* A row x (cols), elements from `at` on, to a plain type. False: an infinity would be written where
 * there was none. */
static bool narrow(const row_job *j, int64_t at, const float *x, void *out)
{
    bool fit = true;
    for (int64_t c = 0; c < j->cols; c++) {
        float back = x[c];
        if (j->dtype == RK_F32) {
            ((float *)out)[c] = x[c];
        } else {
            const bool bf16 = j->dtype == RK_BF16;
            const uint16_t half = bf16 ? rk_f32_to_bf16(x[c]) : rk_f32_to_f16(x[c]);
            ((uint16_t *)out)[c] = half;
            back = bf16 ? rk_bf16_to_f32(half) : rk_f16_to_f32(half);
        }
        fit &= !isinf(back) || (isinf(x[c]) && was_infinite(j->from, at + c));
    }
    return fit;
}

static void convert_row(void *arg, int64_t i, int worker)
{
    row_job *j = arg;
    float *x = j->x + i * j->cols;
    void *out = j->out + elements_bytes(j->dtype, i * j->cols);
    (void)worker;
    read_elements(j->from, (j->first + i) * j->cols, j->cols, x);
    if (rk_dtype_is_blocks(j->dtype) && !fit_blocks(x, j->cols)) {
        atomic_store(&j->unfit, true);
        return;
    }
    if (rk_dtype_is_blocks(j->dtype)) {
        rk_blocks_narrow(j->dtype, j->cols, x, j->weights, out);
        return;
    }
    if (!narrow(j, (j->first + i) * j->cols, x, out))
        atomic_store(&j->unfit, true);
}

/* n more bytes are written. */
static void advance(rk_save *s, size_t n)
{
    const bool first = s->bytes_all == 0;
    if (!s->o->progress)
        return;
    for (int64_t i = 0; i < s->n && first; i++) {
        size_t bytes = 0;
        rk_file_shape_bytes(s->to[i].dtype, s->to[i].n_dims, s->to[i].dims, &bytes);
        s->bytes_all += (int64_t)bytes;
    }
    s->bytes_done += (int64_t)n;
    s->o->progress(s->o->progress_user, s->bytes_done, s->bytes_all);
}

static bool is_aborted(const rk_save *s)
{
    return s->o->abort && s->o->abort(s->o->abort_user);
}

/* Release pages of the source that are not needed again: a file need not be in memory as a whole.
 */
static void give_back(const rk_save *s, const void *bytes, size_t n)
{
    const rk_file *f = s->m ? s->m->file : s->from;
    if (f)
        rk_file_drop(f, bytes, n);
}

static rk_status write_copied(rk_save *s, const rk_file_tensor *t, rk_out *out)
{
    const char *bytes = t->data;
    for (size_t at = 0; at < t->bytes && rk_out_ok(out); at += PIECE_BYTES) {
        const size_t n = t->bytes - at < PIECE_BYTES ? t->bytes - at : PIECE_BYTES;
        if (is_aborted(s))
            return RK_ERR_ABORTED;
        rk_out_write(out, bytes + at, n);
        advance(s, n);
        give_back(s, bytes + at, n);
    }
    return RK_OK;
}

static void convert_piece(const rk_save *s, row_job *j, int64_t n)
{
    if (s->o->pool)
        rk_pool_run_whole(s->o->pool, n, convert_row, j);
    for (int64_t i = 0; i < n && !s->o->pool; i++)
        convert_row(j, i, 0);
}

static rk_status write_converted(rk_save *s, row_job *j, int64_t rows, rk_out *out)
{
    const int64_t piece = rk_max_i64(1, PIECE / j->cols);
    rk_status st = RK_OK;
    j->x = malloc((size_t)(piece * j->cols) * sizeof *j->x);
    j->out = malloc(elements_bytes(j->dtype, piece * j->cols));
    if (!j->x || !j->out)
        st = RK_ERR_NOMEM;
    for (; st == RK_OK && j->first < rows && rk_out_ok(out); j->first += piece) {
        const int64_t n = rk_min_i64(piece, rows - j->first);
        convert_piece(s, j, n);
        if (atomic_load(&j->unfit))
            st = RK_ERR_NUMERIC;
        else if (is_aborted(s))
            st = RK_ERR_ABORTED;
        else {
            rk_out_write(out, j->out, elements_bytes(j->dtype, n * j->cols));
            advance(s, elements_bytes(j->dtype, n * j->cols));
        }
        give_back(s,
                  (const char *)j->from->data + elements_bytes(j->from->dtype, j->first * j->cols),
                  elements_bytes(j->from->dtype, n * j->cols));
    }
    free(j->x);
    free(j->out);
    return st;
}

/* The transpose of a matrix: as elements of its own type, or through floats. */
static bool transpose(const rk_file_tensor *from, rk_file_tensor *to)
{
    const bool plain = !rk_dtype_is_blocks(from->dtype);
    const size_t size = plain ? rk_dtype_bytes(from->dtype) : sizeof(float);
    const int64_t n = rk_file_tensor_count(from);
    const int64_t rows = from->dims[from->n_dims - 2], cols = from->dims[from->n_dims - 1];
    char *data = malloc((size_t)n * size + 1);
    float *x = plain ? NULL : malloc((size_t)n * sizeof *x + 1);
    const char *stored = plain ? from->data : (const char *)x;
    const bool ok = data && stored;
    if (ok && !plain)
        read_elements(from, 0, n, x);
    for (int64_t r = 0; ok && r < rows; r++)
        for (int64_t c = 0; c < cols; c++)
            memcpy(data + (size_t)(r * cols + c) * size, stored + (size_t)(c * rows + r) * size,
                   size);
    free(x);
    *to = *from;
    to->dtype = plain ? from->dtype : RK_F32;
    to->bytes = (size_t)n * size;
    to->data = data; /* the caller's, whatever the result */
    to->exchanged = false;
    return ok;
}

static void free_data(const rk_file_tensor *t)
{
    /* NOLINTNEXTLINE(performance-no-int-to-ptr): free takes no pointer to const */
    free((void *)(uintptr_t)t->data);
}

static rk_status write_plain(rk_save *s, const rk_file_tensor *from, const rk_file_tensor *to,
                             rk_out *out)
{
    const int64_t n = rk_file_tensor_count(from), cols = to->n_dims ? to->dims[to->n_dims - 1] : 1;
    const rk_param *p = rk_save_param(s, from);
    if (from->dtype == to->dtype)
        return write_copied(s, from, out);
    if (n == 0)
        return RK_OK;
    row_job j = {.from = from, .dtype = to->dtype, .cols = cols};
    if (s->o->plan && s->o->plan->importance && p && p->tensor.n_dims == 2)
        j.weights = s->o->plan->importance(s->o->plan->user, p);
    return write_converted(s, &j, n / cols, out);
}

static rk_status fail_unfit(const rk_save *s, const char *name, rk_dtype to, rk_error *err)
{
    const rk_file *f = s->m ? s->m->file : s->from;
    const char *file = f ? rk_file_name(f) : "model";
    if (rk_dtype_is_blocks(to))
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: tensor '%.80s' holds a number that is not finite or above 65504, which "
                       "blocks of %s cannot",
                       file, name, rk_dtype_name(to));
    return rk_fail(err, RK_ERR_FORMAT,
                   "%s: tensor '%.80s' holds a number that is too large for %s and would become "
                   "infinite",
                   file, name, rk_dtype_name(to));
}

/* ---- changed matrices ---- */

static bool is_changed(const rk_save *s, const rk_param *p)
{
    const rk_save_plan *plan = s->o->plan;
    return p && plan && plan->changes && plan->changes(plan->user, p);
}

/* The matrix with the plan's values, in f32 and in the order of its dimensions, as data to be freed. */
static rk_status changed_values(const rk_save *s, const rk_param *p, const rk_file_tensor *from,
                                rk_file_tensor *to, rk_error *err)
{
    const int64_t n = rk_file_tensor_count(from);
    rk_file_tensor straight = *from;
    float *x = malloc((size_t)n * sizeof *x + 1);
    rk_status st = x && (!from->exchanged || transpose(from, &straight)) ? RK_OK : RK_ERR_NOMEM;
    if (st == RK_OK) {
        read_elements(&straight, 0, n, x);
        give_back(s, from->data, from->bytes);
        st = s->o->plan->change(s->o->plan->user, p, x, err);
    }
    if (from->exchanged && straight.data != from->data)
        free_data(&straight);
    *to = straight;
    to->dtype = RK_F32;
    to->exchanged = false;
    to->data = x;
    to->bytes = (size_t)n * sizeof *x;
    return st;
}

/* A large matrix, as it is written; others have been changed by prepare. */
static rk_status write_changed(rk_save *s, const rk_param *p, const rk_file_tensor *from,
                               const rk_file_tensor *to, rk_out *out, rk_error *err)
{
    rk_file_tensor changed;
    rk_status st = changed_values(s, p, from, &changed, err);
    if (st == RK_OK)
        st = write_plain(s, &changed, to, out);
    free_data(&changed);
    return st;
}

/* Small ones may be stored transposed, or together, and some have their rows in another order: they are
 * changed before a container lays them out. */
static bool is_changed_early(const rk_save *s, const rk_param *p)
{
    return is_changed(s, p) &&
           (rk_roles[p->role].low_rank || (s->scheme && rk_scheme_reorders(s->scheme, p->name)));
}

static rk_status write_tensor(rk_save *s, int64_t i, const rk_file_tensor *from, rk_out *out,
                              rk_error *err)
{
    const rk_param *p = rk_save_param(s, from);
    rk_file_tensor straight = *from;
    rk_status st = RK_OK;
    if (is_changed(s, p) && !is_changed_early(s, p))
        return write_changed(s, p, from, &s->to[i], out, err);
    if (from->exchanged && !transpose(from, &straight))
        st = RK_ERR_NOMEM;
    if (st == RK_OK)
        st = write_plain(s, &straight, &s->to[i], out);
    if (from->exchanged && straight.data != from->data) {
        free_data(&straight);
        give_back(s, from->data, from->bytes);
    }
    return st;
}

rk_status rk_save_source(void *user, int64_t i, rk_out *out, rk_error *err)
{
    rk_save *s = user;
    const rk_file_tensor *from = rk_file_at(s->from, i);
    const rk_status st = write_tensor(s, i, from, out, err);
    if (st == RK_ERR_NUMERIC)
        return fail_unfit(s, from->origin ? from->origin : from->name, s->to[i].dtype, err);
    if (st == RK_ERR_ABORTED)
        return rk_fail(err, st, "stopped on request");
    if (st == RK_OK && i == s->n - 1 && s->from) /* before the output gets its name */
        return rk_file_check(s->m && s->m->file ? s->m->file : s->from, err);
    return st == RK_ERR_NOMEM
               ? rk_fail(err, st, "out of memory to write tensor '%.80s'", from->name)
               : st;
}

/* ---- types ---- */

const rk_param *rk_save_param(const rk_save *s, const rk_file_tensor *t)
{
    const char *name = t->origin ? t->origin : t->name;
    for (int64_t i = 0; s->m && i < s->m->n_params; i++)
        if (!strcmp(s->m->params[i].name, name))
            return &s->m->params[i];
    return NULL;
}

bool rk_save_is_vector(const rk_param *p)
{
    const rk_tensor *t = &p->tensor;
    return p->role == RK_ROLE_VECTOR || rk_tensor_rows(t) == 1 || rk_tensor_cols(t) == 1;
}

static rk_dtype type_of(const rk_save *s, const rk_param *p, rk_dtype own)
{
    const rk_save_options *o = s->o;
    if (!p || own == RK_U8) /* bits */
        return own;
    if (s->vectors_f32 && rk_save_is_vector(p))
        return RK_F32;
    if (o->plan)
        return o->plan->type(o->plan->user, p, own);
    if (!o->keep_types)
        return rk_tensor_rows(&p->tensor) == 1 ? RK_F32 : o->dtype;
    return rk_save_is_vector(p) ? rk_save_type_before(s->m, p, own) : own;
}

/* ---- the model's tensors ---- */

/* Where a parameter's values are: in the file, as they are there, or in the trainer's memory. */
static bool source_of(const rk_model *m, const rk_param *p, rk_file_tensor *from)
{
    const rk_file_tensor *t = m->file && !p->trained ? rk_file_find(m->file, p->name) : NULL;
    if (!t && !p->tensor.data)
        return false;
    if (t)
        *from = *t;
    else
        *from = (rk_file_tensor){.dtype = p->tensor.dtype == RK_RANGED ? RK_U8 : p->tensor.dtype,
                                 .data = p->tensor.data,
                                 .bytes = rk_tensor_bytes(&p->tensor)};
    from->name = p->name;
    if (p->used || !t) { /* what layer 0 stores and does not use has the shape it came with */
        from->n_dims = p->tensor.n_dims;
        memcpy(from->dims, p->tensor.dims, sizeof p->tensor.dims);
    }
    return true;
}

static rk_status change_early(rk_save *s, const rk_param *p, rk_file_tensor *t, rk_error *err)
{
    rk_file_tensor changed;
    rk_status st = changed_values(s, p, t, &changed, err);
    void *kept = st == RK_OK ? rk_file_alloc(s->canonical, changed.bytes, err) : NULL;
    if (st == RK_OK && !kept)
        st = RK_ERR_NOMEM;
    if (st == RK_OK) {
        memcpy(kept, changed.data, changed.bytes);
        *t = changed;
        t->data = kept;
    } else if (st == RK_ERR_NOMEM) {
        rk_fail(err, st, "out of memory to write tensor '%.80s'", p->name);
    }
    free_data(&changed);
    return st;
}

static rk_status state_head_size(rk_save *s, rk_error *err)
{
    char text[RK_SAVE_TEXT_MAX];
    snprintf(text, sizeof text, "%lld", (long long)s->m->hp.head_size);
    return rk_file_add_meta(s->canonical, RK_FORM_HEAD_SIZE, text, err);
}

static rk_status collect(rk_save *s, rk_error *err)
{
    rk_status st = rk_file_new(&s->canonical, "model", s->path, err);
    if (st == RK_OK)
        st = state_head_size(s, err);
    for (int64_t i = 0; i < s->m->n_params && st == RK_OK; i++) {
        const rk_param *p = &s->m->params[i];
        rk_file_tensor t;
        if (rk_roles[p->role].adapter || !source_of(s->m, p, &t))
            continue;
        if (is_changed_early(s, p))
            st = change_early(s, p, &t, err);
        if (st == RK_OK)
            st = rk_file_add(s->canonical, &t, err);
        if (st == RK_OK && rk_ranges_has(s->m, p))
            st = rk_ranges_store(s->m, p, s->canonical, err);
    }
    return st == RK_OK ? rk_file_finish(s->canonical, err) : st;
}

/* The marks of sizes (RK_FROM_MARK), under their own names whatever the others bear. */
static rk_status add_marks(rk_file *f, const rk_model *m, rk_error *err)
{
    const rk_size_spec *size;
    rk_status st = RK_OK;
    for (int i = 0; st == RK_OK && (size = rk_size_marked(m->arch, &m->hp, i)); i++) {
        float *x = rk_file_alloc(f, sizeof *x, err);
        if (!x)
            return RK_ERR_NOMEM;
        *x = (float)rk_size_value(size, &m->hp);
        const rk_file_tensor t = {.name = size->name,
                                  .dtype = RK_F32,
                                  .n_dims = 1,
                                  .dims = {1},
                                  .data = x,
                                  .bytes = sizeof *x};
        st = rk_file_add(f, &t, err);
    }
    return st == RK_OK ? rk_file_finish(f, err) : st;
}

static rk_status prepare(rk_save *s, rk_error *err)
{
    const rk_scheme *scheme = s->scheme;
    rk_status st = collect(s, err);
    if (st == RK_OK && scheme)
        st = rk_scheme_export(&s->exported, s->canonical, scheme, err);
    if (st == RK_OK)
        st = add_marks(scheme ? s->exported : s->canonical, s->m, err);
    if (st != RK_OK)
        return st;
    s->from = scheme ? s->exported : s->canonical;
    s->n = rk_file_count(s->from);
    s->to = calloc((size_t)s->n + 1, sizeof *s->to);
    if (!s->to)
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory for its table of tensors", s->path);
    for (int64_t i = 0; i < s->n; i++) {
        s->to[i] = *rk_file_at(s->from, i);
        s->to[i].exchanged = false;
        s->to[i].dtype = type_of(s, rk_save_param(s, &s->to[i]), s->to[i].dtype);
    }
    return RK_OK;
}

/* ---- containers ---- */

/* Enough digits to read x again, but for its last bits. */
static void put_pair(rk_pair *pair, char *text, const char *key, double x)
{
    snprintf(text, RK_SAVE_TEXT_MAX, "%.9g", x);
    if (fabs(strtod(text, NULL) - x) > 4 * DBL_EPSILON * fabs(x))
        snprintf(text, RK_SAVE_TEXT_MAX, "%.17g", x);
    *pair = (rk_pair){key, text};
}

static void put_size(rk_pair *pair, char *text, const rk_size_spec *size, double x)
{
    const char *word;
    const size_t n = rk_size_word(size, (int)x, &word);
    if (n == 0) {
        put_pair(pair, text, size->name, x);
        return;
    }
    snprintf(text, RK_SAVE_TEXT_MAX, "%.*s", (int)n, word);
    *pair = (rk_pair){size->name, text};
}

/* The i-th size that has to stand in metadata: no tensor shows it, and it is stated by every file or
 * another than what those take it for who find no metadata. NULL past the last. */
static const rk_size_spec *unshown_size(const rk_save *s, int i)
{
    const rk_size_spec *size;
    for (int k = 0; (size = rk_size_at(s->m->arch, k)); k++) {
        if (size->file.from == RK_FROM_STATED && i-- == 0)
            return size;
        if (size->file.from == RK_FROM_PRESENCE && rk_size_value(size, &s->m->hp) > 1 && i-- == 0)
            return size;
        if (size->file.from != RK_FROM_META && size->file.from != RK_FROM_MARK)
            continue;
        const double implied =
            s->hf ? rk_hf_class_implies(s->hf, s->m, size) : rk_size_default(size);
        const double x = rk_size_value(size, &s->m->hp);
        if (fabs(x - implied) > 1e-6 * fabs(implied) && i-- == 0)
            return size;
    }
    return NULL;
}

static bool is_given(const rk_save_options *o, const char *key)
{
    for (int64_t i = 0; i < o->n_meta; i++)
        if (!strcmp(o->meta[i].key, key))
            return true;
    return false;
}

int rk_save_pairs(const rk_save *s, rk_pair *pairs, char (*text)[RK_SAVE_TEXT_MAX])
{
    const rk_size_spec *size;
    int n = 0;
    if (s->m->ctx_len > 0) {
        put_pair(&pairs[n], text[n], "ctx_len", (double)s->m->ctx_len);
        n++;
    }
    const char *trained = s->m->file ? rk_file_meta(s->m->file, RK_TRAINED_TOKENS) : NULL;
    if (trained && !is_given(s->o, RK_TRAINED_TOKENS))
        pairs[n++] = (rk_pair){RK_TRAINED_TOKENS, trained};
    for (int i = 0; n < RK_SAVE_PAIRS_MAX && (size = unshown_size(s, i)); i++, n++)
        put_size(&pairs[n], text[n], size, rk_size_value(size, &s->m->hp));
    return n;
}

static rk_status save_safetensors(rk_save *s, rk_error *err)
{
    char text[RK_SAVE_PAIRS_MAX][RK_SAVE_TEXT_MAX];
    const rk_save_options *o = s->o;
    rk_pair *pairs = calloc((size_t)o->n_meta + 2 + RK_SAVE_PAIRS_MAX, sizeof *pairs);
    if (!pairs)
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory for its metadata", s->path);
    int64_t n = 0;
    pairs[n++] = (rk_pair){"arch", s->m->arch->name};
    pairs[n++] = (rk_pair){"format", "pt"};
    n += rk_save_pairs(s, pairs + n, text);
    for (int64_t i = 0; i < o->n_meta; i++)
        pairs[n++] = o->meta[i];
    const rk_file_contents c = {s->to, s->n, pairs, n, rk_save_source, s};
    const rk_status st = rk_st_write(s->path, &c, o->overwrite, NULL, err);
    free(pairs);
    return st;
}

static rk_status save_pth(rk_save *s, rk_error *err)
{
    const rk_file_contents c = {s->to, s->n, NULL, 0, rk_save_source, s};
    const rk_size_spec *size = unshown_size(s, 0);
    if (size)
        return rk_fail(err, RK_ERR_UNSUPPORTED,
                       "%s: a .pth file cannot hold the model's %s of %g; a .safetensors file can",
                       s->path, size->name, rk_size_value(size, &s->m->hp));
    return rk_pth_write(s->path, &c, s->o->overwrite, err);
}

static bool ends_with(const char *path, const char *ending)
{
    const size_t n = strlen(path), e = strlen(ending);
    if (n < e)
        return false;
    for (size_t i = 0; i < e; i++)
        if (tolower((unsigned char)path[n - e + i]) != ending[i])
            return false;
    return true;
}

static const struct {
    const char *ending;
    rk_save_container container;
} endings[] = {{".safetensors", RK_SAVE_SAFETENSORS},
               {".pth", RK_SAVE_PTH},
               {".pt", RK_SAVE_PTH},
               {".gguf", RK_SAVE_GGUF}};

rk_status rk_save_container_of(const char *path, rk_save_container *out, rk_error *err)
{
    for (size_t i = 0; i < RK_COUNT(endings); i++)
        if (ends_with(path, endings[i].ending)) {
            *out = endings[i].container;
            return RK_OK;
        }
    return rk_fail(err, RK_ERR_ARG,
                   "%s: no model is written under such a name, expected one that ends in "
                   ".safetensors, .pth, .pt or .gguf",
                   path);
}

rk_save_container rk_save_container_used(const rk_save *s)
{
    rk_save_container by_ending = RK_SAVE_SAFETENSORS;
    if (s->o->container != RK_SAVE_BY_ENDING)
        return s->o->container;
    rk_save_container_of(s->path, &by_ending, NULL);
    return by_ending;
}

/* Only our own names can say that there is no ln0; others' readers would miss it, or apply it again. GGUF
 * has no type for the bits of a predictor, nor blocks for what is read record by record. */
static rk_status refuse_parts(const rk_save *s, rk_error *err)
{
    const bool folder = s->o->names != RK_SAVE_OWN;
    const bool gguf = !folder && rk_save_container_used(s) == RK_SAVE_GGUF;
    const char *part = s->m->hp.ln0_fused && (folder || gguf) ? "ln0_fused of 1"
                       : s->m->hp.ffn_records && gguf         ? "channel mix in records"
                                                              : NULL;
    if (!part)
        return RK_OK;
    return rk_fail(err, RK_ERR_UNSUPPORTED,
                   "%s: a %s cannot hold the model's %s; a .safetensors file can", s->path,
                   folder ? "Hugging Face folder" : ".gguf file", part);
}

/* Readers of other files know no bytes with ranges; and what is added to a matrix does not fit in them. */
static rk_status refuse_ranges(const rk_save *s, rk_error *err)
{
    const bool folder = s->o->names != RK_SAVE_OWN;
    if (rk_model_has_ranges(s->m) && (folder || rk_save_container_used(s) != RK_SAVE_SAFETENSORS))
        return rk_fail(err, RK_ERR_UNSUPPORTED,
                       "%s: matrices of bytes with ranges are written to .safetensors files only; "
                       "'rwkv compress dense' makes floats of them",
                       s->path);
    for (int64_t i = 0; i < s->m->n_params; i++)
        if (rk_ranges_has(s->m, &s->m->params[i]) && is_changed(s, &s->m->params[i]))
            return rk_fail(
                err, RK_ERR_UNSUPPORTED,
                "%s: tensor '%s' is of bytes with ranges, which nothing can be added to; "
                "'rwkv compress dense' makes floats of them",
                s->path, s->m->params[i].name);
    return RK_OK;
}

static rk_status save_as(rk_save *s, rk_error *err)
{
    const rk_save_container as = rk_save_container_used(s);
    const bool folder = s->o->names != RK_SAVE_OWN, fla = s->o->names == RK_SAVE_FLA;
    const bool gguf = !folder && as == RK_SAVE_GGUF, pth = !folder && as == RK_SAVE_PTH;
    s->hf = folder ? rk_hf_class_of(s->m->arch, fla) : NULL;
    s->scheme = s->hf ? rk_hf_class_scheme(s->hf) : gguf ? rk_scheme_gguf_of(s->m) : NULL;
    rk_status st = refuse_parts(s, err);
    if (st == RK_OK)
        st = refuse_ranges(s, err);
    s->vectors_f32 = gguf;
    if (st == RK_OK && folder && !s->hf)
        st = rk_fail(err, RK_ERR_UNSUPPORTED, "%s: there are no %s folders of %s models", s->path,
                     fla ? "fla" : "Hugging Face", s->m->arch->name);
    if (st == RK_OK)
        st = prepare(s, err);
    if (st != RK_OK)
        return st;
    return folder ? rk_save_hf(s, err)
           : gguf ? rk_save_gguf(s, err)
           : pth  ? save_pth(s, err)
                  : save_safetensors(s, err);
}

rk_status rk_model_save(const rk_model *m, const char *path, const rk_save_options *o,
                        rk_error *err)
{
    rk_save s = {.m = m, .o = o, .path = path};
    const rk_status st = save_as(&s, err);
    free(s.to);
    rk_file_close(s.exported);
    rk_file_close(s.canonical);
    return st;
}
