/* state_in.c: a session goes on from a file. */
#include "cli/state_in.h"

#include "format/format.h"
#include "infer/tuned_file.h"

/* In the order of RK_STATE_LAYOUTS. */
static const rk_tuned_layout layouts[] = {RK_TUNED_BY_NAME, RK_TUNED_VALUE_KEY, RK_TUNED_KEY_VALUE,
                                          RK_TUNED_KEY_VALUE, RK_TUNED_RWKV_CPP};

rk_tuned_layout rk_state_layout_chosen(int position)
{
    return layouts[position];
}

rk_status rk_state_in_model(rk_model **out, const rk_common_options *c, const char *path,
                            const rk_state_in *o, rk_error *err)
{
    rk_file *f = NULL;
    rk_error unsaid; /* what is wrong with the file is said when it is loaded */
    const bool opens = o->file && rk_file_open(&f, o->file, &unsaid) == RK_OK;
    const bool kernel = opens && rk_file_is_kernel_state(f);
    rk_file_close(f);
    if (!kernel)
        return rk_command_model(out, c, path, err);
    rk_command_note_model(c, path);
    return rk_model_open_with(out, path, &(rk_open_options){.beside = o->file}, err);
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
