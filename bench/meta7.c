/* meta7.c: what a token costs in decoding with Meta-State's channel mix, as a ratio to RWKV-7 of the same size, in
 * turns in one run.
 *
 *   build/bench_meta7 [layers channels tokens rounds threads]      (6 768 64 15 2) */
#include "beside.h"

int main(int argc, char **argv)
{
    int64_t args[BESIDE_ARGS] = {6, 768, 64, 15, 2};
    beside_args(argc, argv, args);
    const double heads = (double)rk_max_i64(args[BESIDE_CHANNELS] / 64, 1);
    const double quarter = (double)rk_max_i64((int64_t)heads / 4, 1);
    beside_kind kinds[] = {
        {.name = "rwkv7", .arch = &rk_arch_rwkv7},
        {.name = "meta7, H/4", .arch = &rk_arch_meta7, .own = {{"meta_heads", quarter}}},
        {.name = "meta7, all heads", .arch = &rk_arch_meta7, .own = {{"meta_heads", heads}}}};
    beside_run(kinds, RK_COUNT(kinds), args);
    return 0;
}
