/* adapter_set.c: adapters in memory. */
#include "tune/adapter_set.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "model/adaptable.h"

const rk_form_facts rk_forms[RK_PART_FORMS] = {
    [RK_PART_LORA] = {"lora", {{"lora_A", "ri"}, {"lora_B", "or"}}, 2, false},
    [RK_PART_DORA] = {"dora", {{"lora_A", "ri"}, {"lora_B", "or"}, {"magnitude", "o"}}, 3, true},
    [RK_PART_MISS] = {"miss", {{"miss", "rw"}}, 1, false},
    [RK_PART_BAT_IN] = {"bat-in", {{"bat", "Irr"}}, 1, true},
    [RK_PART_BAT_OUT] = {"bat-out", {{"bat", "Orr"}}, 1, true},
};

/* ---- parts ---- */

static int64_t size_of(const rk_adapter_part *p, char letter)
{
    switch (letter) {
    case 'i':
        return p->in;
    case 'o':
        return p->out;
    case 'r':
        return p->rank;
    case 'w':
        return p->width;
    case 'I':
        return p->in / p->rank;
    default:
        return p->out / p->rank;
    }
}

int rk_part_dims(const rk_adapter_part *p, int i, int64_t *dims)
{
    const char *shape = rk_forms[p->form].tensors[i].shape;
    int n = 0;
    for (; shape[n]; n++)
        dims[n] = size_of(p, shape[n]);
    return n;
}

int64_t rk_part_count(const rk_adapter_part *p, int i)
{
    int64_t dims[RK_MAX_DIMS], n = 1;
    for (int d = rk_part_dims(p, i, dims); d > 0; d--)
        n *= dims[d - 1];
    return n;
}

void rk_part_module(const rk_adapter_part *p, char *name, size_t size)
{
    static const char suffix[] = ".weight";
    const size_t n = strlen(p->name) - (rk_ends_with(p->name, suffix) ? strlen(suffix) : 0);
    snprintf(name, size, "%.*s", (int)n, p->name);
}

void rk_part_tensor_name(const rk_adapter_part *p, int i, char *name, size_t size)
{
    char module[RK_PARAM_NAME_MAX];
    rk_part_module(p, module, sizeof module);
    snprintf(name, size, "%s.%s", module, rk_forms[p->form].tensors[i].name);
}

/* Does a shape of the form need this size? */
static bool needs(rk_adapter_form form, char letter)
{
    bool found = false;
    for (int i = 0; i < rk_forms[form].n_tensors; i++)
        found = found || strchr(rk_forms[form].tensors[i].shape, letter);
    return found;
}

/* What a form asks of sizes; NULL: they fit. A size that is not known yet (0) fits where no shape needs
 * it. */
static const char *misfit(const rk_adapter_part *p)
{
    static const char sizes[] = "iorwIO";
    for (const char *c = sizes; *c; c++)
        if (needs(p->form, *c) && (p->rank < 1 || size_of(p, *c) < 1))
            return "sizes of at least 1";
    if (p->in < 0 || p->out < 0)
        return "sizes of at least 1";
    if (p->form == RK_PART_MISS && p->out % p->width != 0)
        return "a width that divides the outputs";
    if ((p->form == RK_PART_BAT_IN || p->form == RK_PART_BAT_OUT) &&
        (p->in % p->rank != 0 || p->out % p->rank != 0))
        return "a rank that divides inputs and outputs";
    return NULL;
}

static void free_part(rk_adapter_part *p)
{
    for (int i = 0; i < RK_PART_TENSORS_MAX; i++)
        free(p->tensors[i]);
    free(p->start[0]);
    free(p->start[1]);
}

static rk_status fill_part(rk_adapter_part *p, rk_error *err)
{
    bool ok = true;
    for (int i = 0; i < rk_forms[p->form].n_tensors; i++) {
        p->tensors[i] = calloc((size_t)rk_part_count(p, i), sizeof(float));
        ok = ok && p->tensors[i];
    }
    if (ok)
        return RK_OK;
    free_part(p);
    return rk_fail(err, RK_ERR_NOMEM, "out of memory for an adapter of %s", p->name);
}

rk_status rk_part_make_start(rk_adapter_part *p, rk_error *err)
{
    for (int i = 0; i < 2; i++)
        if (!p->start[i])
            p->start[i] = calloc((size_t)rk_part_count(p, i), sizeof(float));
    return p->start[0] && p->start[1]
               ? RK_OK
               : rk_fail(err, RK_ERR_NOMEM, "out of memory for the start of %s", p->name);
}

