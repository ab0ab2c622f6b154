/* role.h: what a parameter is for. A column of the parameter tables; how a parameter is trained,
 * held, packed, quantised and saved follows from it and never from its name. */
#ifndef RK_MODEL_ROLE_H
#define RK_MODEL_ROLE_H

#include "tensor/ops.h"

typedef enum rk_role {
    RK_ROLE_VECTOR,           /* norms, mixes, biases; (H,N) with an entry a channel too */
    RK_ROLE_STATE,            /* what streams begin with: what the recurrence holds, */
    RK_ROLE_STATE_SUM,        /* a sum of weights in it, */
    RK_ROLE_STATE_PAIR,       /* a factor of what is added to it in training, */
    RK_ROLE_SHIFT,            /* the token before the first */
    RK_ROLE_KERNEL,           /* the initial state and the gain of a kernel path, */
    RK_ROLE_FEATURES,         /* its features, which no gradient changes, */
    RK_ROLE_BASIS,            /* and the basis they are in, which a rule of its own changes */
    RK_ROLE_EMB,              /* a row a token */
    RK_ROLE_HEAD,             /* (V,C) */
    RK_ROLE_TIED,             /* both in one */
    RK_ROLE_ATT_READ,         /* receptance, gate */
    RK_ROLE_ATT_WRITE,        /* key, value */
    RK_ROLE_ATT_OUT,          /* back to the residual stream */
    RK_ROLE_FFN_IN,           /* key and receptance of the channel mix */
    RK_ROLE_FFN_OUT,          /* its value, most of whose inputs a relu made zero, */
    RK_ROLE_FFN_DOWN,         /* or behind a gate that leaves none zero */
    RK_ROLE_LOW_RANK,         /* (in, rank) or (rank, out): mixes, decay, rates, gate */
    RK_ROLE_LOW_RANKS,        /* several of these in one tensor, (n, rank, out) */
    RK_ROLE_FACTOR,           /* one of a pair in the place of a square matrix, (out, in): pair.h */
    RK_ROLE_HEADS,            /* a small matrix for each head, (n, out, in) */
    RK_ROLE_PLACES,           /* numbers of heads, which do not change */
    RK_ROLE_CLUSTERS,         /* of a hierarchical head, which a rule of its own makes */
    RK_ROLE_SQUEEZE,          /* one of two narrow matrices of a gate, (out, in) */
    RK_ROLE_RECORDS,          /* key and value of the channel mix, a record a neuron (records.h), */
    RK_ROLE_PREDICTOR,        /* numbers of a predictor of which neurons are active, */
    RK_ROLE_PREDICTOR_MATRIX, /* its matrices, */
    RK_ROLE_PLANES,           /* and bits of weights, in u8 */
    RK_ROLE_EMB_MAP,       /* (elements of a small matrix, in): what is added to a row of a table */
    RK_ROLE_ADAPTER,       /* what is trained beside a matrix (nn/adapter.h) */
    RK_ROLE_ADAPTER_START, /* what it began with, which does not change */
    RK_ROLE_COUNT
} rk_role;

typedef struct rk_role_facts {
    const char *group; /* what those who choose parameters to train call it */
    bool table;        /* a token needs one row of it */
    bool head;         /* logits are a product with it */
    bool weight;       /* models hold it as an rk_weight, all others as a tensor */
    bool product;      /* a matrix that inputs are multiplied with */
    bool low_rank;     /* one whose inputs or outputs are few */
    bool hidden;       /* a whole matrix between activations: neither a table nor the head */
    bool decays;       /* subject to weight decay */
    bool any_type;     /* may be held in 16 bits or in blocks; else kernels read it as reals */
    bool ranged;       /* large enough for bytes with ranges, (out, in): format/ranges.h */
    bool zeros_in;     /* most of its inputs may be zero */
    bool adapter;      /* beside the model: no struct of an architecture refers to it */
    bool nonnegative;  /* an update that makes an element negative leaves 0 */
    bool constant;     /* has no gradient: nothing trains it but a rule of its own */
    bool ruled;        /* there is one: where it is trained, a trainer holds it without moments */
    bool beside;       /* what state tuning leaves, in files beside the model's */
    rk_layout layout;  /* of a product */
} rk_role_facts;

extern const rk_role_facts rk_roles[RK_ROLE_COUNT];

#endif
