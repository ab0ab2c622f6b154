/* state_in.h: --state-in, of the commands that go on from a state. */
#ifndef RK_CLI_STATE_IN_H
#define RK_CLI_STATE_IN_H

#include "cli/adapter_in.h"
#include "cli/command.h"
#include "infer/session.h"

/* Orders of tuned states as options have them; auto: by the file's name. */
#define RK_STATE_LAYOUTS "auto|vk|kv|ai00|rwkv.cpp"
enum { RK_STATE_LAYOUT_AI00 = 3 }; /* its position: kv, and written as f16 */
rk_tuned_layout rk_state_layout_chosen(int position);

typedef struct rk_state_in {
    rk_opt_list files; /* "PATH", or tuned states times a factor: "PATH:0.5"; several add up */
    int layout;        /* position in RK_STATE_LAYOUTS */
    bool force_base;
    const char *file; /* set by rk_state_in_settle: all of them with commas between; NULL: none */
    char text[RK_ADAPTER_TEXT_MAX];
} rk_state_in;

/* Rows of a command's table.
 * NOLINTBEGIN(bugprone-macro-parentheses) */
/* clang-format off */
#define RK_STATE_IN_ROWS(type, member) \
    {"state-in", 0, RK_OPT_LIST, "FILE[:X]", offsetof(type, member.files), 0, 0, NULL, \
     "start from a saved state, or from tuned initial states (.pth, .safetensors, .state), times X; " \
     "several of these add up"}, \
    {"state", 0, RK_OPT_LIST, "FILE[:X]", offsetof(type, member.files), 0, 0, NULL, \
     "the same as --state-in"}, \
    {"state-layout", 0, RK_OPT_CHOICE, RK_STATE_LAYOUTS, offsetof(type, member.layout), 0, 0, \
     "auto", "tuned states are [value, key] or [key, value]; auto: kv of .state and .st files, else vk"}, \
    {"force-base", 0, RK_OPT_FLAG, NULL, offsetof(type, member.force_base), 0, 0, NULL, \
     "accept a state of another model with the same shapes"}
/* clang-format on */
/* NOLINTEND(bugprone-macro-parentheses) */

static inline rk_state_reading rk_state_in_reading(const rk_state_in *o)
{
    return (rk_state_reading){.force = o->force_base, .tuned = rk_state_layout_chosen(o->layout)};
}

/* Make one word of the states that were given, or where none was, of those that the adapters bring: in
 * their files, or as state.pth beside them. Before all that follows here; o then stays where it is.
 * Errors  RK_ERR_ARG: a word that is too long; an adapter's that is none. */
rk_status rk_state_in_settle(rk_state_in *o, const rk_adapter_in *adapters, rk_error *err);
/* The model at path, with the kernel path that the file may hold. */
rk_status rk_state_in_model(rk_model **out, const rk_common_options *c, const char *path,
                            const rk_state_in *o, rk_error *err);
/* Load the file, if there is one. */
rk_status rk_state_in_load(rk_session *s, const rk_state_in *o, rk_error *err);

#endif
