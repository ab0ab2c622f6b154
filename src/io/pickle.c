/* pickle.c: a stack machine whose values are small and flat, so nothing recurses and no value can
 * contain itself: a tuple is a run of cells that were on the stack, a dictionary is a number, and
 * its items lie in one list for all of them. Every opcode takes at least one byte and leaves at
 * most one value, which bounds the memory by the length of the pickle. */
#include "io/pickle.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "io/reader.h"

typedef enum kind {
    V_NONE,
    V_BOOL,
    V_INT,
    V_OTHER, /* none of a tensor's parts: its value is not kept */
    V_LIST,  /* the same */
    V_TEXT,
    V_GLOBAL,  /* at: row of globals */
    V_TUPLE,   /* at: first cell, n: their number */
    V_DICT,    /* at: its number */
    V_STORAGE, /* at: in storages */
    V_TENSOR,  /* at: in tensors */
    V_MARK,
} kind;

typedef struct value {
    uint32_t kind, n;
    union {
        int64_t at;
        const char *s;
    };
} value;

typedef enum global_kind {
    G_DICT,
    G_TENSOR,
    G_PARAMETER,
    G_STORAGE,
    G_OTHER, /* what stands beside weights: called or not, it is passed over */
} global_kind;

static const struct {
    const char *module, *name;
    global_kind kind;
    rk_dtype dtype;
} globals[] = {
    {"collections", "OrderedDict", G_DICT, RK_F32},
    {"torch._utils", "_rebuild_tensor_v2", G_TENSOR, RK_F32},
    {"torch._utils", "_rebuild_parameter", G_PARAMETER, RK_F32},
    {"torch", "BFloat16Storage", G_STORAGE, RK_BF16},
    {"torch", "HalfStorage", G_STORAGE, RK_F16},
    {"torch", "FloatStorage", G_STORAGE, RK_F32},
    {"torch", "DoubleStorage", G_STORAGE, RK_F64},
    {"torch", "IntStorage", G_STORAGE, RK_I32},
    {"torch", "LongStorage", G_STORAGE, RK_I64},
    {"torch", "ByteStorage", G_STORAGE, RK_U8},
    /* Those that torch.load takes with weights_only beside the ones above. No rk_dtype has their
     * elements. */
    {"torch", "BoolStorage", G_STORAGE, RK_DTYPE_COUNT},
    {"torch", "CharStorage", G_STORAGE, RK_DTYPE_COUNT},
    {"torch", "ShortStorage", G_STORAGE, RK_DTYPE_COUNT},
    {"torch", "ComplexFloatStorage", G_STORAGE, RK_DTYPE_COUNT},
    {"torch", "ComplexDoubleStorage", G_STORAGE, RK_DTYPE_COUNT},
    {"torch.storage", "UntypedStorage", G_STORAGE, RK_DTYPE_COUNT},
    {"torch._utils", "_rebuild_tensor_v3", G_OTHER, RK_F32},
    {"torch._utils", "_rebuild_sparse_tensor", G_OTHER, RK_F32},
    {"torch.serialization", "_get_layout", G_OTHER, RK_F32},
    {"torch", "Size", G_OTHER, RK_F32},
    {"torch", "device", G_OTHER, RK_F32},
    {"torch", "float64", G_OTHER, RK_F32},
    {"torch", "float32", G_OTHER, RK_F32},
    {"torch", "float16", G_OTHER, RK_F32},
    {"torch", "bfloat16", G_OTHER, RK_F32},
    {"torch", "int64", G_OTHER, RK_F32},
    {"torch", "int32", G_OTHER, RK_F32},
    {"torch", "int16", G_OTHER, RK_F32},
    {"torch", "int8", G_OTHER, RK_F32},
    {"torch", "uint8", G_OTHER, RK_F32},
    {"torch", "bool", G_OTHER, RK_F32},
    {"torch", "uint16", G_OTHER, RK_F32},
    {"torch", "float8_e4m3fn", G_OTHER, RK_F32},
    {"torch", "float8_e5m2", G_OTHER, RK_F32},
    {"collections", "Counter", G_OTHER, RK_F32},
    {"__builtin__", "set", G_OTHER, RK_F32},
    {"builtins", "set", G_OTHER, RK_F32},
    {"__builtin__", "complex", G_OTHER, RK_F32},
    {"builtins", "complex", G_OTHER, RK_F32},
    {"__builtin__", "bytearray", G_OTHER, RK_F32},
    {"builtins", "bytearray", G_OTHER, RK_F32},
    {"_codecs", "encode", G_OTHER, RK_F32},
};

