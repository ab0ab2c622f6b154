/* adapter_collect.h: the tensors of a file as the parts of an adapter. For the files that read one format
 * each. */
#ifndef RK_TUNE_ADAPTER_COLLECT_H
#define RK_TUNE_ADAPTER_COLLECT_H

#include "tune/adapter_names.h"
#include "tune/adapter_set.h"

typedef struct rk_adapter_collecting {
    const rk_scheme *gguf;  /* names of llama.cpp; NULL: those of all others */
    rk_adapter_form blocks; /* what (n, r, r) is: Bat per input block or per output block */
    bool mini;              /* MiSS's matrix may be narrower than the outputs */
    bool whole;             /* parameters of the model may stand beside the parts */
    bool starts; /* the file is a start: what it calls one is A and B of the set's parts */
    /* Say the scale of a part that has been read, which the file calls `module`, and refuse what does not
     * fit; NULL: scales are 1. */
    rk_status (*settle)(void *user, rk_adapter_part *p, const char *module, rk_error *err);
    void *user;
} rk_adapter_collecting;

/* Add what the file holds to an empty set, parts in the order of their names.
 * Errors  RK_ERR_FORMAT: a half is missing, shapes that do not go together, a value that is not finite;
 *         those of settle. */
rk_status rk_adapter_collect(rk_adapter_set *s, const rk_file *f, const rk_adapter_collecting *how,
                             rk_error *err);

/* A and B of `from` become the starts of the parts of s; both hold the same matrices. name is that of
 * `from` in sentences. */
rk_status rk_adapter_take_start(rk_adapter_set *s, const rk_adapter_set *from, const char *name,
                                rk_error *err);
/* A part of lora that is a trained pair beside its start, [A; A0] and [B, -B0], gets them apart again. */
rk_status rk_adapter_unstack(rk_adapter_part *p, const char *name, rk_error *err);

#endif
