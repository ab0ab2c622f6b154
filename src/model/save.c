/* save.c: a model to a file: safetensors, or .pth by the name's ending.
 *
 * A tensor that keeps its type is copied as its bytes lie; one that changes it goes through floats
 * in pieces, so that no second copy of a tensor is held. What lies transposed, or in blocks while
 * it lies transposed, is small and is put in order in memory of its own. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "io/pth.h"
#include "io/safetensors.h"
#include "kernels/blocks.h"
#include "model/model.h"
#include "model/scheme.h"

typedef struct save_job {
    const rk_file_tensor *from; /* what the tensors of the contents are made of */
    const rk_file_tensor *to;
} save_job;

/* ---- elements ---- */

enum { PIECE = 4096 }; /* elements; a multiple of every block */

static void read_piece(const rk_file_tensor *t, int64_t at, int64_t n, float *out)
{
    if (rk_dtype_is_blocks(t->dtype))
        rk_blocks_widen(t->dtype, n,
                        (const char *)t->data +
                            (size_t)(at / rk_dtype_block(t->dtype)) * rk_dtype_bytes(t->dtype),
                        out);
    else
        rk_file_floats(t, at, n, out);
}

static void narrow_piece(const float *x, int64_t n, rk_dtype dtype, void *out)
{
    for (int64_t i = 0; i < n; i++)
        if (dtype == RK_F32)
            ((float *)out)[i] = x[i];
        else
            ((uint16_t *)out)[i] = dtype == RK_BF16 ? rk_f32_to_bf16(x[i]) : rk_f32_to_f16(x[i]);
}

static rk_status write_converted(const rk_file_tensor *from, rk_dtype dtype, rk_out *out)
{
    float x[PIECE], narrowed[PIECE];
    const int64_t n = rk_file_tensor_count(from);
    for (int64_t at = 0; at < n; at += PIECE) {
        const int64_t count = rk_min_i64(PIECE, n - at);
        read_piece(from, at, count, x);
        narrow_piece(x, count, dtype, narrowed);
        if (!rk_out_write(out, narrowed, (size_t)count * rk_dtype_bytes(dtype)))
            break; /* the writer reports it */
    }
    return RK_OK;
}

/* The transpose of the last two dimensions of a matrix, as elements of one type. */
static rk_status write_exchanged(const rk_file_tensor *from, rk_dtype dtype, rk_out *out,
                                 rk_error *err)
{
    const size_t size = rk_dtype_bytes(dtype);
    const int64_t n = rk_file_tensor_count(from);
    const int64_t rows = from->dims[from->n_dims - 2], cols = from->dims[from->n_dims - 1];
    float *x = malloc((size_t)n * sizeof *x + 1);
    char *stored = malloc((size_t)n * size + 1), *row = malloc((size_t)cols * size + 1);
    const bool ok = x && stored && row;
    if (ok && from->dtype == dtype)
        memcpy(stored, from->data, from->bytes);
    for (int64_t at = 0; ok && from->dtype != dtype && at < n; at += PIECE) {
        const int64_t count = rk_min_i64(PIECE, n - at);
        read_piece(from, at, count, x + at);
        narrow_piece(x + at, count, dtype, stored + (size_t)at * size);
    }
    for (int64_t r = 0; ok && r < rows; r++) {
        for (int64_t c = 0; c < cols; c++)
            memcpy(row + (size_t)c * size, stored + (size_t)(c * rows + r) * size, size);
        rk_out_write(out, row, (size_t)cols * size);
    }
    free(row);
    free(stored);
    free(x);
    return ok ? RK_OK
              : rk_fail(err, RK_ERR_NOMEM, "out of memory to transpose tensor '%.80s'", from->name);
}

static rk_status write_tensor(void *user, int64_t i, rk_out *out, rk_error *err)
{
    const save_job *j = user;
    const rk_file_tensor *from = &j->from[i];
    const rk_dtype dtype = j->to[i].dtype;
    if (from->exchanged)
        return write_exchanged(from, dtype, out, err);
    if (from->dtype != dtype)
        return write_converted(from, dtype, out);
    rk_out_write(out, from->data, from->bytes);
    return RK_OK;
}

/* ---- contents ---- */