typedef struct storage {
    rk_pickle_text key;
    rk_dtype dtype;
    int64_t numel;
} storage;

typedef struct item {
    int64_t dict;
    value key, value;
} item;

/* An array that grows. */
typedef struct list {
    void *data;
    size_t n, room, size;
} list;

typedef struct machine {
    const char *name;
    const unsigned char *begin;
    rk_reader r;
    list stack, memo, cells, items, storages, tensors;
    int64_t n_dicts;
    rk_error *err;
} machine;

/* ---- error messages ---- */

static rk_status fail(machine *m, const char *what)
{
    return rk_fail(m->err, RK_ERR_FORMAT, "%s: pickle, before byte %zu: %s", m->name,
                   (size_t)(m->r.p - m->begin), what);
}

static rk_status fail_cut(machine *m)
{
    return fail(m, "it ends within an operation");
}

/* ---- lists ---- */

static void *list_push(machine *m, list *l)
{
    if (l->n == l->room) {
        const size_t room = l->room ? 2 * l->room : 64;
        void *p = realloc(l->data, room * l->size);
        if (!p) {
            rk_fail(m->err, RK_ERR_NOMEM, "%s: out of memory for its pickle", m->name);
            return NULL;
        }
        l->data = p;
        l->room = room;
    }
    return (char *)l->data + l->size * l->n++;
}

static value *cell(const list *l, size_t i)
{
    return (value *)l->data + i;
}

static rk_status push(machine *m, value v)
{
    value *top = list_push(m, &m->stack);
    if (!top)
        return RK_ERR_NOMEM;
    *top = v;
    return RK_OK;
}

static rk_status push_int(machine *m, int64_t x)
{
    return push(m, (value){.kind = V_INT, .at = x});
}

/* Marks are not values: nothing but the operations that look for one takes it away. */
static rk_status pop(machine *m, value *v)
{
    if (m->stack.n == 0 || cell(&m->stack, m->stack.n - 1)->kind == V_MARK)
        return fail(m, "an operation without its operand");
    *v = *cell(&m->stack, --m->stack.n);
    return RK_OK;
}

/* The place of the newest mark. */
static rk_status find_mark(machine *m, size_t *place)
{
    for (size_t i = m->stack.n; i-- > 0;)
        if (cell(&m->stack, i)->kind == V_MARK) {
            *place = i;
            return RK_OK;
        }
    return fail(m, "a missing mark");
}

/* ---- values ---- */

/* The last n values of the stack become a tuple in place of `from`. */
static rk_status make_tuple(machine *m, size_t from, size_t n)
{
    const value v = {.kind = V_TUPLE, .n = (uint32_t)n, .at = (int64_t)m->cells.n};
    for (size_t i = m->stack.n - n; i < m->stack.n; i++) {
        if (cell(&m->stack, i)->kind == V_MARK)
            return fail(m, "a mark within a tuple");
        value *c = list_push(m, &m->cells);
        if (!c)
            return RK_ERR_NOMEM;
        *c = *cell(&m->stack, i);
    }
    m->stack.n = from;
    return push(m, v);
}

static rk_status short_tuple(machine *m, size_t n)
{
    return m->stack.n < n ? fail(m, "an operation without its operand")
                          : make_tuple(m, m->stack.n - n, n);
}

static rk_status mark_tuple(machine *m)
{
    size_t mark = 0;
    const rk_status st = find_mark(m, &mark);
    return st == RK_OK ? make_tuple(m, mark, m->stack.n - mark - 1) : st;
}

static rk_status new_dict(machine *m)
{
    return push(m, (value){.kind = V_DICT, .at = m->n_dicts++});
}

static bool same_text(rk_pickle_text a, const char *b)
{
    return a.n == strlen(b) && !memcmp(a.s, b, a.n);
}

/* A line of the pickle, without its end. */
static bool read_line(rk_reader *r, rk_pickle_text *line)
{
    const unsigned char *end = memchr(r->p, '\n', r->left);
    if (!end)
        return false;
    *line = (rk_pickle_text){(const char *)r->p, (size_t)(end - r->p)};
    return rk_read_bytes(r, line->n + 1, NULL);
}

static int shown(rk_pickle_text t)
{
    return t.n < 60 ? (int)t.n : 60;
}

