/* pth_read.c: what torch.save writes (since PyTorch 1.6): a zip archive of a pickle, which says
 * what tensors there are, and of their storages, which are used where they lie. */
#include <inttypes.h>
#include <string.h>

#include "base/num.h"
#include "io/pickle.h"
#include "io/tensor_file.h"
#include "io/zip.h"

enum { NAME_MAX_BYTES = 255, NAME_SHOWN = 80 };

typedef struct pth {
    rk_file *file;
    const rk_map *map;
    size_t bytes; /* of all tensors so far */
    rk_zip zip;
    rk_pickle_text top; /* the folder that everything lies in, with its slash */
} pth;

static const char *const pickle_name = "data.pkl";

static const rk_zip_entry *find(const pth *p, const char *folder, rk_pickle_text name)
{
    char path[2 * NAME_MAX_BYTES];
    const size_t f = strlen(folder);
    if (p->top.n + f + name.n > sizeof path)
        return NULL;
    memcpy(path, p->top.s, p->top.n);
    /* NOLINTNEXTLINE(bugprone-not-null-terminated-result): lengths are kept apart */
    memcpy(path + p->top.n, folder, f);
    memcpy(path + p->top.n + f, name.s, name.n);
    return rk_zip_find(&p->zip, path, p->top.n + f + name.n);
}

/* The only entry "TOP/data.pkl". */
static const rk_zip_entry *find_pickle(pth *p)
{
    const size_t n = strlen(pickle_name);
    const rk_zip_entry *found = NULL;
    for (size_t i = 0; i < p->zip.n; i++) {
        const rk_zip_entry *e = &p->zip.entries[i];
        if (e->name_bytes < n + 1 || memcmp(e->name + e->name_bytes - n, pickle_name, n) != 0 ||
            memchr(e->name, '/', e->name_bytes) != e->name + e->name_bytes - n - 1)
            continue;
        if (found)
            return NULL;
        found = e;
        p->top = (rk_pickle_text){e->name, e->name_bytes - n};
    }
    return found;
}

/* Are the strides those of a dense tensor, or of one whose last two dimensions are exchanged? */
static bool is_dense(const rk_pickle_tensor *t, bool exchanged)
{
    int64_t stride = 1;
    for (int i = t->n_dims - 1; i >= 0; i--) {
        const bool swap = exchanged && i >= t->n_dims - 2;
        const int d = swap ? 2 * t->n_dims - 3 - i : i;
        if (t->dims[d] != 1 && t->strides[d] != stride)
            return false;
        stride *= t->dims[d]; /* the whole product fits: the bytes have been counted */
    }
    return true;
}

/* The entry of its storage, whose elements are all there. */
static rk_status find_storage(const pth *p, const rk_pickle_tensor *t, const rk_file_tensor *to,
                              const rk_zip_entry **e, rk_error *err)
{
    size_t storage = 0;
    *e = find(p, "data/", t->key);
    if (*e && rk_mul_ok((size_t)t->numel, rk_dtype_bytes(t->dtype), &storage) &&
        storage == (*e)->bytes)
        return RK_OK;
    return rk_fail(err, RK_ERR_FORMAT,
                   "%s: tensor '%.*s': its storage has %zu bytes, expected %" PRId64
                   " elements of %s",
                   rk_file_name(p->file), NAME_SHOWN, to->name, *e ? (*e)->bytes : (size_t)0,
                   t->numel, rk_dtype_name(t->dtype));
}

/* Elements from the first of the tensor to the last of it, both included; false: too many to count. */
static bool find_extent(const rk_pickle_tensor *t, size_t *n)
{
    *n = 1;
    for (int d = 0; d < t->n_dims; d++) {
        size_t steps = 0;
        if (!rk_mul_ok((size_t)t->dims[d] - 1, (size_t)t->strides[d], &steps) ||
            !rk_add_ok(*n, steps, n))
            return false;
    }
    return true;
}

/* Elements that do not lie side by side are copied; `to` has room for them. */
static void gather(const rk_pickle_tensor *t, const unsigned char *from, size_t size,
                   unsigned char *to)
{
    int64_t index[RK_PICKLE_DIMS_MAX] = {0};
    uint64_t at =
        0; /* a dimension of 1 may have any stride, whose sum wraps around and comes back */
    int d = 0;
    while (d >= 0) {
        memcpy(to, from + (size_t)at * size, size);
        to += size;
        for (d = t->n_dims - 1; d >= 0; d--) {
            at += (uint64_t)t->strides[d];
            if (++index[d] < t->dims[d])
                break;
            at -= (uint64_t)t->strides[d] * (uint64_t)t->dims[d];
            index[d] = 0;
        }
    }
}

