/* state_file.c: a session's state as a .safetensors file.
 *
 * A tensor per layer and part, "blocks.0.att.shift", f32, with a row for each token (tokens, shape)
 * where the part grows with them, and in the metadata what the state
 * belongs to: architecture, layout, fingerprint of the model; then what callers add. The fingerprint leaves matrices out,
 * so a model and its narrowed copy share their states. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/format.h"
#include "infer/session.h"
#include "infer/tuned_file.h"

/* Version 2 may hold more than the state: what a text or a talk goes on from. Of the matrix state
 * rows are value channels, columns key channels; that is said with the version, because version 0.1.0
 * of this program looks at the layout, not at a version, and would go on without the rest. */
static const char version[] = "2";
static const char layout_1[] = "value-key", layout_2[] = "value-key; state file version 2";

/* Tensors that may stand behind those of the state. */
const char rk_state_logits[] = "logits", rk_state_counts[] = "sampler.counts";

enum { FINGERPRINT_CHARS = 17 };

static void fingerprint_text(const rk_session *s, char text[FINGERPRINT_CHARS])
{
    snprintf(text, FINGERPRINT_CHARS, "%016" PRIx64, s->scheduler.model->fingerprint);
}

typedef struct part_name {
    char text[RK_PARAM_NAME_MAX];
} part_name;

/* Part i of the layout, of the shape it has for one stream that has read n_tokens. */
static rk_file_tensor describe(const rk_session *s, int i, int64_t n_tokens, part_name *name)
{
    const rk_state_entry *p = &s->scheduler.model->state.parts[i];
    rk_file_tensor t = {.name = name->text, .dtype = RK_F32};
    int64_t dims[RK_MAX_DIMS];
    snprintf(name->text, sizeof name->text, "blocks.%" PRId64 ".%s", p->layer, p->spec->name);
    t.n_dims = rk_state_dims(p, 1, n_tokens, dims) - 1;
    memcpy(t.dims, dims + 1, (size_t)t.n_dims * sizeof *dims);
    t.bytes = (size_t)rk_state_entry_count(p, n_tokens) * sizeof(float);
    return t;
}

/* ---- save ---- */

enum { PAIRS = 5 }; /* of the state itself */

/* c: whose first n_parts tensors are to be described. */
static rk_status write_parts(const rk_session *s, const char *path, rk_file_tensor *tensors,
                             part_name *names, const rk_file_contents *c, bool overwrite,
                             rk_error *err)
{
    const int n = s->scheduler.model->state.n_parts;
    unsigned char *image = malloc(rk_state_bytes(s->stream.state)), *at = image;
    if (!image)
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", path);
    rk_state_get(s->stream.state, image);
    for (int i = 0; i < n; i++) {
        tensors[i] = describe(s, i, rk_state_n_tokens(s->stream.state), &names[i]);
        tensors[i].data = at;
        at += tensors[i].bytes;
    }
    const rk_status st = rk_st_write(path, c, overwrite, NULL, err);
    free(image);
    return st;
}

/* The file of the kernel path that a model was opened with; NULL: none. */
static const char *kernel_of(const rk_model *m)
{
    return m->file ? rk_file_meta(m->file, RK_OPENED_BESIDE) : NULL;
}

rk_status rk_session_state_write(const rk_session *s, const char *path,
                                 const rk_file_contents *more, bool overwrite, rk_error *err)
{
    const int64_t n_parts = s->scheduler.model->state.n_parts;
    char fingerprint[FINGERPRINT_CHARS];
    rk_file_tensor *tensors = calloc((size_t)(n_parts + more->n_tensors), sizeof *tensors);
    part_name *names = calloc((size_t)n_parts, sizeof *names);
    rk_pair *pairs = calloc((size_t)(PAIRS + more->n_meta + 1), sizeof *pairs);
    const char *kernel = kernel_of(s->scheduler.model);
    const rk_file_contents all = {.tensors = tensors,
                                  .n_tensors = n_parts + more->n_tensors,
                                  .meta = pairs,
                                  .n_meta = PAIRS + more->n_meta + (kernel != NULL)};
    rk_status st = RK_ERR_NOMEM;
    fingerprint_text(s, fingerprint);
    if (tensors && names && pairs) {
        if (kernel)
            pairs[all.n_meta - 1] = (rk_pair){RK_STATE_KERNEL, kernel};
        pairs[0] = (rk_pair){"arch", s->scheduler.model->arch->name};
        pairs[1] = (rk_pair){"fingerprint", fingerprint};
        pairs[2] = (rk_pair){"format", "rwkv-state"};
        pairs[3] = (rk_pair){"layout", layout_2};
        pairs[4] = (rk_pair){"version", version};
        for (int64_t i = 0; i < more->n_meta; i++)
            pairs[PAIRS + i] = more->meta[i];
        for (int64_t i = 0; i < more->n_tensors; i++)
            tensors[n_parts + i] = more->tensors[i];
        st = write_parts(s, path, tensors, names, &all, overwrite, err);
    } else
        rk_fail(err, st, "%s: out of memory", path);
    free(tensors);
    free(names);
    free(pairs);
    return st;
}

rk_status rk_session_state_save(const rk_session *s, const char *path, rk_error *err)
{
    return rk_session_state_write(s, path, &(rk_file_contents){0}, true, err);
}

/* ---- load ---- */

