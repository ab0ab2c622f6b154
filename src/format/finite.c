/* finite.c: for sentences about results that are no numbers: where the fault lies. */
#include "format/finite.h"

#include <math.h>

#include "base/num.h"
#include "format/scheme.h"
#include "kernels/blocks.h"

enum { PIECE = 4096 }; /* elements; a whole number of blocks of any type */

static bool is_finite(const rk_file_tensor *t)
{
    float x[PIECE];
    const int64_t count = rk_file_tensor_count(t);
    const bool blocks = rk_dtype_is_blocks(t->dtype);
    if (!blocks && !rk_file_is_float(t))
        return true;
    for (int64_t at = 0; at < count; at += PIECE) {
        const int64_t n = rk_min_i64(PIECE, count - at);
        const size_t from = (size_t)(at / rk_dtype_block(t->dtype)) * rk_dtype_bytes(t->dtype);
        if (blocks)
            rk_blocks_widen(t->dtype, n, (const char *)t->data + from, x);
        else
            rk_file_floats(t, at, n, x);
        for (int64_t i = 0; i < n; i++)
            if (!isfinite(x[i]))
                return false;
    }
    return true;
}

const char *rk_file_find_nonfinite(const rk_file *f)
{
    for (int64_t i = 0; i < rk_file_count(f); i++)
        if (!is_finite(rk_file_at(f, i)))
            return rk_file_at(f, i)->name;
    return NULL;
}
