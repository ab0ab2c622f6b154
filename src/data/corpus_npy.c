/* corpus_npy.c: NumPy's arrays of token ids: one dimension is one document, of two each row is one. */
#include "base/num.h"
#include "base/str.h"
#include "data/corpus.h"
#include "io/npy.h"

bool rk_npy_ids_is(const char *path)
{
    return rk_ends_with(path, ".npy");
}

rk_status rk_npy_ids_open(rk_corpus *c, rk_error *err)
{
    rk_npy_type types[RK_ID_TYPES];
    rk_npy f;
    for (int t = 0; t < RK_ID_TYPES; t++)
        types[t] = (rk_npy_type){rk_id_kinds[t].npy, rk_id_kinds[t].bytes};
    const rk_status st =
        rk_npy_open_types(&f, c->path, types, RK_ID_TYPES, "whole numbers, such as '<u2'", err);
    if (st != RK_OK)
        return st;
    c->bin = f.map; /* closed with the corpus */
    c->type = (rk_id_type)f.type;
    c->ids = f.bytes;
    c->ids_at = (size_t)((const unsigned char *)f.bytes - f.map.data);
    c->n_docs = f.n_dims == 2 ? f.dims[0] : 1;
    c->doc_tokens = f.n_dims == 2 ? f.dims[1] : f.dims[0];
    c->n = c->n_docs * c->doc_tokens;
    return c->n > 0 ? RK_OK : rk_fail(err, RK_ERR_FORMAT, "%s: holds no token", c->path);
}
