/* state_in.c: a session goes on from a file. */
#include "cli/state_in.h"

rk_status rk_state_in_load(rk_session *s, const rk_state_in *o, rk_error *err)
{
    rk_file *f = NULL;
    if (!o->file)
        return RK_OK;
    rk_status st = rk_file_open(&f, o->file, err);
    if (st == RK_OK)
        st = rk_session_state_read(s, f, rk_state_in_reading(o), err);
    rk_file_close(f);
    return st;
}
