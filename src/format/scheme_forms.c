/* scheme_forms.c: converts values between other programs' layouts and ours. */
#include "format/scheme_forms.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "kernels/blocks.h"

/* ---- values ---- */

bool rk_file_is_float(const rk_file_tensor *t)
{
    return t->dtype == RK_F32 || t->dtype == RK_BF16 || t->dtype == RK_F16 || t->dtype == RK_F64;
}

int64_t rk_file_tensor_count(const rk_file_tensor *t)
{
    return (int64_t)(t->bytes / rk_dtype_bytes(t->dtype)) * rk_dtype_block(t->dtype);
}

void rk_file_floats(const rk_file_tensor *t, int64_t at, int64_t n, float *out)
{
    for (int64_t i = 0; i < n; i++)
        switch (t->dtype) {
        case RK_BF16:
            out[i] = rk_bf16_to_f32(((const uint16_t *)t->data)[at + i]);
            break;
        case RK_F16:
            out[i] = rk_f16_to_f32(((const uint16_t *)t->data)[at + i]);
            break;
        case RK_F64:
            out[i] = (float)((const double *)t->data)[at + i];
            break;
        default:
            out[i] = ((const float *)t->data)[at + i];
        }
}

static rk_status fail_form(const rk_file *f, const rk_file_tensor *t, const char *expected,
                           rk_error *err)
{
    return rk_fail(err, RK_ERR_FORMAT, "%s: tensor '%.80s' of %s in %d dimensions, expected %s",
                   rk_file_name(f), t->name, rk_dtype_name(t->dtype), t->n_dims, expected);
}

/* Replace the values of t by fn of each, in memory of their own. */
static rk_status map_values(rk_file *out, rk_file_tensor *t, double (*fn)(double), rk_error *err)
{
    const int64_t n = rk_file_tensor_count(t);
    if (!rk_file_is_float(t))
        return fail_form(out, t, "a float type", err);
    float *x = rk_file_alloc(out, (size_t)n * sizeof *x, err);
    if (!x)
        return RK_ERR_NOMEM;
    rk_file_floats(t, 0, n, x);
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)fn((double)x[i]);
    t->dtype = RK_F32;
    t->bytes = (size_t)n * sizeof *x;
    t->data = x;
    return RK_OK;
}

static double log_of_neg(double y)
{
    return log(-y);
}
static double log_of_neg_log(double y)
{
    return log(-log(y));
}

/* The place in fla's order (r,w,k,v,g) of each group of the official one (w,k,v,r,g). */
static const int fla6_group[5] = {1, 2, 3, 0, 4};

/* Strides of element (group, rank, channel). */
typedef struct maa_strides {
    int64_t g, d, c;
} maa_strides;

static void copy_maa(const char *from, maa_strides a, char *to, maa_strides b, int64_t n_d,
                     int64_t n_c, size_t size)
{
    for (int64_t g = 0; g < 5; g++)
        for (int64_t d = 0; d < n_d; d++)
            for (int64_t c = 0; c < n_c; c++)
                memcpy(to + (size_t)(g * b.g + d * b.d + c * b.c) * size,
                       from + (size_t)(fla6_group[g] * a.g + d * a.d + c * a.c) * size, size);
}

/* The five low-rank mixes of rwkv6 from fla's order and orientation: w1 (5D, C) to (C, 5D), w2
 * (C, 5D) to (5, D, C). */
static rk_status import_maa(rk_file *out, rk_file_tensor *t, bool w1, rk_error *err)
{
    if (rk_dtype_is_blocks(t->dtype) || t->exchanged || t->n_dims != 2)
        return fail_form(out, t, "the five mixes of rwkv6", err);
    const int64_t c = t->dims[w1 ? 1 : 0], d = t->dims[w1 ? 0 : 1] / 5;
    if (c < 1 || d < 1 || d * 5 * c != rk_file_tensor_count(t))
        return fail_form(out, t, "five groups", err);
    char *to = rk_file_alloc(out, t->bytes, err);
    if (!to)
        return RK_ERR_NOMEM;
    const maa_strides fla = {w1 ? d * c : d, w1 ? c : 1, w1 ? 1 : 5 * d};
    const maa_strides own = {w1 ? d : d * c, w1 ? 1 : c, w1 ? 5 * d : 1};
    copy_maa(t->data, fla, to, own, d, c, rk_dtype_bytes(t->dtype));
    const int64_t dims[3] = {w1 ? c : 5, w1 ? 5 * d : d, c};
    t->n_dims = w1 ? 2 : 3;
    memcpy(t->dims, dims, sizeof dims);
    t->data = to;
    return RK_OK;
}

/* Scale the f16 factors of blocks, or f16 values: a block of one that is its own factor. */
static void scale_halves(unsigned char *x, size_t bytes, rk_dtype dtype, float factor)
{
    const rk_block_factors f =
        dtype == RK_F16 ? (rk_block_factors){0, 1} : rk_blocks_factors(dtype);
    for (size_t at = (size_t)f.at; at < bytes; at += rk_dtype_bytes(dtype))
        for (int k = 0; k < f.n; k++) {
            uint16_t h;
            memcpy(&h, x + at + 2 * (size_t)k, sizeof h);
            h = rk_f32_to_f16(rk_f16_to_f32(h) * factor);
            memcpy(x + at + 2 * (size_t)k, &h, sizeof h);
        }
}