/* What holds a parameter: the file, as it is there, or the trainer's memory. */
static bool source_of(const rk_model *m, const rk_param *p, rk_file_tensor *from)
{
    const rk_file_tensor *t = m->file ? rk_file_find(m->file, p->name) : NULL;
    if (t) {
        *from = *t;
        return true;
    }
    if (!p->tensor.data)
        return false;
    *from = (rk_file_tensor){.name = p->name,
                             .dtype = p->tensor.dtype,
                             .n_dims = p->tensor.n_dims,
                             .data = p->tensor.data,
                             .bytes = rk_tensor_bytes(&p->tensor)};
    memcpy(from->dims, p->tensor.dims, sizeof p->tensor.dims);
    return true;
}

/* The parameter's own shape, and the type that the options ask for. What layer 0 stores and does
 * not use has whatever shape it came with. */
static rk_file_tensor target_of(const rk_param *p, const rk_file_tensor *from,
                                const rk_save_options *o)
{
    rk_file_tensor to = {.name = p->name, .dtype = from->dtype, .n_dims = from->n_dims};
    memcpy(to.dims, from->dims, sizeof to.dims);
    if (p->used) {
        to.n_dims = p->tensor.n_dims;
        memcpy(to.dims, p->tensor.dims, sizeof p->tensor.dims);
    }
    if (!o->keep_types)
        to.dtype = rk_tensor_rows(&p->tensor) == 1 ? RK_F32 : o->dtype;
    return to;
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

/* Other than that of the official code, which files without metadata stand for. */
static bool has_own_eps(const rk_model *m)
{
    return m->hp.ln_x_eps != 64e-5;
}

static rk_status write_contents(const rk_model *m, const char *path, const rk_file_contents *c,
                                bool overwrite, rk_error *err)
{
    if (!ends_with(path, ".pth") && !ends_with(path, ".pt"))
        return rk_st_write(path, c, overwrite, NULL, err);
    if (has_own_eps(m))
        return rk_fail(
            err, RK_ERR_UNSUPPORTED,
            "%s: a .pth file cannot hold the model's ln_x_eps of %g; a .safetensors file "
            "can",
            path, m->hp.ln_x_eps);
    return rk_pth_write(path, c, overwrite, err);
}

enum { OWN_PAIRS = 4 };

/* What every model file of ours says of itself; text holds the numbers. */
static int64_t own_pairs(const rk_model *m, rk_pair *pairs, char (*text)[32])
{
    int64_t n = 0;
    pairs[n++] = (rk_pair){"arch", m->arch->name};
    pairs[n++] = (rk_pair){"format", "pt"};
    if (m->ctx_len > 0) {
        snprintf(text[0], sizeof text[0], "%lld", (long long)m->ctx_len);
        pairs[n++] = (rk_pair){"ctx_len", text[0]};
    }
    if (has_own_eps(m)) {
        snprintf(text[1], sizeof text[1], "%.9g", m->hp.ln_x_eps);
        pairs[n++] = (rk_pair){"ln_x_eps", text[1]};
    }
    return n;
}

rk_status rk_model_save(const rk_model *m, const char *path, const rk_save_options *o,
                        rk_error *err)
{
    char text[2][32];
    const size_t room = (size_t)m->n_params;
    rk_file_tensor *from = calloc(room, sizeof *from), *to = calloc(room, sizeof *to);
    rk_pair *pairs = calloc((size_t)o->n_meta + OWN_PAIRS, sizeof *pairs);
    rk_status st = RK_ERR_NOMEM;
    if (from && to && pairs) {
        int64_t n = 0, n_pairs = own_pairs(m, pairs, text);
        for (int64_t i = 0; i < o->n_meta; i++)
            pairs[n_pairs++] = o->meta[i];
        for (int64_t i = 0; i < m->n_params; i++)
            if (source_of(m, &m->params[i], &from[n])) {
                to[n] = target_of(&m->params[i], &from[n], o);
                n++;
            }
        save_job job = {from, to};
        const rk_file_contents c = {to, n, pairs, n_pairs, write_tensor, &job};
        st = write_contents(m, path, &c, o->overwrite, err);
    } else {
        rk_fail(err, st, "%s: out of memory for its table of tensors", path);
    }
    free(pairs);
    free(to);
    free(from);
    return st;
}
