/* role.c: what follows from a parameter's role. */
#include "model/role.h"

const rk_role_facts rk_roles[RK_ROLE_COUNT] = {
    [RK_ROLE_VECTOR] = {"vector"},
    [RK_ROLE_STATE] = {"state"},
    [RK_ROLE_EMB] = {"emb", .table = true, .decays = true, .any_type = true},
    [RK_ROLE_HEAD] = {"head", .weight = true, .product = true, .decays = true, .any_type = true},
    [RK_ROLE_ATT_READ] = {"matrix", .weight = true, .product = true, .decays = true,
                          .any_type = true},
    [RK_ROLE_ATT_WRITE] = {"matrix", .weight = true, .product = true, .decays = true,
                           .any_type = true},
    [RK_ROLE_ATT_OUT] = {"matrix", .weight = true, .product = true, .decays = true,
                         .any_type = true},
    [RK_ROLE_FFN_IN] = {"matrix", .weight = true, .product = true, .decays = true,
                        .any_type = true},
    [RK_ROLE_FFN_OUT] = {"matrix", .weight = true, .product = true, .decays = true,
                         .any_type = true, .zeros_in = true},
    [RK_ROLE_LOW_RANK] = {"low-rank", .weight = true, .product = true, .low_rank = true,
                          .any_type = true, .layout = RK_IN_OUT},
    [RK_ROLE_LOW_RANKS] = {"low-rank", .product = true, .low_rank = true, .layout = RK_IN_OUT},
    [RK_ROLE_EMB_MAP] = {"low-rank", .weight = true, .product = true, .low_rank = true,
                         .decays = true, .any_type = true},
};
