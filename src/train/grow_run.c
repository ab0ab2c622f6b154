/* grow_run.c: the checkpoint of a run becomes that of a larger model.
 *
 * The larger model is a file that the new run begins with, so that its sizes and what says which heads it asks are
 * where any model has them; the checkpoint holds what the optimiser changes, as of every run that began so. */
#define _XOPEN_SOURCE 700 /* realpath */
#include "train/grow_run.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/num.h"
#include "format/format.h"
#include "format/scheme.h"
#include "io/atomic_file.h"
#include "io/path.h"
#include "train/base.h"
#include "train/checkpoint_dir.h"
#include "train/ema.h"
#include "train/grown.h"
#include "train/run_dir.h"
#include "train/run_state.h"

enum { VALUE_MAX = 64, N_RATES = 3, OPTIONS_MAX = RK_SAVED_MEMBERS_MAX + RK_RUN_SIZES_MAX };

typedef struct growing {
    const char *to;
    rk_checkpoint *c;
    const rk_saved_state *state;
    rk_st *weights, *optim; /* of the checkpoint */
    rk_file *sizes;         /* what a model without a file shows its sizes by */
    rk_model *small, *big, *start;
    rk_grow_map map;
    char *base;
    uint64_t base_checksum;
    char steps[RK_GROWN_TEXT_MAX], trained[RK_GROWN_TEXT_MAX]; /* metadata of the new run's model */
    rk_pair options[OPTIONS_MAX];                              /* of the new run */
    char values[RK_RUN_SIZES_MAX + N_RATES][VALUE_MAX];
    int64_t n_options, n_values;
    rk_run_arrays arrays;
    rk_named_array *room; /* of all sets, one behind the other */
    float *floats;
} growing;

static const char *option(const growing *g, const char *name)
{
    const char *text = rk_saved_state_option(g->state, name);
    return text ? text : "";
}

/* ---- the model that the run trains ---- */

static rk_status check_run(const growing *g, rk_error *err)
{
    static const char *const empty[] = {"method", "train-only", "freeze"};
    for (size_t i = 0; i < RK_COUNT(empty); i++)
        if (*option(g, empty[i]) && strcmp(option(g, empty[i]), RK_GROWN_OLD) != 0)
            return rk_fail(err, RK_ERR_ARG,
                           "%s: the run has --%s %s; a run grows that trains the whole model",
                           rk_checkpoint_path(g->c), empty[i], option(g, empty[i]));
    if (*option(g, "quant") && strcmp(option(g, "quant"), "none") != 0)
        return rk_fail(err, RK_ERR_ARG, "%s: a run with --quant %s does not grow",
                       rk_checkpoint_path(g->c), option(g, "quant"));
    return rk_optimizer_find(option(g, "optimizer"))
               ? RK_OK
               : rk_fail(err, RK_ERR_FORMAT, "%s: no optimizer '%.32s'", rk_checkpoint_path(g->c),
                         option(g, "optimizer"));
}

/* Sizes that no tensor shows become metadata, as a model's file would have them. */
static rk_status state_sizes(growing *g, const rk_arch *arch, rk_error *err)
{
    const rk_size_spec *s;
    rk_status st = RK_OK;
    for (int i = 0; st == RK_OK && (s = rk_size_at(arch, i)); i++) {
        const char *said = s->option.name ? option(g, s->option.name) : "", *word = NULL;
        char text[VALUE_MAX];
        if (!*said || (s->file.from != RK_FROM_META && s->file.from != RK_FROM_MARK))
            continue;
        const size_t n = rk_size_word(s, (int)strtod(said, NULL), &word);
        snprintf(text, sizeof text, "%.*s", n ? (int)n : VALUE_MAX - 1, n ? word : said);
        st = rk_file_add_meta(g->sizes, s->name, text, err);
    }
    return st == RK_OK ? rk_file_finish(g->sizes, err) : st;
}

static rk_status make_small(growing *g, const char *path, rk_error *err)
{
    const rk_arch *arch = rk_arch_find(option(g, "arch"));
    rk_hparams hp;
    if (!arch)
        return rk_fail(err, RK_ERR_FORMAT, "%s: no architecture '%.32s'", rk_checkpoint_path(g->c),
                       option(g, "arch"));
    rk_status st = rk_file_open(&g->sizes, path, err);
    if (st == RK_OK)
        st = rk_scheme_import(&g->sizes, err);
    if (st == RK_OK)
        st = state_sizes(g, arch, err);
    if (st == RK_OK)
        st = rk_sizes_read(arch, g->sizes, &hp, err);
    return st == RK_OK ? rk_model_new(&g->small, arch, &hp, err) : st;
}

