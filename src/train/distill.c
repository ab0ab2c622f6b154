/* distill.c: a student made of its teacher. What both call the same is copied: embeddings, norms, channel
 * mixes, and the projections of recurrences that keep attention's. ARWKV-7's are of full width: each head of
 * keys and values is put down as often as queries read it, one beside the other, and the token shift
 * begins as none, so that what is copied reads what it was made for. Layers that are kept are the teacher's
 * as they are. */
#define _XOPEN_SOURCE 700 /* realpath */
#include "train/distill.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "format/format.h"
#include "io/path.h"
#include "train/checkpoint_dir.h"
#include "train/hybrid.h"
#include "train/run_dir.h"

typedef struct start {
    rk_model *teacher, *student;
    rk_model *from; /* a student that the new one is made of; NULL: there is none */
    rk_layer_set kept;
    int how;
    int64_t dim_q, dim_kv, n_head; /* of the teacher's attention; 0: it has none */
} start;

/* ---- sizes ---- */

static double teacher_size(const rk_model *t, const char *name)
{
    const rk_size_spec *s = rk_size_find(t->arch, name);
    return s ? rk_size_value(s, &t->hp) : 0;
}

static bool has_biases(const rk_model *t)
{
    for (int64_t i = 0; i < t->n_params; i++)
        if (strstr(t->params[i].name, ".self_attn.q_proj.bias"))
            return true;
    return false;
}

/* Heads of attention that is kept beside heads of a recurrence have names of their own. */
static void take_kept_sizes(rk_run_params *p, const rk_arch *arch, const rk_model *t)
{
    static const char *const names[][2] = {{"n_attention_head", "n_head"},
                                           {"n_attention_kv_head", "n_kv_head"},
                                           {"attention_head_size", "head_size"}};
    const bool hybrid = teacher_size(t, names[0][0]) > 0;
    if (!rk_size_find(arch, names[0][0]))
        return;
    for (size_t i = 0; i < RK_COUNT(names); i++)
        rk_run_set_size(p, names[i][0], teacher_size(t, names[i][hybrid ? 0 : 1]));
    rk_run_set_size(p, "unbiased", !has_biases(t));
    rk_run_set_size(p, "rope_theta", teacher_size(t, "rope_theta"));
}

/* Sizes that are given stay. Of a teacher's, heads of 64 are the student's own where it does not keep
 * attention's. */
static void take_sizes(rk_run_params *p, const rk_arch *arch, const rk_model *t, bool is_teacher)
{
    const rk_size_spec *s;
    const bool own_heads = rk_size_find(arch, "n_wkv_head") != NULL;
    for (int i = 0; (s = rk_size_at(arch, i)); i++) {
        const rk_size_spec *theirs = rk_size_find(t->arch, s->name);
        bool given = is_teacher &&
                     (!strcmp(s->name, "tied") || (own_heads && !strcmp(s->name, "head_size")));
        for (int64_t g = 0; g < p->n_sizes; g++)
            given = given || !strcmp(p->sizes[g].name, s->name);
        if (theirs && s->initial.rule && !given)
            rk_run_set_size(p, s->name, rk_size_value(theirs, &t->hp));
    }
}

/* ---- copying ---- */

/* Row `row` of a teacher's matrix of any type. */
static void read_row(const rk_param *from, int64_t row, float *to)
{
    rk_matrix_row(&from->tensor, RK_OUT_IN, row, to);
}

static void read_all(const rk_param *from, float *to)
{
    const rk_tensor *t = &from->tensor;
    if (t->n_dims == 1 || rk_tensor_rows(t) == 1) { /* vectors are f32 in every model */
        memcpy(to, t->data, rk_tensor_bytes(t));
        return;
    }
    for (int64_t r = 0; r < t->dims[0]; r++)
        read_row(from, r, to + r * t->dims[1]);
}

/* The words at the end of a mixer's names, and what they become: how much of the teacher's matrix, and
 * whether its rows are heads of keys and values. */
