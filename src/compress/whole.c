/* whole.c: the parts that stand in the places of matrices, each by the file that makes them. */
#include "compress/whole.h"

#include <string.h>

#include "compress/head.h"
#include "compress/int8.h"
#include "compress/low_rank.h"
#include "compress/predictor.h"
#include "compress/remade.h"
#include "format/ranges.h"
#include "model/pair.h"

rk_status rk_whole_new(rk_model **out, const rk_model *host, rk_pool *pool, rk_error *err)
{
    rk_hparams hp = host->hp;
    const bool enhanced = hp.low_rank > 0 && hp.pair_form == RK_PAIR_ENHANCED;
    const bool ranges = rk_model_has_ranges(host);
    *out = NULL;
    if (hp.low_rank == 0 && !hp.ffn_records && hp.n_clusters == 0 && !ranges)
        return rk_fail(err, RK_ERR_UNSUPPORTED,
                       "the model has no low-rank pairs, no records, no hierarchical head and no "
                       "bytes with ranges: its matrices are whole");
    if (enhanced && !ranges)
        return rk_fail(err, RK_ERR_UNSUPPORTED,
                       "the model's pairs are enhanced: there is a square between the two, so that "
                       "no matrix is their product");
    if (!enhanced)
        memset(hp.pair_rank, 0, sizeof hp.pair_rank);
    hp.ffn_records = hp.n_clusters = 0;
    rk_status st = rk_remade_new(out, host, &hp, err);
    if (st != RK_OK)
        return st;
    if (!enhanced)
        st = rk_low_rank_multiply(*out, host, pool, err);
    if (st == RK_OK)
        st = rk_records_unpack(*out, host, pool, err);
    if (st == RK_OK)
        rk_head_unpack(*out, host);
    if (st == RK_OK)
        st = rk_int8_widen(*out, host, pool, err);
    if (st != RK_OK) {
        rk_remade_close(*out);
        *out = NULL;
    }
    return st;
}
