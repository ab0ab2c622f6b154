/* state_in.c: a session goes on from a file. */
#include "cli/state_in.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "format/format.h"
#include "infer/tuned_file.h"

/* In the order of RK_STATE_LAYOUTS. */
static const rk_tuned_layout layouts[] = {RK_TUNED_BY_NAME, RK_TUNED_VALUE_KEY, RK_TUNED_KEY_VALUE,
                                          RK_TUNED_KEY_VALUE, RK_TUNED_RWKV_CPP};

rk_tuned_layout rk_state_layout_chosen(int position)
{
    return layouts[position];
}

static rk_status add_word(rk_state_in *o, const char *word, double factor, rk_error *err)
{
    const size_t used = strlen(o->text), room = sizeof o->text - used;
    char times[32] = "";
    if (factor != 1.0)
        snprintf(times, sizeof times, ":%.17g", factor);
    const int n = snprintf(o->text + used, room, "%s%s%s", used ? "," : "", word, times);
    if (n < 0 || (size_t)n >= room)
        return rk_fail(err, RK_ERR_ARG, "--state: names of more than %zu bytes", sizeof o->text);
    o->file = o->text;
    return RK_OK;
}

/* The file of an adapter's that holds initial states into path; false: there is none. */
static bool find_states(const char *adapter, char *path, size_t size)
{
    static const char *const places[] = {"/state.pth", "/adapter_model.safetensors", ""};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        rk_file *f = NULL;
        rk_error unsaid; /* what is wrong with the file is said when it is loaded */
        const int n = snprintf(path, size, "%s%s", adapter, places[i]);
        if (n < 0 || (size_t)n >= size || access(path, F_OK) != 0 ||
            rk_file_open(&f, path, &unsaid) != RK_OK)
            continue;
        const bool holds = rk_file_holds_tuned_states(f);
        rk_file_close(f);
        if (holds)
            return true;
    }
    return false;
}

static rk_status add_adapters_states(rk_state_in *o, const rk_adapter_in *adapters, rk_error *err)
{
    rk_adapter_source sources[RK_OPT_LIST_MAX];
    char text[RK_ADAPTER_TEXT_MAX], path[RK_ADAPTER_TEXT_MAX];
    rk_status st = rk_adapter_in_sources(adapters, sources, text, err);
    for (int i = 0; i < adapters->files.n && st == RK_OK; i++)
        if (find_states(sources[i].path, path, sizeof path))
            st = add_word(o, path, sources[i].scale, err);
    return st;
}

rk_status rk_state_in_settle(rk_state_in *o, const rk_adapter_in *adapters, rk_error *err)
{
    rk_status st = RK_OK;
    for (int i = 0; i < o->files.n && st == RK_OK; i++)
        st = add_word(o, o->files.at[i], 1.0, err);
    return o->files.n > 0 ? st : add_adapters_states(o, adapters, err);
}

rk_status rk_state_in_model(rk_model **out, const rk_common_options *c, const char *path,
                            const rk_state_in *o, rk_error *err)
{
    rk_file *f = NULL;
    rk_error unsaid; /* what is wrong with the file is said when it is loaded */
    const bool opens = o->file && rk_file_open(&f, o->file, &unsaid) == RK_OK;
    const char *named = opens ? rk_file_meta(f, RK_STATE_KERNEL) : NULL;
    const char *kernel = opens && rk_file_is_kernel_state(f) ? o->file : named;
    if (kernel)
        rk_command_note_model(c, path);
    rk_error why = {0};
    rk_status st = kernel
                       ? rk_model_open_with(out, path, &(rk_open_options){.beside = kernel}, &why)
                       : rk_command_model(out, c, path, err);
    if (kernel && st != RK_OK)
        st = kernel == named ? rk_fail(err, st, "%s: goes with a kernel path: %s", o->file, why.msg)
                             : rk_fail(err, st, "%s", why.msg);
    rk_file_close(f);
    return st;
}

rk_status rk_state_in_load(rk_session *s, const rk_state_in *o, rk_error *err)
{
    rk_file *f = NULL;
    if (!o->file)
        return RK_OK;
    const rk_state_reading how = rk_state_in_reading(o);
    rk_status st = rk_tuned_file_open(&f, o->file, how.tuned, s->scheduler.model, err);
    if (st == RK_OK)
        st = rk_session_state_read(s, f, how.force, err);
    rk_file_close(f);
    return st;
}