/* That which the run began with, and what it asks of it. */
static rk_status open_small(growing *g, const char *base, uint64_t checksum, rk_error *err)
{
    rk_size sizes[RK_RUN_SIZES_MAX];
    rk_train_params p = {.arch = option(g, "arch"), .init_from = base, .sizes = sizes};
    const rk_arch *arch = rk_arch_find(p.arch);
    const rk_size_spec *s;
    uint64_t found = 0;
    for (int i = 0; arch && (s = rk_size_at(arch, i)); i++)
        if (s->option.name && *option(g, s->option.name) && p.n_sizes < RK_RUN_SIZES_MAX)
            sizes[p.n_sizes++] = (rk_size){s->name, strtod(option(g, s->option.name), NULL)};
    rk_status st = rk_base_open(&g->small, &p, err);
    if (st == RK_OK)
        st = rk_base_checksum(g->small, &found, err);
    if (st == RK_OK && found != checksum)
        st = rk_fail(err, RK_ERR_ARG, "%s: is not the model that %s was made with", base,
                     rk_checkpoint_path(g->c));
    return st;
}

/* The values that training has come to. */
static rk_status take_weights(growing *g, rk_error *err)
{
    for (int64_t i = 0; i < g->small->n_params; i++) {
        rk_param *p = &g->small->params[i];
        const rk_file_tensor *t = rk_st_find(g->weights, p->name);
        if (!p->used || (!t && p->tensor.data))
            continue;
        if (!t || t->dtype != RK_F32 || t->n_dims != p->tensor.n_dims ||
            memcmp(t->dims, p->tensor.dims, (size_t)t->n_dims * sizeof *t->dims) != 0)
            return rk_fail(err, RK_ERR_FORMAT, "%s: tensor '%s' is missing or has another shape",
                           rk_st_name(g->weights), p->name);
        p->tensor = rk_tensor_over(RK_F32, t->n_dims, t->dims, NULL);
        memcpy(&p->tensor.data, &t->data, sizeof t->data); /* it is only read */
    }
    return RK_OK;
}

static rk_status open_run(growing *g, const char *dir, const rk_log *log, rk_error *err)
{
    uint64_t checksum;
    rk_status st = rk_checkpoint_find(&g->c, dir, log, err);
    if (st == RK_OK && !g->c)
        st = rk_fail(err, RK_ERR_ARG, "%s: no checkpoint of a run is there", dir);
    if (st != RK_OK)
        return st;
    g->state = rk_checkpoint_state(g->c);
    char *weights = rk_path_join(rk_checkpoint_path(g->c), RK_SAVED_MODEL);
    char *optim = rk_path_join(rk_checkpoint_path(g->c), RK_SAVED_OPTIM);
    const char *base = rk_checkpoint_base(g->c, &checksum);
    if (!weights || !optim)
        st = rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", dir);
    if (st == RK_OK)
        st = check_run(g, err);
    if (st == RK_OK)
        st = rk_st_open(&g->weights, weights, err);
    if (st == RK_OK)
        st = rk_st_open(&g->optim, optim, err);
    if (st == RK_OK)
        st = base ? open_small(g, base, checksum, err) : make_small(g, weights, err);
    if (st == RK_OK)
        st = take_weights(g, err);
    free(weights);
    free(optim);
    return st;
}

/* ---- the model that it goes on with ---- */

/* Updates before each generation: what the run had counted, and those made until now. */
static void list_steps(growing *g)
{
    const char *was = g->small->file ? rk_file_meta(g->small->file, RK_GROWN_STEPS) : NULL;
    const int64_t n = rk_grown_generations(g->big);
    size_t at = 0;
    for (int64_t i = 0; i < n - 1; i++) {
        char *end = NULL;
        const int64_t steps = was ? strtoll(was, &end, 10) : 0;
        was = was && end && *end == ',' ? end + 1 : NULL;
        at += (size_t)snprintf(g->steps + at, sizeof g->steps - at, "%" PRId64 ",", steps);
    }
    snprintf(g->steps + at, sizeof g->steps - at, "%" PRId64, rk_checkpoint_step(g->c));
}

static rk_status list_trained(growing *g, rk_error *err)
{
    const int64_t step = rk_checkpoint_step(g->c);
    const int64_t tokens = step > 0 ? g->state->tokens / step : 0;
    return rk_grown_trained_on(g->small, step, tokens, -1, g->trained, err);
}

