/* arch.c: the architectures there are. A new one is a file and a line. */
#include <string.h>

#include "model/model.h"

const rk_arch *const rk_archs[] = {&rk_arch_rwkv7, NULL};

const rk_arch *rk_arch_find(const char *name)
{
    for (int i = 0; rk_archs[i]; i++)
        if (!strcmp(rk_archs[i]->name, name))
            return rk_archs[i];
    return NULL;
}
