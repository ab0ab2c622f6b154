/* role.c: what follows from a parameter's role. */
#include "model/role.h"

const rk_role_facts rk_roles[RK_ROLE_COUNT] = {
    [RK_ROLE_EMB] = {.table = true, .decays = true, .any_type = true},
    [RK_ROLE_HEAD] = {.product = true, .decays = true, .any_type = true},
    [RK_ROLE_ATT_READ] = {.product = true, .decays = true, .any_type = true},
    [RK_ROLE_ATT_WRITE] = {.product = true, .decays = true, .any_type = true},
    [RK_ROLE_ATT_OUT] = {.product = true, .decays = true, .any_type = true},
    [RK_ROLE_FFN_IN] = {.product = true, .decays = true, .any_type = true},
    [RK_ROLE_FFN_OUT] = {.product = true, .decays = true, .any_type = true, .zeros_in = true},
    [RK_ROLE_LOW_RANK] = {.product = true, .low_rank = true, .any_type = true, .layout = RK_IN_OUT},
    [RK_ROLE_LOW_RANKS] = {.product = true, .low_rank = true, .layout = RK_IN_OUT},
    [RK_ROLE_EMB_MAP] = {.product = true, .low_rank = true, .decays = true, .any_type = true},
};