rk_status rk_part_move_pairs(rk_adapter_part *p, int64_t head_size, bool apart, rk_error *err)
{
    const size_t row = (size_t)p->rank;
    if (head_size < 2 || head_size % 2 != 0 || p->out % head_size != 0)
        return rk_fail(err, RK_ERR_ARG,
                       "'%s' has %" PRId64 " outputs, expected heads of an even size, not %" PRId64,
                       p->name, p->out, head_size);
    float *b = malloc((size_t)p->out * row * sizeof *b);
    if (!b)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for %s", p->name);
    for (int64_t r = 0; r < p->out; r++) {
        const int64_t in = r % head_size, far = r - in + in / 2 + in % 2 * (head_size / 2);
        memcpy(b + (size_t)(apart ? far : r) * row, p->tensors[1] + (size_t)(apart ? r : far) * row,
               row * sizeof *b);
    }
    free(p->tensors[1]);
    p->tensors[1] = b;
    p->paired = !apart;
    return RK_OK;
}

/* ---- sets ---- */

rk_status rk_adapter_set_new(rk_adapter_set **out, rk_error *err)
{
    *out = calloc(1, sizeof **out);
    return *out ? RK_OK : rk_fail(err, RK_ERR_NOMEM, "out of memory for an adapter");
}

void rk_adapter_set_free(rk_adapter_set *s)
{
    if (!s)
        return;
    for (int64_t i = 0; i < s->n_parts; i++)
        free_part(&s->parts[i]);
    for (int64_t i = 0; i < s->n_whole; i++)
        free(s->whole[i].data);
    free(s->parts);
    free(s->whole);
    free(s);
}

rk_status rk_adapter_set_add(rk_adapter_set *s, const rk_adapter_part *p, rk_adapter_part **out,
                             rk_error *err)
{
    const char *expected = misfit(p);
    if (expected)
        return rk_fail(err, RK_ERR_ARG,
                       "%s (%" PRId64 ", %" PRId64 "): %s of rank %" PRId64 ", expected %s",
                       p->name, p->out, p->in, rk_forms[p->form].name, p->rank, expected);
    rk_adapter_part *parts = realloc(s->parts, (size_t)(s->n_parts + 1) * sizeof *parts);
    if (!parts)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for an adapter of %s", p->name);
    s->parts = parts;
    parts[s->n_parts] = *p;
    memset(parts[s->n_parts].tensors, 0, sizeof p->tensors);
    memset(parts[s->n_parts].start, 0, sizeof p->start);
    const rk_status st = fill_part(&parts[s->n_parts], err);
    if (st == RK_OK)
        *out = &parts[s->n_parts++];
    return st;
}

rk_status rk_adapter_set_add_whole(rk_adapter_set *s, const char *name, int n_dims,
                                   const int64_t *dims, rk_adapter_whole **out, rk_error *err)
{
    rk_adapter_whole w = {.n_dims = n_dims};
    int64_t n = 1;
    for (int d = 0; d < n_dims; d++)
        n *= w.dims[d] = dims[d];
    snprintf(w.name, sizeof w.name, "%s", name);
    w.data = calloc((size_t)n, sizeof *w.data);
    rk_adapter_whole *whole = realloc(s->whole, (size_t)(s->n_whole + 1) * sizeof *whole);
    s->whole = whole ? whole : s->whole;
    if (!w.data || !whole) {
        free(w.data);
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for %s", name);
    }
    whole[s->n_whole] = w;
    *out = &whole[s->n_whole++];
    return RK_OK;
}

static rk_status copy_part(rk_adapter_set *to, const rk_adapter_part *p, rk_error *err)
{
    rk_adapter_part *made;
    rk_status st = rk_adapter_set_add(to, p, &made, err);
    for (int i = 0; st == RK_OK && i < rk_forms[p->form].n_tensors; i++)
        memcpy(made->tensors[i], p->tensors[i], (size_t)rk_part_count(p, i) * sizeof(float));
    if (st == RK_OK && p->start[0])
        st = rk_part_make_start(made, err);
    for (int i = 0; st == RK_OK && p->start[0] && i < 2; i++)
        memcpy(made->start[i], p->start[i], (size_t)rk_part_count(p, i) * sizeof(float));
    return st;
}

static rk_status copy_whole(rk_adapter_set *to, const rk_adapter_whole *w, rk_error *err)
{
    rk_adapter_whole *made;
    size_t n = 1;
    for (int d = 0; d < w->n_dims; d++)
        n *= (size_t)w->dims[d];
    const rk_status st = rk_adapter_set_add_whole(to, w->name, w->n_dims, w->dims, &made, err);
    if (st == RK_OK)
        memcpy(made->data, w->data, n * sizeof *w->data);
    return st;
}