/* A copy of t times a power of two, which changes exponents only. */
static rk_status scale(rk_file *out, rk_file_tensor *t, float factor, rk_error *err)
{
    const size_t n = t->bytes / rk_dtype_bytes(t->dtype);
    unsigned char *x = rk_file_alloc(out, t->bytes, err);
    if (!x)
        return RK_ERR_NOMEM;
    memcpy(x, t->data, t->bytes);
    if (t->dtype == RK_F32)
        for (size_t i = 0; i < n; i++)
            ((float *)(void *)x)[i] *= factor;
    else if (t->dtype == RK_BF16)
        for (size_t i = 0; i < n; i++)
            ((uint16_t *)(void *)x)[i] =
                rk_f32_to_bf16(rk_bf16_to_f32(((uint16_t *)(void *)x)[i]) * factor);
    else
        scale_halves(x, t->bytes, t->dtype, factor);
    t->data = x;
    return RK_OK;
}

/* A number in the GGUF metadata of the file's own architecture; 0 where it has none. */
static int64_t gguf_number(const rk_file *f, const char *key)
{
    char name[128];
    const char *arch = rk_file_meta(f, "general.architecture"), *value = NULL;
    if (arch) {
        snprintf(name, sizeof name, "%.32s.%s", arch, key);
        value = rk_file_meta(f, name);
    }
    return value ? strtoll(value, NULL, 10) : 0;
}

/* Layers l of GGUF's rwkv6 have been divided by 2^(l / R). */
static rk_status undo_rescale(rk_file *out, rk_file_tensor *t, long layer, rk_error *err)
{
    const int64_t every = gguf_number(out, "rescale_every_n_layers");
    const int64_t power = every > 0 ? layer / every : 0;
    if (power < 0 || power > 14)
        return rk_fail(err, RK_ERR_FORMAT, "%s: tensor '%.80s' is rescaled by 2^-%lld",
                       rk_file_name(out), t->name, (long long)power);
    return power ? scale(out, t, (float)(1 << power), err) : RK_OK;
}

/* (C) as (H, N). */
static rk_status split_heads(rk_file *out, rk_file_tensor *t, rk_error *err)
{
    const int64_t n = gguf_number(out, "wkv.head_size"), count = rk_file_tensor_count(t);
    if (n < 1 || count % n != 0)
        return fail_form(out, t, "a multiple of wkv.head_size", err);
    t->n_dims = 2;
    t->dims[0] = count / n;
    t->dims[1] = n;
    return RK_OK;
}

static void flatten(rk_file_tensor *t)
{
    t->dims[0] = rk_file_tensor_count(t);
    t->n_dims = 1;
}

static void squeeze_end(rk_file_tensor *t)
{
    while (t->n_dims > 1 && t->dims[t->n_dims - 1] == 1)
        t->n_dims--;
}

static rk_status exchange(rk_file *out, rk_file_tensor *t, rk_error *err)
{
    if (t->n_dims < 2)
        return fail_form(out, t, "a matrix", err);
    const int64_t last = t->dims[t->n_dims - 1];
    t->dims[t->n_dims - 1] = t->dims[t->n_dims - 2];
    t->dims[t->n_dims - 2] = last;
    t->exchanged = !t->exchanged;
    return RK_OK;
}

/* Put the values into the order of the dimensions, which writers need. */
rk_status rk_form_straighten(rk_file *out, rk_file_tensor *t, rk_error *err)
{
    if (!t->exchanged)
        return RK_OK;
    if (rk_dtype_is_blocks(t->dtype))
        return rk_fail(err, RK_ERR_UNSUPPORTED,
                       "%s: tensor '%.80s': blocks of %s cannot be transposed", rk_file_name(out),
                       t->name, rk_dtype_name(t->dtype));
    const size_t size = rk_dtype_bytes(t->dtype);
    const int64_t rows = t->dims[t->n_dims - 2], cols = t->dims[t->n_dims - 1];
    char *to = rk_file_alloc(out, t->bytes, err);
    if (!to)
        return RK_ERR_NOMEM;
    const int64_t n = rows > 0 && cols > 0 ? rk_file_tensor_count(t) / (rows * cols) : 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t r = 0; r < rows; r++)
            for (int64_t c = 0; c < cols; c++)
                memcpy(to + (size_t)((i * rows + r) * cols + c) * size,
                       (const char *)t->data + (size_t)((i * cols + c) * rows + r) * size, size);
    t->data = to;
    t->exchanged = false;
    return RK_OK;
}

