/* checkpoint.c: saving, finding and restoring; state.json itself is in run_state.c.
 *
 * The order of steps is the whole point. A folder gets its final name after everything in it is on
 * the disk, so a name means a whole checkpoint unless the disk lost bytes, which the checksums
 * tell. The older ones go last, so at every moment one is whole: killed anywhere, a run loses what
 * it computed since then and nothing else. */
#include "train/checkpoint.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "io/checksum.h"
#include "io/path.h"
#include "train/checkpoint_dir.h"
#include "train/run_state.h"

enum { NAME_MAX_BYTES = 128 };

struct rk_checkpoint {
    char *path;
    rk_saved_state *state;
};

/* ------------------------------------------------------------------------------------- saving */

static void put_name(char *text, size_t size, const rk_array_set *set, int64_t i)
{
    snprintf(text, size, "%s%s%s", set->prefix ? set->prefix : "", set->prefix ? "." : "",
             set->at[i].name);
}

static int64_t count(const rk_array_set *sets, int n_sets)
{
    int64_t n = 0;
    for (int s = 0; s < n_sets; s++)
        n += sets[s].n;
    return n;
}

/* The sets as the tensors of a file; their names go into names. */
static void list_tensors(const rk_array_set *sets, int n_sets, rk_file_tensor *tensors,
                         char (*names)[NAME_MAX_BYTES])
{
    for (int s = 0; s < n_sets; s++)
        for (int64_t i = 0; i < sets[s].n; i++, tensors++, names++) {
            const rk_named_array *a = &sets[s].at[i];
            put_name(*names, sizeof *names, &sets[s], i);
            *tensors = (rk_file_tensor){.name = *names,
                                        .dtype = RK_F32,
                                        .n_dims = a->n_dims,
                                        .data = a->data,
                                        .bytes = (size_t)a->n * sizeof(float)};
            memcpy(tensors->dims, a->dims, sizeof a->dims);
        }
}

static rk_status write_sets(const char *dir, const char *name, const rk_array_set *sets, int n_sets,
                            rk_saved_file *file, rk_error *err)
{
    const int64_t n = count(sets, n_sets);
    char *path = rk_path_join(dir, name);
    rk_file_tensor *tensors = calloc((size_t)n + 1, sizeof *tensors);
    char(*names)[NAME_MAX_BYTES] = calloc((size_t)n + 1, sizeof *names);
    const rk_file_contents contents = {.tensors = tensors, .n_tensors = n};
    rk_status st = RK_OK;
    if (!path || !tensors || !names)
        st = rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", dir);
    else
        list_tensors(sets, n_sets, tensors, names);
    if (st == RK_OK)
        st = rk_st_file_bytes(&contents, &file->bytes, err);
    if (st == RK_OK)
        st = rk_st_write(path, &contents, false, &file->checksum, err);
    free(path);
    free(tensors);
    free(names);
    return st;
}

static rk_status write_files(const char *dir, const rk_run_state *s, const rk_run_arrays *a,
                             rk_error *err)
{
    rk_saved_file files[RK_SAVED_COUNT] = {{0}};
    rk_status st = write_sets(dir, RK_SAVED_MODEL, &a->weights, 1, &files[0], err);
    if (st == RK_OK)
        st = write_sets(dir, RK_SAVED_OPTIM, a->states, a->n_states, &files[1], err);
    if (st == RK_OK)
        st = rk_run_state_write(dir, s, files, err);
    return st;
}

static uint64_t set_bytes(const rk_array_set *set)
{
    uint64_t bytes = 0;
    for (int64_t i = 0; i < set->n; i++)
        bytes += (uint64_t)set->at[i].n * sizeof(float);
    return bytes;
}

uint64_t rk_checkpoint_bytes(const rk_run_arrays *a)
{
    uint64_t bytes = set_bytes(&a->weights);
    for (int i = 0; i < a->n_states; i++)
        bytes += set_bytes(&a->states[i]);
    return bytes;
}

/* ------------------------------------------------------------------------------------ checking */

static rk_status check_file(const char *dir, const char *name, const rk_saved_file *want,
                            rk_error *err)
{
    char *path = rk_path_join(dir, name);
    if (!path)
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", dir);
    rk_saved_file found = {0};
    rk_status st = rk_checksum_file(path, &found.checksum, &found.bytes, err);
    if (st == RK_OK && found.bytes != want->bytes)
        st = rk_fail(err, RK_ERR_FORMAT, "%s: %" PRIu64 " bytes, expected %" PRIu64, path,
                     found.bytes, want->bytes);
    if (st == RK_OK && found.checksum != want->checksum)
        st = rk_fail(err, RK_ERR_FORMAT, "%s: its checksum is %016" PRIx64 ", expected %016" PRIx64,
                     path, found.checksum, want->checksum);
    free(path);
    return st;
}

