/* convert.c: `rwkv convert`: a model file in another container or number format. */
#include "cli/command.h"

#include "base/num.h"
#include "model/model.h"

typedef struct convert_options {
    rk_common_options common;
    const char *in, *out;
    int type; /* position in TYPES */
    bool force;
} convert_options;

#define AT(member) offsetof(convert_options, member)
/* The first one keeps them; the dtype beside it is not looked at. */
#define TYPES "keep|bf16|f16|f32"
static const rk_dtype types[] = {RK_F32, RK_BF16, RK_F16, RK_F32};

static const rk_option rows[] = {
    {NULL, 0, RK_OPT_OPERAND, "IN", AT(in), 0, 0, RK_REQUIRED, "a model, of any container"},
    {NULL, 0, RK_OPT_OPERAND, "OUT", AT(out), 0, 0, RK_REQUIRED,
     "the file to write: .safetensors or .pth"},
    {"type", 0, RK_OPT_CHOICE, TYPES, AT(type), 0, 0, "keep",
     "of the matrices, rounded to nearest, vectors then f32; keep: every tensor as it is"},
    {"force", 0, RK_OPT_FLAG, NULL, AT(force), 0, 0, NULL, "overwrite OUT"},
    RK_COMMON_ROWS(convert_options, common),
};

static int convert_main(int argc, char **argv);

const rk_command rk_cmd_convert = {
    .name = "convert",
    .summary = "write a model in another container or number format",
    .usage = "IN OUT [--type " TYPES "]",
    .options = {rows, RK_COUNT(rows)},
    .examples = "  rwkv convert RWKV-x070-World-0.1B.pth model.safetensors\n"
                "  rwkv convert runs/first/model.safetensors first.pth --type bf16",
    .main = convert_main,
};

static int convert_main(int argc, char **argv)
{
    convert_options o = {0};
    rk_model *m = NULL;
    int status = 0;
    rk_error err = {0};
    if (!rk_command_options(&rk_cmd_convert, argc, argv, &o, &status))
        return status;
    rk_status st = rk_model_open(&m, o.in, &err);
    if (st == RK_OK)
        st = rk_model_save(m, o.out,
                           &(rk_save_options){.keep_types = o.type == 0,
                                              .dtype = types[o.type],
                                              .overwrite = o.force},
                           &err);
    if (st == RK_OK)
        st = rk_file_check(m->file, &err);
    rk_model_close(m);
    return st == RK_OK ? 0 : rk_command_fail(&err);
}
