/* ids.h: token ids as files hold them: integers of several widths, little-endian. */
#ifndef RK_DATA_IDS_H
#define RK_DATA_IDS_H

#include "base/error.h"

typedef enum rk_id_type {
    RK_ID_U8,
    RK_ID_I8,
    RK_ID_U16,
    RK_ID_I16,
    RK_ID_U32,
    RK_ID_I32,
    RK_ID_U64,
    RK_ID_I64,
    RK_ID_TYPES
} rk_id_type;

typedef struct rk_id_kind {
    const char *name, *npy; /* "u16"; NumPy's "<u2" */
    size_t bytes;
    int megatron; /* the code in an .idx file; 0: it has none */
} rk_id_kind;

extern const rk_id_kind rk_id_kinds[RK_ID_TYPES];

/* The type of n_vocab ids in memory and in files that are written: 16 bits for up to 65536, which
 * every RWKV vocabulary has, else 32. */
rk_id_type rk_id_type_for(int64_t n_vocab);

/* ids[i]. One that is too large for 63 bits comes out negative. */
int64_t rk_ids_at(rk_id_type t, const void *ids, int64_t i);
/* ids[first..first + n), which are known to fit. */
void rk_ids_read(rk_id_type t, const void *ids, int64_t first, int64_t n, int32_t *out);
/* The first of n ids that is outside [0, n_vocab); -1: none. */
int64_t rk_ids_find_outside(rk_id_type t, const void *ids, int64_t n, int64_t n_vocab);

#endif
