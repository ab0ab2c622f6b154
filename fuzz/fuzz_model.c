/* fuzz_model.c: models whose tensors do not fit each other: what opens is evaluated, token by token and several
 * at once.
 *
 * An input is a page with a line for each tensor, "name dtype dims... [= values...]", and for each pair of metadata,
 * "@key value", and becomes a safetensors file in memory. So a few bytes change a shape, a list of heads or
 * the architecture, and none are spent on weights: elements behind those that a line gives are small numbers
 * of alternating sign. tools/model_seeds.py writes such pages of model files. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/dtype.h"
#include "rk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BYTES_MAX = 1 << 20, TOKENS = 5 };

typedef struct page {
    rk_buf header, data; /* of the file */
    int n_tensors, n_meta;
    rk_buf meta;
    bool wrong;
} page;

static const struct {
    const char *word, *name; /* in a page, in a file */
    size_t bytes;
} dtypes[] = {{"f32", "F32", 4}, {"f16", "F16", 2}, {"bf16", "BF16", 2}, {"f64", "F64", 8},
              {"i32", "I32", 4}, {"u8", "U8", 1},   {"i64", "I64", 8}};
enum { N_DTYPES = sizeof dtypes / sizeof *dtypes };

static int dtype_of(const char *word)
{
    int i = 0;
    while (word && i < N_DTYPES && strcmp(dtypes[i].word, word) != 0)
        i++;
    return word && i < N_DTYPES ? i : -1;
}

/* One element, little-endian. */
static void put_element(rk_buf *to, int dtype, double x)
{
    const float f = (float)x;
    const int32_t i = x > -1e9 && x < 1e9 ? (int32_t)x : 0;
    const int64_t l = i;
    const uint8_t u = (uint8_t)i;
    uint16_t half;
    switch (dtype) {
    case 0:
        rk_buf_add(to, &f, sizeof f);
        return;
    case 1:
        half = rk_f32_to_f16(f);
        break;
    case 2:
        half = rk_f32_to_bf16(f);
        break;
    case 3:
        rk_buf_add(to, &x, sizeof x);
        return;
    case 4:
        rk_buf_add(to, &i, sizeof i);
        return;
    case 5:
        rk_buf_add(to, &u, sizeof u);
        return;
    default:
        rk_buf_add(to, &l, sizeof l);
        return;
    }
    rk_buf_add(to, &half, sizeof half);
}

/* JSON text; what is no plain character becomes '?', since the reader of containers has its own target. */
static void put_text(rk_buf *to, const char *text)
{
    rk_buf_puts(to, "\"");
    for (; *text; text++) {
        const char c = *text >= ' ' && *text < 127 && *text != '"' && *text != '\\' ? *text : '?';
        rk_buf_add(to, &c, 1);
    }
    rk_buf_puts(to, "\"");
}

static void add_tensor(page *p, char *line)
{
    char *save = NULL, *name = strtok_r(line, " ", &save);
    const int dtype = dtype_of(strtok_r(NULL, " ", &save));
    const size_t from = p->data.len;
    uint64_t n = 1;
    const char *word = NULL;
    if (!name || dtype < 0)
        return;
    if (p->n_tensors++)
        rk_buf_puts(&p->header, ",");
    put_text(&p->header, name);
    rk_buf_printf(&p->header, ":{\"dtype\":\"%s\",\"shape\":[", dtypes[dtype].name);
    for (int i = 0; (word = strtok_r(NULL, " ", &save)) && strcmp(word, "=") != 0; i++) {
        const uint64_t dim = strtoull(word, NULL, 10);
        n = dim > BYTES_MAX ? BYTES_MAX + 1 : n * dim;
        if (n > BYTES_MAX)
            n = BYTES_MAX + 1;
        rk_buf_printf(&p->header, "%s%" PRIu64, i ? "," : "", dim);
    }
    if (n * dtypes[dtype].bytes + p->data.len > BYTES_MAX) {
        p->wrong = true;
        return;
    }
    for (uint64_t i = 0; i < n; i++) {
        const char *value = word ? strtok_r(NULL, " ", &save) : NULL;
        const double usual = (i % 2 ? -1.0 : 1.0) * (double)(i % 7 + 1) / 32.0;
        put_element(&p->data, dtype, value ? strtod(value, NULL) : usual);
    }
    rk_buf_printf(&p->header, "],\"data_offsets\":[%zu,%zu]}", from, p->data.len);
}

static void add_meta(page *p, const char *key, const char *value)
{
    if (p->n_meta++)
        rk_buf_puts(&p->meta, ",");
    put_text(&p->meta, key);
    rk_buf_puts(&p->meta, ":");
    put_text(&p->meta, value);
}

static void add_line(page *p, char *line)
{
    char *space = strchr(line, ' ');
    if (*line != '@') {
        add_tensor(p, line);
    } else if (space) {
        *space = 0;
        add_meta(p, line + 1, space + 1);
    }
}

/* The file of a page. */
static void put_file(page *p, rk_buf *out)
{
    rk_buf text = {0};
    rk_buf_puts(&text, "{");
    if (p->n_meta)
        rk_buf_printf(&text, "\"__metadata__\":{%s}%s", p->meta.data, p->n_tensors ? "," : "");
    if (p->n_tensors)
        rk_buf_add(&text, p->header.data, p->header.len);
    rk_buf_puts(&text, "}");
    while (text.len % 8)
        rk_buf_puts(&text, " ");
    const uint64_t length = text.len;
    rk_buf_add(out, &length, sizeof length);
    rk_buf_add(out, text.data, text.len);
    rk_buf_add(out, p->data.data, p->data.len);
    rk_buf_deinit(&text);
}

/* A token, then several. */
static bool evaluate(const rk_model *m, rk_engine *e)
{
    static const int32_t tokens[TOKENS];
    rk_session *s = NULL;
    if (rk_session_new(&s, m, e, NULL) != RK_OK)
        return false;
    rk_status st = rk_session_eval(s, tokens, 1, NULL, NULL);
    if (st == RK_OK)
        st = rk_session_eval(s, tokens, TOKENS, NULL, NULL);
    rk_session_free(s);
    return st == RK_OK;
}

static bool run_file(const rk_buf *file)
{
    static rk_engine *engine; /* made once: it is not what is tested */
    rk_model *m = NULL;
    if (!engine && rk_engine_new(&engine, &(rk_engine_params){.n_threads = 1}, NULL) != RK_OK)
        abort();
    const bool ok =
        rk_model_open_memory(&m, file->data, file->len, NULL) == RK_OK && evaluate(m, engine);
    rk_model_close(m);
    return ok;
}

/* Is a page that of a model which can be evaluated? */
static bool run_page(const uint8_t *data, size_t size)
{
    page p = {0};
    rk_buf file = {0};
    char *text = malloc(size + 1), *save = NULL;
    if (!text)
        abort();
    memcpy(text, data, size);
    text[size] = 0;
    for (char *line = strtok_r(text, "\n", &save); line && !p.wrong;
         line = strtok_r(NULL, "\n", &save))
        add_line(&p, line);
    if (!p.wrong)
        put_file(&p, &file);
    const bool ok = !p.wrong && run_file(&file);
    rk_buf_deinit(&p.header);
    rk_buf_deinit(&p.data);
    rk_buf_deinit(&p.meta);
    rk_buf_deinit(&file);
    free(text);
    return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    run_page(data, size);
    return 0;
}