rk_status rk_adapter_set_copy(rk_adapter_set **out, const rk_adapter_set *s, rk_error *err)
{
    rk_adapter_set *to = NULL;
    rk_status st = rk_adapter_set_new(&to, err);
    if (st == RK_OK) {
        *to = *s;
        to->parts = NULL;
        to->whole = NULL;
        to->n_parts = to->n_whole = 0;
    }
    for (int64_t i = 0; i < s->n_parts && st == RK_OK; i++)
        st = copy_part(to, &s->parts[i], err);
    for (int64_t i = 0; i < s->n_whole && st == RK_OK; i++)
        st = copy_whole(to, &s->whole[i], err);
    if (st == RK_OK)
        *out = to;
    else
        rk_adapter_set_free(to);
    return st;
}

rk_adapter_part *rk_adapter_set_find(const rk_adapter_set *s, const char *name)
{
    for (int64_t i = 0; i < s->n_parts; i++)
        if (!strcmp(s->parts[i].name, name))
            return &s->parts[i];
    return NULL;
}

/* ---- a set and a model ---- */

static const rk_param *param_named(const rk_model *m, const char *name)
{
    for (int64_t i = 0; i < m->n_params; i++)
        if (m->params[i].used && !strcmp(m->params[i].name, name))
            return &m->params[i];
    return NULL;
}

static rk_status check_part(rk_adapter_part *a, const rk_model *m, const char *name, rk_error *err)
{
    rk_adaptable to;
    if (!rk_adaptable_named(m, a->name, &to))
        return rk_fail(err, RK_ERR_FORMAT, "%s: changes '%s', which is no matrix of this %s model",
                       name, a->name, m->arch->name);
    if (to.pair && rk_forms[a->form].matrix)
        return rk_fail(err, RK_ERR_UNSUPPORTED,
                       "%s: %s computes with the matrix '%s', which is a low-rank pair in this "
                       "model; lora and miss can stand beside pairs",
                       name, rk_forms[a->form].name, a->name);
    const int64_t in = to.in, out = to.out;
    if ((a->in && a->in != in) || (a->out && a->out != out))
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: is for '%s' with %" PRId64 " inputs and %" PRId64
                       " outputs, but the model's has %" PRId64 " and %" PRId64,
                       name, a->name, a->in ? a->in : in, a->out ? a->out : out, in, out);
    if (a->scale == 0)
        return rk_fail(err, RK_ERR_ARG, "%s: does not say the alpha of its LoRA; --alpha says it",
                       name);
    const rk_adapter_part before = *a;
    a->in = in;
    a->out = out;
    const char *expected = misfit(a);
    if (!expected)
        return a->paired ? rk_part_move_pairs(a, m->hp.head_size, true, err) : RK_OK;
    *a = before;
    return rk_fail(err, RK_ERR_FORMAT,
                   "%s: %s of rank %" PRId64 " and width %" PRId64 " for '%s' (%" PRId64
                   ", %" PRId64 "), expected %s",
                   name, rk_forms[a->form].name, a->rank, a->width, a->name, out, in, expected);
}

static rk_status check_whole(const rk_adapter_whole *w, const rk_model *m, const char *name,
                             rk_error *err)
{
    const rk_param *p = param_named(m, w->name);
    int64_t n = 1;
    for (int d = 0; d < w->n_dims; d++)
        n *= w->dims[d];
    if (!p && strstr(w->name, "time_state")) /* a model need not hold one */
        return RK_OK;
    if (!p || n != rk_tensor_count(&p->tensor))
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: holds '%s' of %" PRId64 " numbers, which this %s model does not have",
                       name, w->name, n, m->arch->name);
    return RK_OK;
}

rk_status rk_adapter_set_check(rk_adapter_set *s, const rk_model *m, const char *name, bool force,
                               rk_error *err)
{
    rk_status st = RK_OK;
    for (int64_t i = 0; i < s->n_parts && st == RK_OK; i++)
        st = check_part(&s->parts[i], m, name, err);
    for (int64_t i = 0; i < s->n_whole && st == RK_OK; i++)
        st = check_whole(&s->whole[i], m, name, err);
    if (st == RK_OK && !force && s->fingerprint && s->fingerprint != m->base_fingerprint)
        st = rk_fail(err, RK_ERR_FORMAT,
                     "%s: was made for another model (fingerprint %016" PRIx64
                     ", expected %016" PRIx64 "); --force-base takes it all the same",
                     name, s->fingerprint, m->base_fingerprint);
    if (st == RK_OK && !s->arch[0])
        snprintf(s->arch, sizeof s->arch, "%s", m->arch->name);
    s->head_size = m->hp.head_size;
    return st;
}
