/* fuzz_jsonl.c: make the lines of a .jsonl file in memory documents of bytes, as conversations, plain and as
 * pairs of answers. */
#include <stdlib.h>

#include "data/pairs.h"
#include "io/json_scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What a strict reader has decoded is UTF-8, and its parts lie end to end. */
static void check_record(const rk_record *r)
{
    const unsigned char *p = (const unsigned char *)r->text.data;
    size_t end = 0;
    for (int64_t i = 0; i < r->n_parts; i++) {
        if (r->parts[i].at != end || r->parts[i].bytes > r->text.len - end)
            abort();
        end += r->parts[i].bytes;
    }
    for (size_t at = 0, n; at < end; at += n) {
        n = rk_json_utf8_length(p + at, end - at);
        if (n == 0)
            abort();
    }
}

static void read_line(const uint8_t *data, size_t size, const rk_chat_format *chat)
{
    rk_record record = {0};
    const rk_record_line line = {"input.jsonl", 1, data, size};
    const rk_record_how how = {.chat = chat, .ends = true, .last = size % 2};
    bool blank;
    if (rk_record_read(&record, &line, &how, &blank, NULL) == RK_OK && !blank)
        check_record(&record);
    rk_record_deinit(&record);
}

/* All lines, with a tokenizer that is made once. */
static void read_file(const uint8_t *data, size_t size)
{
    static rk_tokenizer *tok;
    rk_text_file f;
    rk_token_list l;
    if (!tok && rk_tokenizer_new(&tok, "byte", NULL) != RK_OK)
        abort();
    if (rk_text_file_open_memory(&f, data, size, "input.jsonl", NULL) != RK_OK)
        return;
    const rk_text_how how = {.tokenizer = tok, .chat = rk_chat_formats, .ends = true};
    rk_token_list_init(&l, RK_ID_U16);
    if (rk_text_file_encode(&f, &how, &l, NULL) == RK_OK && l.ends[l.n_docs - 1] != l.n)
        abort();
    rk_token_list_deinit(&l);
    rk_text_file_close(&f);
}

/* What is a pair has targets in both answers, and rows hold bytes. */
static void read_pairs(const uint8_t *data, size_t size, const rk_tokenizer *tok,
                       const rk_chat_format *chat)
{
    enum { N = 16 };
    int32_t ids[RK_PAIR_ANSWERS * N], targets[RK_PAIR_ANSWERS * N];
    const rk_text_how how = {.tokenizer = tok, .chat = chat, .ends = true};
    rk_pairs p;
    if (rk_pairs_read_memory(&p, data, size, "input.jsonl", &how, NULL) != RK_OK)
        return;
    for (int64_t i = 0; i < p.n; i++) {
        rk_pairs_get(&p, i, N, ids, targets);
        for (int k = 0; k < RK_PAIR_ANSWERS * N; k++)
            if (ids[k] < 0 || ids[k] > 255 || targets[k] < -1 || targets[k] > 255)
                abort();
    }
    rk_pairs_deinit(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static rk_tokenizer *bytes;
    if (!bytes && rk_tokenizer_new(&bytes, "byte", NULL) != RK_OK)
        abort();
    read_pairs(data, size, bytes, NULL);
    read_pairs(data, size, bytes, rk_chat_formats);
    read_file(data, size);
    read_line(data, size, NULL);
    for (const rk_chat_format *f = rk_chat_formats; f->name; f++)
        read_line(data, size, f);
    return 0;
}