static const struct {
    const char *own, *theirs;
    double factor; /* of copy-scaled */
    bool grouped;
} projections[] = {
    {"time_mixer.receptance.weight", "q_proj.weight", 0.5, false},
    {"time_mixer.key.weight", "k_proj.weight", 0.5, true},
    {"time_mixer.value.weight", "v_proj.weight", 0.3, true},
    {"time_mixer.output.weight", "o_proj.weight", 0.5, false},
};

static rk_param *teacher_param(const start *s, int64_t layer, const char *end)
{
    char name[RK_PARAM_NAME_MAX];
    snprintf(name, sizeof name, "model.layers.%" PRId64 ".self_attn.%s", layer, end);
    return rk_model_param(s->teacher, name);
}

/* The row of the teacher's keys or values that row i of a full-width one repeats. */
static int64_t grouped_row(const start *s, int64_t i)
{
    const int64_t size = s->dim_q / s->n_head, n_kv = s->dim_kv / size;
    return i / size / (s->n_head / n_kv) * size + i % size;
}

static rk_status copy_projection(const start *s, rk_param *to, int which, rk_error *err)
{
    const rk_param *from = teacher_param(s, to->layer, projections[which].theirs);
    const int64_t rows = to->tensor.dims[0], cols = to->tensor.dims[1];
    const double factor = s->how == RK_STUDENT_COPY_SCALED ? projections[which].factor : 1.0;
    if (!from || s->dim_q != s->student->hp.n_embd)
        return rk_fail(err, RK_ERR_UNSUPPORTED,
                       "there is no attention as wide as the model to copy to '%s'; --init random "
                       "begins without",
                       to->name);
    for (int64_t r = 0; r < rows; r++) {
        float *row = (float *)to->tensor.data + r * cols;
        read_row(from, projections[which].grouped ? grouped_row(s, r) : r, row);
        for (int64_t c = 0; c < cols; c++)
            row[c] *= (float)factor;
    }
    return RK_OK;
}

static bool ends_with(const char *name, const char *end)
{
    const size_t n = strlen(name), e = strlen(end);
    return n >= e && !strcmp(name + n - e, end);
}

/* The factor of what a recurrence keeps of attention under its name. */
static double kept_factor(const start *s, const char *name)
{
    for (size_t i = 0; i < RK_COUNT(projections); i++) {
        const size_t n = strcspn(projections[i].theirs, ".");
        const char *at = strstr(name, projections[i].theirs);
        char bias[32];
        snprintf(bias, sizeof bias, "%.*s.bias", (int)n, projections[i].theirs);
        if (at || ends_with(name, bias))
            return s->how == RK_STUDENT_COPY_SCALED ? projections[i].factor : 1.0;
    }
    return 1.0;
}

static bool is_mixer(const rk_param *p)
{
    return strstr(p->name, ".self_attn.") != NULL;
}

/* What the teacher has under the same name and in the same shape; of a head that is its table, the table. */
static const rk_param *namesake(const start *s, const rk_param *to)
{
    const rk_param *from = rk_model_param(s->teacher, to->name);
    if (!from && rk_roles[to->role].head)
        for (int64_t i = 0; i < s->teacher->n_params && !from; i++)
            if (&s->teacher->params[i].tensor == s->teacher->head->matrix)
                from = &s->teacher->params[i];
    if (from && (from->tensor.n_dims != to->tensor.n_dims ||
                 memcmp(from->tensor.dims, to->tensor.dims,
                        (size_t)to->tensor.n_dims * sizeof *to->tensor.dims) != 0))
        from = NULL;
    return from;
}

static void copy_same(const start *s, rk_param *to, const rk_param *from)
{
    float *x = to->tensor.data;
    const float factor = is_mixer(to) ? (float)kept_factor(s, to->name) : 1.0f;
    read_all(from, x);
    for (int64_t i = 0; factor != 1.0f && i < rk_tensor_count(&to->tensor); i++)
        x[i] *= factor;
}

static bool is_kept(const start *s, const rk_param *p)
{
    return !rk_param_of_model(p->spec) && rk_layer_in(&s->kept, p->layer);
}

