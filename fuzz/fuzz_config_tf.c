/* fuzz_config_tf.c: read a transformer's config.json. */
#include <stdlib.h>
#include <string.h>

#include "format/config_tf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rk_tf_config c;
    if (rk_tf_config_read(&c, data, size, "input", NULL) == RK_OK &&
        strlen(c.model_type) >= RK_TF_WORD_MAX)
        abort();
    return 0;
}
