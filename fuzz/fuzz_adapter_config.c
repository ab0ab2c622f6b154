/* fuzz_adapter_config.c: read an adapter_config.json and ask its patterns. */
#include <stdlib.h>
#include <string.h>

#include "tune/adapter_config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rk_adapter_config c;
    double x = 0;
    if (rk_adapter_config_read(&c, data, size, "input", NULL) != RK_OK)
        return 0;
    if (!c.peft_type || (c.init && strlen(c.init) > size) || (c.base && strlen(c.base) > size))
        abort();
    rk_adapter_pattern_value(&c.rank_pattern, "blocks.0.att.key", 1, "input", &x, NULL);
    rk_adapter_pattern_value(&c.alpha_pattern, "model.layers.11.attn.k_proj", 1, "input", &x, NULL);
    rk_adapter_config_deinit(&c);
    return 0;
}