/* Of a layer that is kept; biases that the teacher has not are none. */
static rk_status copy_kept(rk_param *to, const rk_param *from, rk_error *err)
{
    if (from)
        read_all(from, to->tensor.data);
    else if (ends_with(to->name, ".bias"))
        memset(to->tensor.data, 0, rk_tensor_bytes(&to->tensor));
    else
        return rk_fail(err, RK_ERR_UNSUPPORTED,
                       "layer %" PRId64 " of the teacher has no '%s' of this shape to keep",
                       to->layer, to->name);
    return RK_OK;
}

/* What the student had already. */
static rk_status copy_own(const start *s, rk_param *to, rk_error *err)
{
    const rk_param *from = rk_model_param(s->from, to->name);
    if (from && from->tensor.data)
        read_all(from, to->tensor.data);
    else if (to->used)
        return rk_fail(err, RK_ERR_ARG,
                       "layer %" PRId64 " of the student is attention already: there is no '%s'",
                       to->layer, to->name);
    return RK_OK;
}

static rk_status copy_param(const start *s, rk_param *to, rk_error *err)
{
    const rk_param *from = namesake(s, to);
    if (is_kept(s, to) && is_mixer(to) && !(s->from && rk_layer_in(&s->from->hp.kept, to->layer)))
        return copy_kept(to, from, err);
    if (s->from)
        return copy_own(s, to, err);
    if (is_mixer(to) && s->how == RK_STUDENT_RANDOM)
        return RK_OK;
    if (from) {
        copy_same(s, to, from);
        return RK_OK;
    }
    for (size_t i = 0; i < RK_COUNT(projections); i++)
        if (ends_with(to->name, projections[i].own))
            return copy_projection(s, to, (int)i, err);
    if (strstr(to->name, ".time_mixer.x_")) /* the token before: not at first */
        memset(to->tensor.data, 0, rk_tensor_bytes(&to->tensor));
    return RK_OK;
}

/* ---- making it ---- */

static rk_status give_memory(rk_model *m, uint64_t seed, rk_error *err)
{
    size_t n = 0;
    for (int64_t i = 0; i < m->n_params; i++)
        n += (size_t)rk_tensor_count(&m->params[i].tensor);
    float *at = m->owned = calloc(n + 1, sizeof *at);
    if (!at)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for a student of %zu parameters", n);
    for (int64_t i = 0; i < m->n_params; i++) {
        m->params[i].tensor.data = at;
        at += rk_tensor_count(&m->params[i].tensor);
    }
    return rk_model_init(m, seed, NULL, err);
}

static rk_status make_student(start *s, const rk_run_params *given, rk_error *err)
{
    rk_run_params copy = *given,
                  *p = &copy; /* its sizes are this model's; the run takes them from the file */
    const char *name = p->model.arch ? p->model.arch : "arwkv7";
    const rk_arch *arch = s->from ? s->from->arch : rk_arch_find(name);
    rk_hparams hp;
    if (!arch)
        return rk_fail(err, RK_ERR_ARG, "no architecture '%s'", name);
    take_sizes(p, arch, s->from ? s->from : s->teacher, !s->from);
    if (memcmp(&s->kept, &(rk_layer_set){0}, sizeof s->kept) != 0)
        take_kept_sizes(p, arch, s->teacher);
    rk_status st = rk_sizes_make_kept(arch, p->sizes, p->n_sizes, &s->kept, &hp, err);
    if (st == RK_OK)
        st = rk_model_new(&s->student, arch, &hp, err);
    if (st == RK_OK)
        st = give_memory(s->student, p->model.seed, err);
    for (int64_t i = 0; st == RK_OK && i < s->student->n_params; i++)
        st = copy_param(s, &s->student->params[i], err);
    return st;
}

