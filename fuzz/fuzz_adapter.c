/* fuzz_adapter.c: read an adapter out of any container, and everything that was accepted. */
#include <math.h>
#include <stdlib.h>

#include "tune/adapter_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Values are finite, and there is one for each place of the shape: the address sanitizer sees a read
 * behind the last. */
static void check_floats(const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            abort();
}

static void check_part(const rk_adapter_part *p)
{
    char name[RK_PARAM_NAME_MAX + 32];
    if (p->rank < 1 || p->in < 0 || p->out < 0 || !isfinite(p->scale))
        abort();
    for (int i = 0; i < rk_forms[p->form].n_tensors; i++) {
        check_floats(p->tensors[i], rk_part_count(p, i));
        rk_part_tensor_name(p, i, name, sizeof name);
    }
    for (int i = 0; i < 2 && p->start[0]; i++)
        check_floats(p->start[i], rk_part_count(p, i));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const rk_adapter_reading how = {.alpha = 8};
    rk_adapter_set *s = NULL;
    rk_file *f = NULL;
    if (rk_file_open_memory(&f, data, size, "input", NULL) != RK_OK)
        return 0;
    if (rk_adapter_open_file(&s, f, &how, NULL) == RK_OK) {
        for (int64_t i = 0; i < s->n_parts; i++)
            check_part(&s->parts[i]);
        for (int64_t i = 0; i < s->n_whole; i++) {
            int64_t n = 1;
            for (int d = 0; d < s->whole[i].n_dims; d++)
                n *= s->whole[i].dims[d];
            check_floats(s->whole[i].data, n);
        }
    }
    rk_adapter_set_free(s);
    rk_file_close(f);
    return 0;
}
