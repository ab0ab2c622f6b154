/* arch.c: the architectures there are. A new one is a file and a line.
 *
 * This folder in one screen:
 *
 *   model.h, model.c     what an architecture is; a model made of its tables
 *   role.*, sizes.*,     columns and tables: what a parameter is for, sizes, parts of a state,
 *   state.*, init.*      initial values
 *   forward.c, lm.*      a forward through stem, blocks and head; what language models share
 *   transformer.*        what models with the body of a transformer share
 *   rwkv*.c, arwkv7.c, qwen2.c, wuneng.c, meta7.c, rrwkv.c  an architecture each: its tables and its mixers
 *   pack.*               matrices laid out again for products
 *
 * What files call a model's tensors stands in format/. */
#include <string.h>

#include "model/model.h"

/* In the order in which users know them. A file is of the one that finds its names in it. */
const rk_arch *const rk_archs[] = {
    &rk_arch_rwkv7,         &rk_arch_rwkv7a,      &rk_arch_rwkv7_kernel,
    &rk_arch_rwkv6,         &rk_arch_rwkv5,       &rk_arch_rwkv5_1,
    &rk_arch_rwkv5_0,       &rk_arch_rrwkv, /* before the one whose names it has, too */
    &rk_arch_rwkv4,         &rk_arch_rwkv5_first, &rk_arch_rwkv5_1_first,
    &rk_arch_rwkv5_0_first, &rk_arch_arwkv7,      &rk_arch_rwkv6qwen2,
    &rk_arch_rwkv7qwen2,    &rk_arch_wuneng,      &rk_arch_qwen2,
    &rk_arch_llama,         &rk_arch_meta7,       NULL};

const rk_arch *rk_arch_find(const char *name)
{
    for (int i = 0; rk_archs[i]; i++)
        if (!strcmp(rk_archs[i]->name, name))
            return rk_archs[i];
    return NULL;
}

const rk_arch *rk_arch_detect(const rk_file *f)
{
    for (int i = 0; rk_archs[i]; i++)
        if (rk_archs[i]->detect(f))
            return rk_archs[i];
    return NULL;
}
