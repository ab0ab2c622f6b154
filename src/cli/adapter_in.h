/* adapter_in.h: --adapter, of the commands that compute with a model. */
#ifndef RK_CLI_ADAPTER_IN_H
#define RK_CLI_ADAPTER_IN_H

#include "cli/options.h"
#include "rk.h"

typedef struct rk_adapter_in {
    rk_opt_list files; /* "PATH" or "PATH:0.5" */
    double alpha;      /* 0: not given */
} rk_adapter_in;

/* Rows of a command's table.
 * NOLINTBEGIN(bugprone-macro-parentheses) */
/* clang-format off */
#define RK_ADAPTER_IN_ROWS(type, member) \
    {"adapter", 0, RK_OPT_LIST, "FILE[:X]", offsetof(type, member.files), 0, 0, NULL, \
     "compute with an adapter beside the model (a folder of peft, .pth of RWKV-PEFT, .gguf), times X; " \
     "several add up"}, \
    {"alpha", 0, RK_OPT_NUMBER, "X", offsetof(type, member.alpha), 0, 1e6, "the file's", \
     "of LoRA in files that store none (.pth)"}
/* clang-format on */
/* NOLINTEND(bugprone-macro-parentheses) */

/* The words as paths with factors; sources has room for RK_OPT_LIST_MAX, text for all of them.
 * Errors  RK_ERR_ARG: a factor that is no number. */
enum { RK_ADAPTER_TEXT_MAX = 4096 };
rk_status rk_adapter_in_sources(const rk_adapter_in *o, rk_adapter_source *sources, char *text,
                                rk_error *err);
/* Open the adapters that were given and let a session of m compute with them; *out, which is freed after
 * the session, is NULL where there are none. */
rk_status rk_adapter_in_use(rk_adapters **out, const rk_adapter_in *o, const rk_model *m,
                            rk_session *s, bool force, rk_error *err);

/* Say what an adapter or a file of initial states holds, as `rwkv adapter info` does. */
rk_status rk_adapter_show(const char *path, bool json, rk_error *err);

#endif
