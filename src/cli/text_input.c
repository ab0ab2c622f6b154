/* text_input.c: files are mapped, so that a text of any size takes no memory; a pipe is read whole. */
#include "cli/text_input.h"

#include <stdio.h>
#include <string.h>

#include "cli/prompt.h"
#include "io/text_mark.h"

static rk_status open_stdin(rk_text_input *t, bool quiet, rk_error *err)
{
    const rk_prompt_source source = {.text = "-", .quiet = quiet};
    const rk_status st = rk_prompt_read(&source, &t->piped, err);
    t->name = "stdin";
    t->text = t->piped.data;
    t->n = t->piped.len;
    if (st == RK_OK && t->n == 0)
        return rk_fail(err, RK_ERR_FORMAT, "stdin: no bytes");
    return st;
}

rk_status rk_text_input_open(rk_text_input *t, const char *path, bool quiet, rk_error *err)
{
    size_t mark = 0;
    *t = (rk_text_input){0};
    if (!strcmp(path, "-"))
        return open_stdin(t, quiet, err);
    rk_status st = rk_map_open(&t->map, path, err);
    if (st == RK_OK)
        st = rk_text_begin(t->map.data, t->map.size, path, &mark, err);
    if (st != RK_OK)
        return st;
    if (mark > 0 && !quiet)
        fprintf(stderr, "rwkv: %s: the byte order mark in front is passed over\n", path);
    t->name = t->map.name;
    t->text = (const char *)t->map.data + mark;
    t->n = t->map.size - mark;
    return t->n > 0 ? RK_OK : rk_fail(err, RK_ERR_FORMAT, "%s: no text", path);
}

void rk_text_input_close(rk_text_input *t)
{
    rk_map_close(&t->map);
    rk_buf_deinit(&t->piped);
}
