/* shape.c: options from the tables of architectures and of their sizes. */
#include "cli/shape.h"

#include <assert.h>
#include <string.h>

/* The i-th that new models are made of. */
static const rk_arch *arch_at(int i)
{
    for (int k = 0; rk_archs[k]; k++)
        if (!rk_archs[k]->old && i-- == 0)
            return rk_archs[k];
    return NULL;
}

static void add(rk_option_room *room, rk_option row)
{
    assert(room->n < RK_OPTIONS_MAX);
    room->rows[room->n++] = row;
}

static void add_arch(rk_option_room *room, size_t offset)
{
    const rk_arch *arch;
    room->text[0] = '\0';
    for (int i = 0; (arch = arch_at(i)); i++) {
        assert(strlen(room->text) + strlen(arch->name) + 2 < sizeof room->text);
        strcat(strcat(room->text, i ? "|" : ""), arch->name);
    }
    add(room, (rk_option){
                  .name = "arch",
                  .type = RK_OPT_CHOICE,
                  .arg = room->text,
                  .offset = offset + offsetof(rk_shape_options, arch),
                  .shown = arch_at(0)->name,
                  .help = "architecture; rwkv5 is 5.2, with a gate and a decay for each channel"});
}

static rk_option *row_named(rk_option_room *room, const char *name)
{
    for (size_t i = 0; i < room->n; i++)
        if (room->rows[i].name && !strcmp(room->rows[i].name, name))
            return &room->rows[i];
    return NULL;
}

static rk_opt_type type_of(const rk_size_spec *s)
{
    return s->at.words ? RK_OPT_NAMED_CHOICE : s->at.real ? RK_OPT_NAMED : RK_OPT_NAMED_INT;
}

/* A row for each size; one that several architectures have tells its default where it is the same everywhere. */
static void add_size(rk_option_room *room, const rk_size_spec *s, size_t offset)
{
    const char *shown = s->option.shown;
    rk_option *row = row_named(room, s->option.name);
    if (!row)
        add(room, (rk_option){s->option.name, 0, type_of(s),
                              s->at.words  ? s->at.words
                              : s->at.real ? "X"
                                           : "N",
                              offset + offsetof(rk_shape_options, sizes), s->range.min,
                              s->range.max, shown, s->option.help});
    else if (strcmp(row->shown ? row->shown : "", shown ? shown : "") != 0)
        row->shown = "by the architecture";
}

void rk_shape_rows(rk_option_room *room, size_t offset)
{
    const rk_size_spec *s;
    add_arch(room, offset);
    for (int a = 0; rk_archs[a]; a++)
        for (int i = 0; (s = rk_size_at(rk_archs[a], i)); i++)
            if (s->option.name)
                add_size(room, s, offset);
}

const rk_arch *rk_shape_arch(const rk_shape_options *o)
{
    return o->arch < 0 ? NULL : arch_at(o->arch);
}

static const rk_size_spec *size_of_option(const rk_arch *arch, const char *name)
{
    const rk_size_spec *s;
    for (int i = 0; (s = rk_size_at(arch, i)); i++)
        if (s->option.name && !strcmp(s->option.name, name))
            return s;
    return NULL;
}

/* An option has the same size everywhere. */
static const rk_size_spec *size_of_any(const char *name)
{
    const rk_size_spec *s = NULL;
    for (int a = 0; rk_archs[a] && !s; a++)
        s = size_of_option(rk_archs[a], name);
    return s;
}

rk_status rk_shape_sizes(const rk_shape_options *o, rk_size *sizes, int64_t *n, rk_error *err)
{
    const rk_arch *arch = rk_shape_arch(o);
    *n = 0;
    for (int i = 0; i < o->sizes.n; i++) {
        const char *name = o->sizes.at[i].name;
        const rk_size_spec *s = arch ? size_of_option(arch, name) : size_of_any(name);
        if (!s)
            return rk_fail(err, RK_ERR_ARG, "--%s: an %s model has no such size", name,
                           arch ? arch->name : "RWKV");
        sizes[(*n)++] = (rk_size){s->name, o->sizes.at[i].value};
    }
    return RK_OK;
}