/* Take part `piece` of a stack: the first dimension is removed. */
static rk_status take_piece(const rk_file *out, rk_file_tensor *t, int piece, rk_error *err)
{
    if (t->n_dims < 2 || t->exchanged || t->dims[0] < 1)
        return fail_form(out, t, "a stack", err);
    if (piece >= t->dims[0])
        return rk_fail(err, RK_ERR_UNSUPPORTED,
                       "%s: tensor '%.80s' stacks %lld mixes, expected at least %d",
                       rk_file_name(out), t->name, (long long)t->dims[0], piece + 1);
    t->bytes /= (size_t)t->dims[0];
    t->data = (const char *)t->data + (size_t)piece * t->bytes;
    memmove(t->dims, t->dims + 1, (size_t)(t->n_dims - 1) * sizeof *t->dims);
    t->n_dims--;
    return RK_OK;
}

/* Of a stack of matrices no view can exchange the last dimensions. */
static rk_status exchange_form(rk_file *out, rk_file_tensor *t, rk_error *err)
{
    const rk_status st = exchange(out, t, err);
    return st == RK_OK && t->n_dims > 2 ? rk_form_straighten(out, t, err) : st;
}

/* Rows 2 i and 2 i + 1 of each head to places i and i + half, or back, in memory of their own. Rows of
 * blocks are whole ones. */
static rk_status move_pairs(rk_file *out, rk_file_tensor *t, bool apart, rk_error *err)
{
    const char *said = rk_file_meta(out, RK_FORM_HEAD_SIZE);
    const int64_t size = said ? strtoll(said, NULL, 10) : 0, rows = t->n_dims == 2 ? t->dims[0] : 0;
    if (size < 2 || size % 2 != 0 || rows < 1 || rows % size != 0 || t->exchanged)
        return fail_form(out, t, "rows of heads of an even size", err);
    const size_t bytes = t->bytes / (size_t)rows;
    char *to = rk_file_alloc(out, t->bytes, err);
    if (!to)
        return RK_ERR_NOMEM;
    for (int64_t r = 0; r < rows; r++) {
        const int64_t in = r % size, side = r - in + in / 2 + in % 2 * (size / 2);
        memcpy(to + (size_t)(apart ? side : r) * bytes,
               (const char *)t->data + (size_t)(apart ? r : side) * bytes, bytes);
    }
    t->data = to;
    return RK_OK;
}

/* A copy in which of five parts the first and the fourth have changed places. */
static rk_status swap_parts(rk_file *out, rk_file_tensor *t, rk_error *err)
{
    static const size_t from[5] = {3, 1, 2, 0, 4};
    const size_t part = t->bytes / 5;
    if (t->n_dims < 2 || t->dims[0] < 5 || t->dims[0] % 5 != 0 || t->exchanged)
        return fail_form(out, t, "five parts along the first dimension", err);
    char *to = rk_file_alloc(out, t->bytes, err);
    if (!to)
        return RK_ERR_NOMEM;
    for (size_t i = 0; i < 5; i++)
        memcpy(to + i * part, (const char *)t->data + from[i] * part, part);
    t->data = to;
    return RK_OK;
}

rk_status rk_form_import(rk_file *out, rk_file_tensor *t, const rk_scheme_row *row, long layer,
                         rk_error *err)
{
    switch (row->form) {
    case RK_FORM_EXCHANGED:
        return exchange_form(out, t, err);
    case RK_FORM_SWAPPED: {
        const rk_status st = swap_parts(out, t, err);
        return st == RK_OK ? exchange_form(out, t, err) : st;
    }
    case RK_FORM_HEADS:
        return split_heads(out, t, err);
    case RK_FORM_FLAT:
        flatten(t);
        return RK_OK;
    case RK_FORM_SQUEEZED:
        squeeze_end(t);
        return RK_OK;
    case RK_FORM_RESCALED:
        return undo_rescale(out, t, layer, err);
    case RK_FORM_PIECE:
    case RK_FORM_LAST_PIECE:
        return take_piece(out, t, row->piece, err);
    case RK_FORM_PAIRS:
        return move_pairs(out, t, true, err);
    case RK_FORM_NEG_EXP:
        return map_values(out, t, log_of_neg, err);
    case RK_FORM_EXP:
        return map_values(out, t, log, err);
    case RK_FORM_EXP_NEG_EXP:
        return map_values(out, t, log_of_neg_log, err);
    case RK_FORM_FLA6_MAA_W1:
    case RK_FORM_FLA6_MAA_W2:
        return import_maa(out, t, row->form == RK_FORM_FLA6_MAA_W1, err);
    default:
        return RK_OK;
    }
}

/* Forms that exist only in files that are read are not exported. */
rk_status rk_form_export(rk_file *out, rk_file_tensor *t, const rk_scheme_row *row, rk_error *err)
{
    const rk_status st = row->form == RK_FORM_EXCHANGED || row->form == RK_FORM_SWAPPED
                             ? exchange_form(out, t, err)
                         : row->form == RK_FORM_PAIRS ? move_pairs(out, t, false, err)
                                                      : RK_OK;
    const rk_status straight = st == RK_OK ? rk_form_straighten(out, t, err) : st;
    return straight == RK_OK && row->form == RK_FORM_SWAPPED ? swap_parts(out, t, err) : straight;
}