static rk_status push_global(machine *m, rk_pickle_text module, rk_pickle_text name)
{
    for (size_t i = 0; i < RK_COUNT(globals); i++)
        if (same_text(module, globals[i].module) && same_text(name, globals[i].name))
            return push(m, (value){.kind = V_GLOBAL, .at = (int64_t)i});
    return rk_fail(m->err, RK_ERR_UNSUPPORTED,
                   "%s: pickle: it names '%.*s.%.*s', which no dictionary of tensors needs",
                   m->name, shown(module), module.s, shown(name), name.s);
}

static rk_status read_global(machine *m)
{
    rk_pickle_text module, name;
    if (!read_line(&m->r, &module) || !read_line(&m->r, &name))
        return fail_cut(m);
    return push_global(m, module, name);
}

/* Module and name are on the stack. */
static rk_status stack_global(machine *m)
{
    value module, name;
    rk_status st = pop(m, &name);
    if (st == RK_OK)
        st = pop(m, &module);
    if (st != RK_OK)
        return st;
    if (module.kind != V_TEXT || name.kind != V_TEXT)
        return fail(m, "a name that is no text");
    return push_global(m, (rk_pickle_text){module.s, module.n}, (rk_pickle_text){name.s, name.n});
}

/* A text behind its length, a number of so many bytes. */
static rk_status read_text(machine *m, size_t length_bytes)
{
    uint64_t n = 0;
    const unsigned char *s = NULL;
    if (!rk_read_uint_le(&m->r, length_bytes, &n) || !rk_read_bytes(&m->r, n, &s))
        return fail_cut(m);
    return push(m, (value){.kind = V_TEXT, .n = (uint32_t)n, .s = (const char *)s});
}

static rk_status read_int(machine *m, size_t bytes)
{
    uint64_t x = 0;
    if (!rk_read_uint_le(&m->r, bytes, &x))
        return fail_cut(m);
    return push_int(m, bytes == 4 ? (int64_t)(int32_t)(uint32_t)x : (int64_t)x);
}

/* A number of n bytes in two's complement. */
static rk_status read_long(machine *m)
{
    uint8_t n = 0;
    uint64_t x = 0;
    if (!rk_read_u8(&m->r, &n))
        return fail_cut(m);
    if (n > sizeof x) /* it counts nothing here */
        return rk_read_bytes(&m->r, n, NULL) ? push(m, (value){.kind = V_OTHER}) : fail_cut(m);
    if (!rk_read_uint_le(&m->r, n, &x))
        return fail_cut(m);
    if (n > 0 && n < sizeof x) {
        const uint64_t sign = UINT64_C(1) << (8 * n - 1);
        x = (x ^ sign) - sign;
    }
    return push_int(m, (int64_t)x);
}

/* ---- the memo ---- */

static rk_status put_at(machine *m, uint64_t at)
{
    if (m->stack.n == 0 || at > m->memo.n)
        return fail(m, "the memo is filled out of order");
    const value v = *cell(&m->stack, m->stack.n - 1);
    value *c = at < m->memo.n ? cell(&m->memo, at) : list_push(m, &m->memo);
    if (!c)
        return RK_ERR_NOMEM;
    *c = v;
    return RK_OK;
}

static rk_status put(machine *m, size_t bytes)
{
    uint64_t at = 0;
    return rk_read_uint_le(&m->r, bytes, &at) ? put_at(m, at) : fail_cut(m);
}

static rk_status get(machine *m, size_t bytes)
{
    uint64_t at = 0;
    if (!rk_read_uint_le(&m->r, bytes, &at))
        return fail_cut(m);
    if (at >= m->memo.n || cell(&m->memo, at)->kind == V_MARK)
        return fail(m, "it asks for what the memo does not hold");
    return push(m, *cell(&m->memo, at));
}

/* ---- storages and tensors ---- */

/* Does the tuple hold values of these kinds, a letter each: t text, i int, g global, ( tuple, s
 * storage, x anything? */
static bool tuple_is(const machine *m, value v, const char *kinds, const value **cells)
{
    static const struct {
        char letter;
        kind kind;
    } letters[] = {{'t', V_TEXT}, {'i', V_INT}, {'g', V_GLOBAL}, {'(', V_TUPLE}, {'s', V_STORAGE}};
    if (v.kind != V_TUPLE || v.n < strlen(kinds))
        return false;
    *cells = cell(&m->cells, (size_t)v.at);
    for (size_t i = 0; kinds[i]; i++)
        for (size_t l = 0; l < RK_COUNT(letters); l++)
            if (letters[l].letter == kinds[i] && (*cells)[i].kind != (uint32_t)letters[l].kind)
                return false;
    return true;
}