static rk_status place(const pth *p, const rk_pickle_tensor *t, rk_file_tensor *to, rk_error *err)
{
    const size_t size = rk_dtype_bytes(t->dtype);
    const bool dense = to->bytes == 0 || is_dense(t, to->exchanged);
    const rk_zip_entry *e = NULL;
    size_t n = to->bytes / size;
    const rk_status st = find_storage(p, t, to, &e, err);
    if (st != RK_OK)
        return st;
    const bool counted = dense || find_extent(t, &n);
    if (!counted || t->offset > t->numel || n > (size_t)(t->numel - t->offset))
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: tensor '%.*s': %zu elements from %" PRId64 " of a storage of %" PRId64,
                       rk_file_name(p->file), NAME_SHOWN, to->name, n, t->offset, t->numel);
    const unsigned char *from = e->data + (size_t)t->offset * size;
    to->data = from;
    if (dense)
        return RK_OK;
    unsigned char *copy = rk_file_alloc(p->file, to->bytes, err);
    if (!copy)
        return RK_ERR_NOMEM;
    gather(t, from, size, copy);
    to->data = copy;
    return RK_OK;
}

/* Tensors may share a storage, but what is copied of them must stay within bounds. */
static rk_status count_bytes(pth *p, const rk_file_tensor *t, rk_error *err)
{
    if (rk_add_ok(p->bytes, t->bytes, &p->bytes) && p->bytes <= 2 * p->map->size)
        return RK_OK;
    return rk_fail(err, RK_ERR_FORMAT,
                   "%s: tensor '%.*s': with it more than twice the bytes of the file, which "
                   "its tensors share",
                   rk_file_name(p->file), NAME_SHOWN, t->name);
}

static rk_status add_tensor(void *user, const rk_pickle_tensor *t, rk_error *err)
{
    pth *p = user;
    char name[NAME_MAX_BYTES + 1];
    if (t->name.n > NAME_MAX_BYTES || memchr(t->name.s, 0, t->name.n))
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: a tensor's name has %zu bytes or a NUL, expected at "
                       "most %d",
                       rk_file_name(p->file), t->name.n, NAME_MAX_BYTES);
    memcpy(name, t->name.s, t->name.n);
    name[t->name.n] = '\0';
    rk_file_tensor to = {.name = name, .dtype = t->dtype, .n_dims = t->n_dims};
    memcpy(to.dims, t->dims, sizeof t->dims);
    if (t->dtype == RK_DTYPE_COUNT)
        return rk_fail(err, RK_ERR_UNSUPPORTED,
                       "%s: tensor '%.*s' is of a type that is not read, expected a float, I32, "
                       "I64 or U8",
                       rk_file_name(p->file), NAME_SHOWN, name);
    if (!rk_file_shape_bytes(t->dtype, t->n_dims, t->dims, &to.bytes))
        return rk_fail(err, RK_ERR_FORMAT, "%s: tensor '%.*s': its shape overflows",
                       rk_file_name(p->file), NAME_SHOWN, name);
    rk_status st = count_bytes(p, &to, err);
    if (st == RK_OK) {
        to.exchanged = to.bytes > 0 && t->n_dims >= 2 && !is_dense(t, false) && is_dense(t, true);
        st = place(p, t, &to, err);
    }
    return st == RK_OK ? rk_file_add(p->file, &to, err) : st;
}

static rk_status read_archive(pth *p, rk_error *err)
{
    const rk_zip_entry *pickle = find_pickle(p);
    if (!pickle)
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: a zip archive without one TOP/%s, which torch.save writes",
                       rk_file_name(p->file), pickle_name);
    const rk_zip_entry *order = find(p, "byteorder", (rk_pickle_text){"", 0});
    if (order && (order->bytes != 6 || memcmp(order->data, "little", 6) != 0))
        return rk_fail(err, RK_ERR_UNSUPPORTED, "%s: its byteorder is not 'little'",
                       rk_file_name(p->file));
    return rk_pickle_read(pickle->data, pickle->bytes, rk_file_name(p->file), add_tensor, p, err);
}

static rk_status read_container(rk_file *f, const rk_map *map, rk_error *err)
{
    pth p = {.file = f, .map = map};
    rk_status st = rk_zip_open(&p.zip, map, err);
    if (st == RK_OK)
        st = read_archive(&p, err);
    rk_zip_close(&p.zip);
    return st;
}

static bool probe(const unsigned char *bytes, size_t n)
{
    return n >= 4 && !memcmp(bytes, "PK\003\004", 4);
}

const rk_file_format rk_format_pth = {"pth", probe, read_container};

/* ---- before PyTorch 1.6 ---- */

static bool probe_old(const unsigned char *bytes, size_t n)
{
    return n >= 3 && bytes[0] == 0x80 && bytes[1] == 2 && bytes[2] == 0x8a;
}

static rk_status refuse_old(rk_file *f, const rk_map *map, rk_error *err)
{
    (void)map;
    return rk_fail(
        err, RK_ERR_UNSUPPORTED,
        "%s: written by torch.save before PyTorch 1.6; load and save it with a newer one",
        rk_file_name(f));
}

const rk_file_format rk_format_old_pth = {"pth", probe_old, refuse_old};