static rk_status write_start(growing *g, rk_error *err)
{
    const rk_pair meta[] = {{RK_GROWN_STEPS, g->steps}, {RK_TRAINED_TOKENS, g->trained}};
    char *path = rk_path_join(g->to, RK_RUN_START);
    const rk_save_options o = {
        .dtype = RK_F32, .meta = meta, .n_meta = RK_COUNT(meta), .overwrite = true};
    rk_status st = path ? rk_model_save(g->big, path, &o, err)
                        : rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", g->to);
    if (st == RK_OK && !(g->base = realpath(path, NULL))) {
        st = rk_fail(err, RK_ERR_IO, "%s: cannot be found", path);
        unlink(path);
    }
    if (st == RK_OK)
        st = rk_model_open(&g->start, g->base, err);
    if (st == RK_OK)
        st = rk_base_checksum(g->start, &g->base_checksum, err);
    free(path);
    return st;
}

/* ---- arrays ---- */

static bool is_updated(const rk_param *p)
{
    return p->used && !rk_roles[p->role].constant;
}

/* With freeze_old the run holds no more than what is new in part. */
static bool is_held(const growing *g, const rk_param *p, bool freeze_old)
{
    return is_updated(p) && (!freeze_old || rk_grown_is_new(g->big, p));
}

static rk_named_array array_of(const rk_param *p, float *data)
{
    rk_named_array a = {.name = p->name,
                        .n_dims = p->tensor.n_dims,
                        .data = data,
                        .n = rk_tensor_count(&p->tensor)};
    memcpy(a.dims, p->tensor.dims, sizeof a.dims);
    return a;
}

/* What the optimiser, or a running mean, has for a parameter: that of the smaller model in its places. */
static rk_status take_state(const growing *g, const char *prefix, const rk_param *p, float *to,
                            rk_error *err)
{
    char name[2 * RK_PARAM_NAME_MAX];
    const rk_param *source = rk_grow_source(&g->map, p);
    if (!source)
        return RK_OK;
    snprintf(name, sizeof name, "%s.%s", prefix, source->name);
    const rk_file_tensor *t = rk_st_find(g->optim, name);
    if (!t) /* frozen until now */
        return RK_OK;
    if (t->dtype != RK_F32 || t->bytes != (size_t)rk_tensor_count(&source->tensor) * sizeof *to)
        return rk_fail(err, RK_ERR_FORMAT, "%s: tensor '%s' has another shape than the model's",
                       rk_st_name(g->optim), name);
    rk_grow_put(&g->map, source, t->data, p, to);
    return RK_OK;
}

static bool has_state(const rk_optimizer *o, int i, const rk_param *p)
{
    return i == o->n_states || i < rk_optimizer_n_states(o, p);
}

static rk_status make_arrays(growing *g, bool freeze_old, rk_error *err)
{
    const rk_optimizer *o = rk_optimizer_find(option(g, "optimizer"));
    const bool average = strtod(option(g, "ema"), NULL) > 0;
    const int n_sets = o->n_states + average;
    const size_t n = (size_t)g->big->n_params;
    int64_t count = 0;
    for (int64_t i = 0; i < g->big->n_params; i++)
        count += rk_tensor_count(&g->big->params[i].tensor);
    float *at = g->floats = calloc((size_t)(count * n_sets) + 1, sizeof *at);
    rk_named_array *room = g->room = calloc(n * (size_t)(n_sets + 1), sizeof *room);
    if (!at || !room)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for moments");
    g->arrays = (rk_run_arrays){.weights = {NULL, room, 0}, .n_states = n_sets};
    for (int s = 0; s < n_sets; s++)
        g->arrays.states[s] = (rk_array_set){s < o->n_states ? o->states[s] : RK_EMA_NAME,
                                             room + n * (size_t)(s + 1), 0};
    rk_status st = RK_OK;
    for (int64_t i = 0; i < g->big->n_params && st == RK_OK; i++) {
        const rk_param *p = &g->big->params[i];
        if (!is_held(g, p, freeze_old))
            continue;
        room[g->arrays.weights.n++] = array_of(p, p->tensor.data);
        for (int s = 0; s < n_sets && st == RK_OK; s++) {
            if (!has_state(o, s, p))
                continue;
            rk_array_set *set = &g->arrays.states[s];
            room[n * (size_t)(s + 1) + (size_t)set->n++] = array_of(p, at);
            if (s == o->n_states)
                memcpy(at, p->tensor.data, (size_t)rk_tensor_count(&p->tensor) * sizeof *at);
            st = take_state(g, set->prefix, p, at, err);
            at += rk_tensor_count(&p->tensor);
        }
    }
    return st;
}

/* ---- options ---- */