static rk_pickle_text text_of(value v)
{
    return (rk_pickle_text){v.s, v.n};
}

/* ("storage", class, key, device, elements) */
static rk_status make_storage(machine *m)
{
    value v;
    const value *c = NULL;
    const rk_status st = pop(m, &v);
    if (st != RK_OK)
        return st;
    if (!tuple_is(m, v, "tgtti", &c) || !same_text(text_of(c[0]), "storage") ||
        globals[c[1].at].kind != G_STORAGE || c[4].at < 0)
        return fail(m, "a persistent id that is no storage");
    const storage s = {text_of(c[2]), globals[c[1].at].dtype, c[4].at};
    storage *to = list_push(m, &m->storages);
    if (!to)
        return RK_ERR_NOMEM;
    *to = s;
    return push(m, (value){.kind = V_STORAGE, .at = (int64_t)m->storages.n - 1});
}

static bool copy_sizes(const machine *m, value v, int64_t *to)
{
    for (uint32_t i = 0; i < v.n; i++) {
        const value *c = cell(&m->cells, (size_t)v.at + i);
        if (c->kind != V_INT || c->at < 0)
            return false;
        to[i] = c->at;
    }
    return true;
}

/* (storage, offset, sizes, strides, requires_grad, hooks) */
static rk_status make_tensor(machine *m, value args)
{
    const value *c = NULL;
    rk_pickle_tensor t = {0};
    if (!tuple_is(m, args, "si((", &c) || c[2].n != c[3].n || c[1].at < 0)
        return fail(m, "a tensor is not made of storage, offset, sizes and strides");
    if (c[2].n > RK_PICKLE_DIMS_MAX)
        return fail(m, "a tensor of more than 8 dimensions");
    const storage *s = (const storage *)m->storages.data + c[0].at;
    t.key = s->key;
    t.dtype = s->dtype;
    t.numel = s->numel;
    t.offset = c[1].at;
    t.n_dims = (int)c[2].n;
    if (!copy_sizes(m, c[2], t.dims) || !copy_sizes(m, c[3], t.strides))
        return fail(m, "a size or stride that is no number from 0 on");
    rk_pickle_tensor *to = list_push(m, &m->tensors);
    if (!to)
        return RK_ERR_NOMEM;
    *to = t;
    return push(m, (value){.kind = V_TENSOR, .at = (int64_t)m->tensors.n - 1});
}

static rk_status call(machine *m)
{
    value args, fn;
    rk_status st = pop(m, &args);
    if (st == RK_OK)
        st = pop(m, &fn);
    if (st != RK_OK)
        return st;
    if (fn.kind != V_GLOBAL || args.kind != V_TUPLE)
        return fail(m, "a call of something else than a known function");
    switch (globals[fn.at].kind) {
    case G_DICT:
        return args.n == 0 ? new_dict(m) : fail(m, "OrderedDict with arguments");
    case G_TENSOR:
        return make_tensor(m, args);
    case G_PARAMETER:
        if (args.n < 1 || cell(&m->cells, (size_t)args.at)->kind != V_TENSOR)
            return fail(m, "a parameter without its tensor");
        return push(m, *cell(&m->cells, (size_t)args.at));
    case G_OTHER:
        return push(m, (value){.kind = V_OTHER});
    default:
        return fail(m, "a call of a storage class");
    }
}

/* ---- dictionaries ---- */

static rk_status set_items(machine *m, size_t dict, size_t first)
{
    if (dict >= m->stack.n || cell(&m->stack, dict)->kind != V_DICT)
        return fail(m, "items for something else than a dictionary");
    if ((m->stack.n - first) % 2 != 0)
        return fail(m, "a key without its value");
    for (size_t i = first; i < m->stack.n; i += 2) {
        const item new = {cell(&m->stack, dict)->at, *cell(&m->stack, i), *cell(&m->stack, i + 1)};
        item *to = list_push(m, &m->items);
        if (!to)
            return RK_ERR_NOMEM;
        *to = new;
    }
    m->stack.n = dict + 1;
    return RK_OK;
}

static rk_status set_item(machine *m)
{
    return m->stack.n < 3 ? fail(m, "an operation without its operand")
                          : set_items(m, m->stack.n - 3, m->stack.n - 2);
}