/* Which layers are kept. */
static rk_status find_layers(start *s, const rk_run_params *p, const rk_run_env *env, rk_error *err)
{
    int64_t n_auto = 0;
    if (!p->distill.layers)
        return RK_OK;
    rk_status st =
        rk_hybrid_parse(p->distill.layers, s->teacher->hp.n_layer, &s->kept, &n_auto, err);
    if (st == RK_OK && n_auto > 0 && !s->from)
        st = rk_fail(err, RK_ERR_ARG,
                     "--layers %s looks at how far alignment has come: it needs the student that "
                     "stage 1 has left, -m MODEL",
                     p->distill.layers);
    return st == RK_OK && n_auto > 0 ? rk_hybrid_choose(p, env, s->from, n_auto, &s->kept, err)
                                     : st;
}

/* A file of its own, not yet that of a run. */
static rk_status make_start(start *s, rk_run_params *p, const rk_run_env *env, rk_error *err)
{
    rk_status st = rk_model_open(&s->teacher, p->distill.teacher, err);
    if (st == RK_OK && p->model.init_from)
        st = rk_model_open(&s->from, p->model.init_from, err);
    if (st != RK_OK)
        return st;
    s->dim_q = (int64_t)teacher_size(s->teacher, "dim_q");
    s->dim_kv = (int64_t)teacher_size(s->teacher, "dim_kv");
    s->n_head = s->teacher->hp.n_head;
    if (s->from && s->from->hp.n_layer != s->teacher->hp.n_layer)
        return rk_fail(err, RK_ERR_ARG,
                       "%s: %" PRId64 " layers, but the student has %" PRId64
                       ": it cannot keep them",
                       p->distill.teacher, s->teacher->hp.n_layer, s->from->hp.n_layer);
    st = find_layers(s, p, env, err);
    return st == RK_OK ? make_student(s, p, err) : st;
}

/* The folder is made where it is not there, and left to who runs in it. */
static rk_status enter(const rk_run_params *p, rk_distill_begun *begun, rk_error *err)
{
    int lock = -1;
    begun->made_folder = access(p->dir, F_OK) != 0;
    const rk_status st = rk_run_dir_enter(p->dir, p->resume, &lock, err);
    if (lock >= 0)
        close(lock);
    return st;
}

static rk_status write_start(rk_run_params *p, const rk_run_env *env, const char *path,
                             rk_distill_begun *begun, rk_error *err)
{
    const rk_save_options o = {
        .keep_types = true, .container = RK_SAVE_SAFETENSORS, .overwrite = true};
    start s = {.how = p->distill.start};
    rk_status st = make_start(&s, p, env, err);
    if (st == RK_OK)
        st = enter(p, begun, err);
    if (st == RK_OK)
        st = rk_model_save(s.student, path, &o, err);
    begun->made = st == RK_OK;
    rk_model_close(s.student);
    rk_model_close(s.from);
    rk_model_close(s.teacher);
    return st;
}

static bool is_asked_for(const rk_run_params *p)
{
    return p->distill.teacher && (!p->model.init_from || p->distill.layers);
}

rk_status rk_distill_start(rk_run_params *p, const rk_run_env *env, rk_distill_begun *begun,
                           rk_error *err)
{
    *begun = (rk_distill_begun){0};
    if (!is_asked_for(p))
        return RK_OK;
    char *file = rk_path_join(p->dir, RK_RUN_START);
    rk_status st = file ? RK_OK : rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", p->dir);
    const bool begun_before = p->resume && rk_checkpoint_dir_holds_any(p->dir);
    if (st == RK_OK && !(begun_before && access(file, R_OK) == 0))
        st = write_start(p, env, file, begun, err);
    if (st == RK_OK && !(begun->path = realpath(file, NULL))) {
        st = rk_fail(err, RK_ERR_IO, "%s: cannot be found", file);
        unlink(file);
    }
    if (st == RK_OK)
        p->model.init_from = begun->path;
    free(file);
    return st;
}

void rk_distill_end(rk_distill_begun *begun, const rk_run_params *p)
{
    if (begun->made || begun->made_folder)
        rk_run_dir_abandon(p->dir, begun->made ? begun->path : NULL, begun->made_folder);
    free(begun->path);
    *begun = (rk_distill_begun){0};
}