static void put_option(growing *g, const char *key, const char *value)
{
    int64_t i = 0;
    while (i < g->n_options && strcmp(g->options[i].key, key) != 0)
        i++;
    g->options[i] = (rk_pair){key, value};
    g->n_options = rk_max_i64(g->n_options, i + 1);
}

static void put_number(growing *g, const char *key, double x)
{
    char *text = g->values[g->n_values++];
    snprintf(text, VALUE_MAX, "%.17g", x);
    put_option(g, key, text);
}

/* The run's own, but for its architecture, its sizes, what is frozen and what is said of its rates. */
static void list_options(growing *g, const rk_grown_training *with)
{
    const struct {
        const char *key;
        double x;
    } rates[N_RATES] = {
        {"rewarm", (double)with->rewarm}, {"lr", with->lr}, {"lr-final", with->lr_final}};
    const rk_size_spec *s;
    for (int64_t i = 0; i < g->state->n_members; i++)
        if (!strncmp(g->state->members[i].key, "--", 2))
            put_option(g, g->state->members[i].key + 2, g->state->members[i].value);
    put_option(g, "arch", g->big->arch->name);
    put_option(g, "freeze", with->freeze_old ? RK_GROWN_OLD : "");
    for (int i = 0; i < N_RATES; i++)
        if (rates[i].x >= 0)
            put_number(g, rates[i].key, rates[i].x);
    for (int i = 0; (s = rk_size_at(g->big->arch, i)); i++)
        if (s->option.name && s->initial.rule && g->n_values < RK_RUN_SIZES_MAX)
            put_number(g, s->option.name, rk_size_value(s, &g->big->hp));
}

static rk_status write_run(growing *g, const rk_log *log, rk_error *err)
{
    const rk_run_state s = {.step = rk_checkpoint_step(g->c),
                            .tokens = g->state->tokens,
                            .skipped_in_row = rk_checkpoint_skipped_in_row(g->c),
                            .noise = rk_checkpoint_noise(g->c),
                            .numerics = rk_checkpoint_numerics(g->c),
                            .options = g->options,
                            .n_options = g->n_options,
                            .base = g->base,
                            .base_checksum = g->base_checksum};
    return rk_checkpoint_save(g->to, &s, &g->arrays, log, err);
}

static void close_all(growing *g)
{
    free(g->map.from);
    free(g->room);
    free(g->floats);
    free(g->base);
    rk_model_close(g->start);
    rk_model_close(g->big);
    rk_model_close(g->small);
    rk_file_close(g->sizes);
    rk_st_close(g->optim);
    rk_st_close(g->weights);
    rk_checkpoint_close(g->c);
}

static int64_t n_params_of(const rk_model *m)
{
    rk_model_info info;
    rk_model_get_info(m, &info);
    return info.n_params;
}

/* Nothing stays of a run that could not be written whole; a folder that was entered held none. */
static void take_back(const growing *g, bool made_folder)
{
    rk_error ignored;
    char *checkpoint = rk_checkpoint_dir_path(g->to, rk_checkpoint_step(g->c));
    if (checkpoint)
        rk_dir_remove(checkpoint, &ignored);
    free(checkpoint);
    rk_run_dir_abandon(g->to, g->base, made_folder);
}

rk_status rk_grow_run(const char *dir, const char *to, const rk_growth *how,
                      const rk_grown_training *with, const rk_log *log, rk_grown_info *info,
                      rk_error *err)
{
    const bool made_folder = access(to, F_OK) != 0;
    growing g = {.to = to};
    int lock = -1;
    rk_status st = rk_run_dir_check(to, false, err);
    if (st == RK_OK)
        st = open_run(&g, dir, log, err);
    if (st == RK_OK)
        st = rk_grow_new(&g.big, g.small, how, err);
    if (st == RK_OK)
        st = rk_grow_map_init(&g.map, g.small, g.big, err);
    if (st == RK_OK)
        st = make_arrays(&g, with->freeze_old, err);
    if (st == RK_OK)
        st = rk_run_dir_enter(to, false, &lock, err);
    if (st == RK_OK) {
        list_steps(&g);
        list_options(&g, with);
        st = list_trained(&g, err);
    }
    if (st == RK_OK)
        st = write_start(&g, err);
    if (st == RK_OK)
        st = write_run(&g, log, err);
    if (st == RK_OK)
        *info = (rk_grown_info){rk_checkpoint_step(g.c), n_params_of(g.small), n_params_of(g.big)};
    else if (lock >= 0)
        take_back(&g, made_folder);
    if (lock >= 0)
        close(lock);
    close_all(&g);
    return st;
}
