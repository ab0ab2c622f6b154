/* role.c: what follows from a parameter's role. */
#include "model/role.h"

const rk_role_facts rk_roles[RK_ROLE_COUNT] = {
    [RK_ROLE_VECTOR] = {.group = "vector"},
    [RK_ROLE_STATE] = {.group = "state"},
    [RK_ROLE_EMB] = {.group = "emb", .table = true, .decays = true, .any_type = true},
    [RK_ROLE_HEAD] =
        {.group = "head", .weight = true, .product = true, .decays = true, .any_type = true},
    [RK_ROLE_ATT_READ] =
        {.group = "matrix", .weight = true, .product = true, .decays = true, .any_type = true},
    [RK_ROLE_ATT_WRITE] =
        {.group = "matrix", .weight = true, .product = true, .decays = true, .any_type = true},
    [RK_ROLE_ATT_OUT] =
        {.group = "matrix", .weight = true, .product = true, .decays = true, .any_type = true},
    [RK_ROLE_FFN_IN] =
        {.group = "matrix", .weight = true, .product = true, .decays = true, .any_type = true},
    [RK_ROLE_FFN_OUT] = {.group = "matrix",
                         .weight = true,
                         .product = true,
                         .decays = true,
                         .any_type = true,
                         .zeros_in = true},
    [RK_ROLE_LOW_RANK] = {.group = "low-rank",
                          .weight = true,
                          .product = true,
                          .low_rank = true,
                          .any_type = true,
                          .layout = RK_IN_OUT},
    [RK_ROLE_LOW_RANKS] = {.group = "low-rank",
                           .product = true,
                           .low_rank = true,
                           .layout = RK_IN_OUT},
    [RK_ROLE_EMB_MAP] = {.group = "low-rank",
                         .weight = true,
                         .product = true,
                         .low_rank = true,
                         .decays = true,
                         .any_type = true},
};