/* What the file says it holds; what it does not say is not asked for. */
static rk_status check_meta(const rk_session *s, const rk_file *f, bool force, rk_error *err)
{
    const char *arch = rk_file_meta(f, "arch"), *found_layout = rk_file_meta(f, "layout");
    const char *found = rk_file_meta(f, "fingerprint"), *found_version = rk_file_meta(f, "version");
    const char *layout = found_version ? layout_2 : layout_1;
    char want[FINGERPRINT_CHARS];
    const char *kernel = rk_file_meta(f, RK_STATE_KERNEL);
    fingerprint_text(s, want);
    if (kernel && !kernel_of(s->scheduler.model))
        return rk_fail(
            err, RK_ERR_FORMAT,
            "%s: goes with the kernel path %.120s, which the model has to be opened with "
            "(--state)",
            rk_file_name(f), kernel);
    if (arch && strcmp(arch, s->scheduler.model->arch->name) != 0)
        return rk_fail(err, RK_ERR_FORMAT, "%s: a state of architecture '%.32s', the model is %s",
                       rk_file_name(f), arch, s->scheduler.model->arch->name);
    if (found_version && strcmp(found_version, version) != 0)
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: a state file of version '%.16s', expected 2 or an older one",
                       rk_file_name(f), found_version);
    if (found_layout && strcmp(found_layout, layout) != 0)
        return rk_fail(err, RK_ERR_FORMAT, "%s: layout '%.32s', expected '%s'", rk_file_name(f),
                       found_layout, layout);
    if (found && strcmp(found, want) != 0 && !force)
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: the state of another model: fingerprint %.32s, this one has %s",
                       rk_file_name(f), found, want);
    return RK_OK;
}

static bool same_shape(const rk_file_tensor *a, const rk_file_tensor *b)
{
    return a->dtype == b->dtype && a->n_dims == b->n_dims &&
           memcmp(a->dims, b->dims, (size_t)a->n_dims * sizeof a->dims[0]) == 0;
}

static rk_status read_part(const rk_session *s, const rk_file *f, int i, int64_t n_tokens,
                           float *out, rk_error *err)
{
    part_name name;
    const rk_file_tensor want = describe(s, i, n_tokens, &name);
    const rk_file_tensor *t = rk_file_find(f, name.text);
    if (!t)
        return rk_fail(err, RK_ERR_FORMAT, "%s: no tensor '%s'", rk_file_name(f), name.text);
    if (!same_shape(t, &want))
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: tensor '%s' is not f32 of %zu bytes in %d dimensions", rk_file_name(f),
                       name.text, want.bytes, want.n_dims);
    memcpy(out, t->data, want.bytes);
    for (size_t k = 0; k < want.bytes / sizeof(float); k++)
        if (!isfinite(out[k]))
            return rk_fail(err, RK_ERR_FORMAT, "%s: tensor '%s' holds a value that is not finite",
                           rk_file_name(f), name.text);
    return RK_OK;
}

/* The tokens that the file holds rows of: those of the first part that grows, no more than its bytes can be.
 * Reading the parts says what else is wrong with it. */
static int64_t tokens_of(const rk_session *s, const rk_file *f)
{
    const rk_state_layout *l = &s->scheduler.model->state;
    for (int i = 0; i < l->n_parts; i++)
        if (rk_state_grows(&l->parts[i])) {
            part_name name;
            const size_t row = describe(s, i, 1, &name).bytes;
            const rk_file_tensor *t = rk_file_find(f, name.text);
            return t ? (int64_t)(t->bytes / row) : 0;
        }
    return 0;
}

/* All parts, one after the other, into image, and from there into the state. */
static rk_status read_parts(rk_session *s, const rk_file *f, int64_t n_tokens, float *image,
                            rk_error *err)
{
    const rk_state_layout *l = &s->scheduler.model->state;
    rk_status st = RK_OK;
    float *at = image;
    for (int i = 0; i < l->n_parts && st == RK_OK; i++) {
        st = read_part(s, f, i, n_tokens, at, err);
        at += rk_state_entry_count(&l->parts[i], n_tokens);
    }
    if (st == RK_OK)
        st = rk_file_check(f, err);
    return st == RK_OK
               ? rk_state_set(s->stream.state, image, (size_t)(at - image) * sizeof *at, err)
               : st;
}

/* Tensors that are not of the state. */
static int n_beside(const rk_file *f)
{
    return (rk_file_find(f, rk_state_logits) != NULL) + (rk_file_find(f, rk_state_counts) != NULL);
}

/* Through memory of its own, so that a file that fails half-way leaves the state as it was. */
rk_status rk_session_state_read(rk_session *s, const rk_file *f, bool force, rk_error *err)
{
    const rk_state_layout *l = &s->scheduler.model->state;
    if (rk_file_is_tuned_state(f))
        return rk_session_tuned_read(s, f, err);
    const int64_t n_tokens = tokens_of(s, f);
    rk_status st = check_meta(s, f, force, err);
    const int64_t n = rk_file_count(f) - n_beside(f);
    if (st == RK_OK && n != l->n_parts)
        st = rk_fail(err, RK_ERR_FORMAT, "%s: %" PRId64 " tensors, a state of this model has %d",
                     rk_file_name(f), n, l->n_parts);
    if (st != RK_OK)
        return st;
    float *image = malloc(rk_state_layout_bytes(l, n_tokens));
    st = image ? read_parts(s, f, n_tokens, image, err)
               : rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", rk_file_name(f));
    free(image);
    return st;
}

rk_status rk_session_state_load(rk_session *s, const char *path, bool force, rk_error *err)
{
    rk_file *f = NULL;
    rk_status st = rk_tuned_file_open(&f, path, RK_TUNED_BY_NAME, s->scheduler.model, err);
    if (st == RK_OK)
        st = rk_session_state_read(s, f, force, err);
    rk_file_close(f);
    return st;
}
