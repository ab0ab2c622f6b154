/* rrwkv.c: what a token costs in decoding with mediums, as a ratio to RWKV-4 of the same size, in turns in one run:
 * with a medium every 32 and every 8 tokens, and after thousands of tokens.
 *
 *   build/bench_rrwkv [layers channels tokens rounds threads]      (6 768 64 15 2) */
#include "beside.h"

int main(int argc, char **argv)
{
    int64_t args[BESIDE_ARGS] = {6, 768, 64, 15, 2};
    beside_args(argc, argv, args);
    beside_kind kinds[] = {
        {.name = "rwkv4", .arch = &rk_arch_rwkv4},
        {.name = "rrwkv", .arch = &rk_arch_rrwkv},
        {.name = "rrwkv, after 4096", .arch = &rk_arch_rrwkv, .n_before = 4096},
        {.name = "rrwkv, interval 8", .arch = &rk_arch_rrwkv, .own = {{"medium_interval", 8}}}};
    beside_run(kinds, RK_COUNT(kinds), args);
    return 0;
}
