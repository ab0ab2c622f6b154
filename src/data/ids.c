/* ids.c: a load for each type. The loops of the two types that large files have stand alone, so that
 * the compiler makes vector code of them: ids of a corpus are all looked at before it is trained on. */
#include "data/ids.h"

#include <string.h>

#include "base/num.h"

enum { NARROW_VOCAB_MAX = 65536 };

const rk_id_kind rk_id_kinds[RK_ID_TYPES] = {
    [RK_ID_U8] = {"u8", "|u1", 1, 1},   [RK_ID_I8] = {"i8", "|i1", 1, 2},
    [RK_ID_U16] = {"u16", "<u2", 2, 8}, [RK_ID_I16] = {"i16", "<i2", 2, 3},
    [RK_ID_U32] = {"u32", "<u4", 4, 0}, [RK_ID_I32] = {"i32", "<i4", 4, 4},
    [RK_ID_U64] = {"u64", "<u8", 8, 0}, [RK_ID_I64] = {"i64", "<i8", 8, 5},
};

rk_id_type rk_id_type_for(int64_t n_vocab)
{
    return n_vocab > NARROW_VOCAB_MAX ? RK_ID_I32 : RK_ID_U16;
}

int64_t rk_ids_at(rk_id_type t, const void *ids, int64_t i)
{
    switch (t) {
    case RK_ID_U8:
        return ((const uint8_t *)ids)[i];
    case RK_ID_I8:
        return ((const int8_t *)ids)[i];
    case RK_ID_U16:
        return ((const uint16_t *)ids)[i];
    case RK_ID_I16:
        return ((const int16_t *)ids)[i];
    case RK_ID_U32:
        return ((const uint32_t *)ids)[i];
    case RK_ID_I32:
        return ((const int32_t *)ids)[i];
    default: /* what is above 2^63 as a negative number: no id either */
        return ((const int64_t *)ids)[i];
    }
}

void rk_ids_read(rk_id_type t, const void *ids, int64_t first, int64_t n, int32_t *out)
{
    if (t == RK_ID_I32)
        memcpy(out, (const int32_t *)ids + first, (size_t)n * sizeof *out);
    else
        for (int64_t i = 0; i < n; i++)
            out[i] = (int32_t)rk_ids_at(t, ids, first + i);
}

static uint16_t largest_u16(const uint16_t *ids, int64_t n)
{
    uint16_t most = 0;
    for (int64_t i = 0; i < n; i++)
        most = ids[i] > most ? ids[i] : most;
    return most;
}

/* A negative number is a large one here. */
static uint32_t largest_u32(const uint32_t *ids, int64_t n)
{
    uint32_t most = 0;
    for (int64_t i = 0; i < n; i++)
        most = ids[i] > most ? ids[i] : most;
    return most;
}

/* May one of n ids be outside? */
static bool is_suspect(rk_id_type t, const void *ids, int64_t n, int64_t n_vocab)
{
    switch (t) {
    case RK_ID_U8:
        return n_vocab <= UINT8_MAX;
    case RK_ID_U16:
        return n_vocab <= UINT16_MAX && largest_u16(ids, n) >= n_vocab;
    case RK_ID_U32:
    case RK_ID_I32:
        return largest_u32(ids, n) >= n_vocab;
    default:
        return true;
    }
}

int64_t rk_ids_find_outside(rk_id_type t, const void *ids, int64_t n, int64_t n_vocab)
{
    enum { BLOCK = 1 << 16 };
    for (int64_t at = 0; at < n; at += BLOCK) {
        const int64_t stop = rk_min_i64(n, at + BLOCK);
        const char *from = (const char *)ids + (size_t)at * rk_id_kinds[t].bytes;
        for (int64_t i = is_suspect(t, from, stop - at, n_vocab) ? at : stop; i < stop; i++) {
            const int64_t id = rk_ids_at(t, ids, i);
            if (id < 0 || id >= n_vocab)
                return i;
        }
    }
    return -1;
}