/* Open the checkpoint of a step and compare its files with their checksums. Takes path. */
static rk_status open_checked(rk_checkpoint **out, char *path, int64_t step, rk_error *err)
{
    static const char *const names[RK_SAVED_COUNT] = {RK_SAVED_MODEL, RK_SAVED_OPTIM};
    rk_checkpoint *c = calloc(1, sizeof *c);
    if (!c || !path) {
        free(c);
        free(path);
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for a checkpoint");
    }
    c->path = path;
    rk_status st = rk_saved_state_read(&c->state, path, err);
    if (st == RK_OK && c->state->step != step)
        st = rk_fail(err, RK_ERR_FORMAT, "%s: holds step %" PRId64, path, c->state->step);
    for (int i = 0; i < RK_SAVED_COUNT && st == RK_OK; i++)
        st = check_file(path, names[i], &c->state->files[i], err);
    if (st == RK_OK)
        *out = c;
    else
        rk_checkpoint_close(c);
    return st;
}

/* Write DIR/checkpoint-STEP and read it back. */
static rk_status write_checked(const char *path, const rk_run_state *s, const rk_run_arrays *a,
                               rk_error *err)
{
    char *tmp = NULL;
    rk_checkpoint *back = NULL;
    rk_status st = rk_dir_begin(&tmp, path, err);
    if (st != RK_OK)
        return st;
    st = write_files(tmp, s, a, err);
    if (st == RK_OK)
        st = rk_dir_commit(tmp, path, err);
    else
        rk_dir_abort(tmp);
    if (st == RK_OK)
        st = open_checked(&back, strdup(path), s->step, err);
    rk_checkpoint_close(back);
    return st;
}

rk_status rk_checkpoint_save(const char *dir, const rk_run_state *s, const rk_run_arrays *a,
                             const rk_log *log, rk_error *err)
{
    char *path = rk_checkpoint_dir_path(dir, s->step);
    rk_status st = path ? rk_checkpoint_dir_check(path, s->step, err)
                        : rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", dir);
    if (st == RK_OK)
        st = write_checked(path, s, a, err);
    free(path);
    if (st == RK_OK)
        rk_checkpoint_dir_trim(dir, s->step, log);
    return st;
}

/* A checkpoint is broken when its bytes are, or cannot be had; running out of memory is no verdict.
 */
rk_status rk_checkpoint_find(rk_checkpoint **out, const char *dir, const rk_log *log, rk_error *err)
{
    *out = NULL;
    rk_step_list l;
    rk_status st = rk_checkpoint_dir_list(dir, &l, err);
    for (int64_t i = 0; i < l.n && st == RK_OK && !*out; i++) {
        rk_error why = {0};
        const rk_status found =
            open_checked(out, rk_checkpoint_dir_path(dir, l.at[i]), l.at[i], &why);
        if (found == RK_ERR_NOMEM)
            st = rk_fail(err, found, "%s", why.msg);
        else if (found != RK_OK)
            rk_log_line(log, RK_LOG_WARN, "passing over %s/checkpoint-%" PRId64 ": %s", dir,
                        l.at[i], why.msg);
    }
    free(l.at);
    return st;
}

/* The state of the newest checkpoint in DIR whose state can be read; *out is NULL when there is none. */
static rk_status newest_state(rk_saved_state **out, const char *dir, rk_error *err)
{
    rk_step_list l = {0};
    *out = NULL;
    rk_status st = rk_path_is_folder(dir) ? rk_checkpoint_dir_list(dir, &l, err) : RK_OK;
    for (int64_t i = 0; i < l.n && st == RK_OK && !*out; i++) {
        char *checkpoint = rk_checkpoint_dir_path(dir, l.at[i]);
        st = checkpoint ? rk_saved_state_read(out, checkpoint, err)
                        : rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", dir);
        st = st == RK_ERR_NOMEM ? st : RK_OK; /* what is broken says nothing */
        free(checkpoint);
    }
    free(l.at);
    return st;
}

/* A copy of what a state said, which ends here. */
static rk_status copy_and_free(char **copy, const char *text, rk_saved_state *s, rk_error *err)
{
    *copy = text ? strdup(text) : NULL;
    rk_saved_state_free(s);
    return text && !*copy ? rk_fail(err, RK_ERR_NOMEM, "out of memory for a checkpoint's state")
                          : RK_OK;
}