static rk_status set_marked_items(machine *m)
{
    size_t mark = 0;
    const rk_status st = find_mark(m, &mark);
    if (st != RK_OK)
        return st;
    return mark == 0 ? fail(m, "an operation without its operand")
                     : set_items(m, mark - 1, mark + 1);
}

/* ---- what trainers save beside the weights ---- */

static rk_status drop_float(machine *m)
{
    return rk_read_bytes(&m->r, 8, NULL) ? push(m, (value){.kind = V_OTHER}) : fail_cut(m);
}

/* The values above the list at `place` are appended to it. */
static rk_status drop_items(machine *m, size_t place, size_t first)
{
    if (place >= m->stack.n || cell(&m->stack, place)->kind != V_LIST)
        return fail(m, "items for something else than a list");
    for (size_t i = first; i < m->stack.n; i++)
        if (cell(&m->stack, i)->kind == V_MARK)
            return fail(m, "a mark within a list");
    m->stack.n = place + 1;
    return RK_OK;
}

static rk_status drop_item(machine *m)
{
    return m->stack.n < 2 ? fail(m, "an operation without its operand")
                          : drop_items(m, m->stack.n - 2, m->stack.n - 1);
}

static rk_status drop_marked_items(machine *m)
{
    size_t mark = 0;
    const rk_status st = find_mark(m, &mark);
    if (st != RK_OK)
        return st;
    return mark == 0 ? fail(m, "an operation without its operand")
                     : drop_items(m, mark - 1, mark + 1);
}

/* An attribute dictionary, such as _metadata: it changes no tensor. */
static rk_status build(machine *m)
{
    value state;
    const rk_status st = pop(m, &state);
    if (st != RK_OK)
        return st;
    if (state.kind != V_DICT || m->stack.n == 0 || cell(&m->stack, m->stack.n - 1)->kind != V_DICT)
        return fail(m, "attributes for something else than a dictionary");
    return RK_OK;
}

/* ---- running ---- */

static rk_status step(machine *m, uint8_t op)
{
    switch (op) {
    case '(':
        return push(m, (value){.kind = V_MARK});
    case ')':
        return push(m, (value){.kind = V_TUPLE, .at = (int64_t)m->cells.n});
    case '}':
        return new_dict(m);
    case 'N':
        return push(m, (value){.kind = V_NONE});
    case 0x88:
    case 0x89:
        return push(m, (value){.kind = V_BOOL, .at = op == 0x88});
    case 'K':
        return read_int(m, 1);
    case 'M':
        return read_int(m, 2);
    case 'J':
        return read_int(m, 4);
    case 0x8a:
        return read_long(m);
    case 'X':
        return read_text(m, 4);
    case 0x8c:
        return read_text(m, 1);
    case 'c':
        return read_global(m);
    case 0x93:
        return stack_global(m);
    case 0x94:
        return put_at(m, m->memo.n);
    case 0x95: /* a frame: bytes that may be read at once */
        return rk_read_bytes(&m->r, 8, NULL) ? RK_OK : fail_cut(m);
    case 'q':
        return put(m, 1);
    case 'r':
        return put(m, 4);
    case 'h':
        return get(m, 1);
    case 'j':
        return get(m, 4);
    case 't':
        return mark_tuple(m);
    case 0x85:
    case 0x86:
    case 0x87:
        return short_tuple(m, (size_t)op - 0x84);
    case 'Q':
        return make_storage(m);
    case 'R':
        return call(m);
    case 'b':
        return build(m);
    case 'G':
        return drop_float(m);
    case ']':
        return push(m, (value){.kind = V_LIST});
    case 'a':
        return drop_item(m);
    case 'e':
        return drop_marked_items(m);
    case 's':
        return set_item(m);
    case 'u':
        return set_marked_items(m);
    default:
        return rk_fail(m->err, RK_ERR_UNSUPPORTED,
                       "%s: pickle, byte %zu: opcode 0x%02x, which no dictionary of tensors needs",
                       m->name, (size_t)(m->r.p - m->begin) - 1, op);
    }
}

static rk_status run(machine *m)
{
    uint8_t op = 0, version = 0;
    rk_status st = RK_OK;
    if (!rk_read_u8(&m->r, &op) || op != 0x80 || !rk_read_u8(&m->r, &version))
        return fail(m, "it does not begin with a protocol");
    if (version < 2 || version > 5)
        return rk_fail(m->err, RK_ERR_UNSUPPORTED, "%s: pickle: protocol %d, expected 2 to 5",
                       m->name, version);
    while (st == RK_OK) {
        if (!rk_read_u8(&m->r, &op))
            return fail(m, "it ends without a stop");
        if (op == '.')
            return m->stack.n == 1 ? RK_OK : fail(m, "a stop with other than one value");
        st = step(m, op);
    }
    return st;
}

