/* compress_int8.c: `rwkv compress int8`: large matrices as bytes with ranges of their rows and columns. */
#include <inttypes.h>

#include "base/num.h"
#include "cli/compress.h"
#include "compress/int8.h"

typedef struct int8_options {
    rk_common_options common;
    const char *model, *out;
    bool force;
} int8_options;

#define AT(member) offsetof(int8_options, member)

static const rk_option rows[] = {
    RK_MODEL_OPERAND(int8_options, model),
    {"model", 'm', RK_OPT_TEXT, "FILE", AT(model), 0, 0, RK_REQUIRED,
     "a model, whole or with other parts of these commands"},
    {"out", 'o', RK_OPT_TEXT, "OUT", AT(out), 0, 0, RK_REQUIRED, "what to write: .safetensors"},
    {"force", 0, RK_OPT_FLAG, NULL, AT(force), 0, 0, NULL, "overwrite OUT"},
    RK_COMMON_ROWS(int8_options, common),
};

static int int8_main(int argc, char **argv);

const rk_command rk_cmd_compress_int8 = {
    .name = "compress int8",
    .summary = "large matrices in bytes, with ranges of their rows and columns",
    .usage = "-m MODEL -o OUT",
    .options = {rows, RK_COUNT(rows)},
    .examples = "  rwkv compress int8 -m model.safetensors -o bytes.safetensors\n"
                "  rwkv compress int8 -m lite.safetensors -o lite8.safetensors --force",
    .main = int8_main,
};

static void tell(const rk_int8_facts *f, const char *out)
{
    fprintf(stderr, "%s: %" PRId64 " matrices of %.1f MB take %.1f MB; |W - W^| is %.3g of |W|\n",
            out, f->n, (double)f->before / 1e6, (double)f->after / 1e6, f->error);
}

static rk_status make(const int8_options *o, rk_compress_job *j, rk_error *err)
{
    rk_model *made = NULL;
    rk_int8_facts facts = {0};
    rk_meter meter = rk_meter_begin("rounding", "matrices", 1, o->common.quiet);
    rk_status st = rk_int8_new(&made, j->host,
                               &(rk_int8_options){.pool = rk_engine_pool(j->engine),
                                                  .progress = rk_meter_progress,
                                                  .progress_user = &meter,
                                                  .abort = rk_interrupt_came,
                                                  .abort_user = j->interrupt},
                               &facts, err);
    rk_meter_end(&meter);
    if (st == RK_OK)
        st = rk_compress_save(j, made, err);
    if (st == RK_OK && !o->common.quiet)
        tell(&facts, o->out);
    rk_remade_close(made);
    return st;
}

/* Before anything is read or made. */
static rk_status check_ending(const char *out, rk_error *err)
{
    rk_save_container container;
    const rk_status st = rk_save_container_of(out, &container, err);
    if (st != RK_OK || container == RK_SAVE_SAFETENSORS)
        return st;
    return rk_fail(err, RK_ERR_UNSUPPORTED,
                   "%s: matrices of bytes with ranges are written to .safetensors files only", out);
}

static int int8_main(int argc, char **argv)
{
    int8_options o = {0};
    int status = 0;
    rk_error err = {0};
    if (!rk_command_options(&rk_cmd_compress_int8, argc, argv, &o, &status))
        return status;
    rk_compress_job j = {.common = &o.common, .model = o.model, .out = o.out, .force = o.force};
    rk_status st = check_ending(o.out, &err);
    if (st == RK_OK)
        st = rk_compress_begin(&j, &err);
    if (st == RK_OK)
        st = make(&o, &j, &err);
    return rk_compress_end(&j, st, &err);
}
