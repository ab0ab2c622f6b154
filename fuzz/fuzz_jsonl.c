/* fuzz_jsonl.c: list the documents of a .jsonl file in memory and read them. */
#include <stdlib.h>

#include "io/json_scan.h"
#include "io/textdata.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What a strict reader has decoded is UTF-8. */
static void check_utf8(rk_document doc)
{
    const unsigned char *p = (const unsigned char *)doc.text;
    for (size_t at = 0, n; at < doc.bytes; at += n) {
        n = rk_json_utf8_length(p + at, doc.bytes - at);
        if (n == 0)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rk_textdata *d;
    if (rk_textdata_open_memory(&d, data, size, "input.jsonl", NULL) != RK_OK)
        return 0;
    for (int64_t i = 0; i < rk_textdata_count(d); i++)
        check_utf8(rk_textdata_at(d, i));
    if (rk_textdata_bytes(d) > size)
        abort();
    rk_textdata_close(d);
    return 0;
}