/* The dictionary under one of the names that trainers give a model beside its optimiser; -1: none.
 * holds (n_dicts): does the dictionary hold a tensor? */
static int64_t find_named(const machine *m, int64_t top, const bool *holds)
{
    static const char *const names[] = {"model", "state_dict", "model_state_dict", "module",
                                        "weights"};
    const item *items = m->items.data;
    for (size_t n = 0; n < RK_COUNT(names); n++)
        for (size_t i = 0; i < m->items.n; i++)
            if (items[i].dict == top && items[i].key.kind == V_TEXT &&
                items[i].value.kind == V_DICT && holds[items[i].value.at] &&
                same_text(text_of(items[i].key), names[n]))
                return items[i].value.at;
    return -1;
}

/* The only dictionary of tensors among the values; -1: there is none, or there are several. */
static int64_t find_only(const machine *m, int64_t top, const bool *holds)
{
    const item *items = m->items.data;
    int64_t found = -1;
    for (size_t i = 0; i < m->items.n; i++) {
        if (items[i].dict != top || items[i].value.kind != V_DICT || !holds[items[i].value.at])
            continue;
        if (found >= 0)
            return -1;
        found = items[i].value.at;
    }
    return found;
}

/* The dictionary of the weights: one of those in the dictionary that is left, or this one. */
static rk_status find_weights(const machine *m, int64_t top, int64_t *weights)
{
    const item *items = m->items.data;
    bool *holds = calloc((size_t)m->n_dicts, sizeof *holds);
    if (!holds)
        return rk_fail(m->err, RK_ERR_NOMEM, "%s: out of memory for its pickle", m->name);
    for (size_t i = 0; i < m->items.n; i++)
        if (items[i].value.kind == V_TENSOR)
            holds[items[i].dict] = true;
    *weights = find_named(m, top, holds);
    if (*weights < 0 && !holds[top])
        *weights = find_only(m, top, holds);
    if (*weights < 0)
        *weights = top;
    free(holds);
    return RK_OK;
}

/* The tensors of the dictionary that is left. */
static rk_status report(machine *m, rk_pickle_fn *fn, void *user)
{
    const value top = *cell(&m->stack, 0);
    const item *items = m->items.data;
    rk_status st = RK_OK;
    if (top.kind != V_DICT)
        return fail(m, "it holds something else than a dictionary");
    int64_t weights = 0;
    st = find_weights(m, top.at, &weights);
    for (size_t i = 0; i < m->items.n && st == RK_OK; i++) {
        if (items[i].dict != weights)
            continue;
        if (items[i].key.kind != V_TEXT || items[i].value.kind != V_TENSOR)
            return rk_fail(m->err, RK_ERR_FORMAT, "%s: pickle: '%.*s' is no tensor under a name",
                           m->name, items[i].key.kind == V_TEXT ? shown(text_of(items[i].key)) : 0,
                           items[i].key.kind == V_TEXT ? items[i].key.s : "");
        rk_pickle_tensor t = ((const rk_pickle_tensor *)m->tensors.data)[items[i].value.at];
        t.name = text_of(items[i].key);
        st = fn(user, &t, m->err);
    }
    return st;
}

rk_status rk_pickle_read(const unsigned char *bytes, size_t n, const char *name, rk_pickle_fn *fn,
                         void *user, rk_error *err)
{
    machine m = {.name = name,
                 .begin = bytes,
                 .r = {bytes, n},
                 .stack.size = sizeof(value),
                 .memo.size = sizeof(value),
                 .cells.size = sizeof(value),
                 .items.size = sizeof(item),
                 .storages.size = sizeof(storage),
                 .tensors.size = sizeof(rk_pickle_tensor),
                 .err = err};
    rk_status st =
        n > RK_PICKLE_BYTES_MAX
            ? rk_fail(err, RK_ERR_UNSUPPORTED, "%s: a pickle of %zu bytes, expected at most %d",
                      name, n, RK_PICKLE_BYTES_MAX)
            : run(&m);
    if (st == RK_OK)
        st = report(&m, fn, user);
    list *const lists[] = {&m.stack, &m.memo, &m.cells, &m.items, &m.storages, &m.tensors};
    for (size_t i = 0; i < RK_COUNT(lists); i++)
        free(lists[i]->data);
    return st;
}