rk_status rk_checkpoint_find_base(char **path, const char *dir, rk_error *err)
{
    rk_saved_state *s = NULL;
    *path = NULL;
    const rk_status st = newest_state(&s, dir, err);
    return s ? copy_and_free(path, s->base, s, err) : st;
}

rk_status rk_checkpoint_find_option(char **value, const char *dir, const char *name, rk_error *err)
{
    rk_saved_state *s = NULL;
    *value = NULL;
    const rk_status st = newest_state(&s, dir, err);
    return s ? copy_and_free(value, rk_saved_state_option(s, name), s, err) : st;
}

void rk_checkpoint_close(rk_checkpoint *c)
{
    if (!c)
        return;
    rk_saved_state_free(c->state);
    free(c->path);
    free(c);
}

const rk_saved_state *rk_checkpoint_state(const rk_checkpoint *c)
{
    return c->state;
}

const char *rk_checkpoint_path(const rk_checkpoint *c)
{
    return c->path;
}

int64_t rk_checkpoint_step(const rk_checkpoint *c)
{
    return c->state->step;
}

int64_t rk_checkpoint_skipped_in_row(const rk_checkpoint *c)
{
    return c->state->skipped_in_row;
}

rk_noise rk_checkpoint_noise(const rk_checkpoint *c)
{
    return c->state->noise;
}

const char *rk_checkpoint_numerics(const rk_checkpoint *c)
{
    return c->state->numerics;
}

const char *rk_checkpoint_base(const rk_checkpoint *c, uint64_t *checksum)
{
    *checksum = c->state->base_checksum;
    return c->state->base;
}

static const char *shown(const char *value)
{
    return value && *value ? value : "none";
}

/* Version 0.1.0 kept 63 characters of a text, such as the path of a vocabulary. */
static bool same_value(const char *was, const char *now)
{
    const size_t n = strlen(was);
    return !strcmp(was, now) || (n == 63 && !strncmp(was, now, n));
}

rk_status rk_checkpoint_check_options(const rk_checkpoint *c, const rk_pair *options,
                                      const rk_pair *defaults, int64_t n_options, rk_error *err)
{
    for (int64_t i = 0; i < n_options; i++) {
        const char *said = rk_saved_state_option(c->state, options[i].key);
        const char *was = said ? said : defaults[i].value;
        if (!was || !same_value(was, options[i].value))
            return rk_fail(err, RK_ERR_ARG,
                           "--%s is %s, but %s was made with %s; a resumed run keeps it",
                           options[i].key, shown(options[i].value), c->path, shown(was));
    }
    return RK_OK;
}

/* ----------------------------------------------------------------------------------- restoring */

static bool same_shape(const rk_file_tensor *t, const rk_named_array *a)
{
    return t->dtype == RK_F32 && t->n_dims == a->n_dims &&
           memcmp(t->dims, a->dims, (size_t)a->n_dims * sizeof *a->dims) == 0;
}

static rk_status restore_array(const rk_st *f, const rk_array_set *set, int64_t i, rk_error *err)
{
    char name[NAME_MAX_BYTES];
    put_name(name, sizeof name, set, i);
    const rk_file_tensor *t = rk_st_find(f, name);
    if (!t)
        return rk_fail(err, RK_ERR_FORMAT, "%s: tensor '%s' is missing", rk_st_name(f), name);
    if (!same_shape(t, &set->at[i]))
        return rk_fail(err, RK_ERR_FORMAT, "%s: tensor '%s' has another shape than the model's",
                       rk_st_name(f), name);
    memcpy(set->at[i].data, t->data, t->bytes);
    return RK_OK;
}

static rk_status restore_file(const char *dir, const char *file, const rk_array_set *sets,
                              int n_sets, rk_error *err)
{
    char *path = rk_path_join(dir, file);
    if (!path)
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", dir);
    rk_st *f = NULL;
    rk_status st = rk_st_open(&f, path, err);
    for (int s = 0; s < n_sets; s++)
        for (int64_t i = 0; i < sets[s].n && st == RK_OK; i++)
            st = restore_array(f, &sets[s], i, err);
    if (st == RK_OK)
        st = rk_st_check(f, err);
    rk_st_close(f);
    free(path);
    return st;
}

rk_status rk_checkpoint_restore(const rk_checkpoint *c, const rk_run_arrays *a, rk_error *err)
{
    const rk_status st = restore_file(c->path, RK_SAVED_MODEL, &a->weights, 1, err);
    return st == RK_OK ? restore_file(c->path, RK_SAVED_OPTIM, a->states, a->n_states, err) : st;
}
