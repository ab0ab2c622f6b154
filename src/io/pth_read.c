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

static rk_status place(const pth *p, const rk_pickle_tensor *t, rk_file_tensor *to, rk_error *err)
{
    const size_t size = rk_dtype_bytes(t->dtype);
    const rk_zip_entry *e = find(p, "data/", t->key);
    size_t storage = 0;
    if (!e || !rk_mul_ok((size_t)t->numel, size, &storage) || storage != e->bytes)
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: tensor '%.*s': its storage has %zu bytes, expected %" PRId64
                       " elements of %s",
                       rk_file_name(p->file), NAME_SHOWN, to->name, e ? e->bytes : (size_t)0,
                       t->numel, rk_dtype_name(t->dtype));
    const size_t n = to->bytes / size;
    if ((uint64_t)t->offset > (uint64_t)t->numel || n > (size_t)(t->numel - t->offset))
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: tensor '%.*s': %zu elements from %" PRId64 " of a storage of %" PRId64,
                       rk_file_name(p->file), NAME_SHOWN, to->name, n, t->offset, t->numel);
    to->data = e->data + (size_t)t->offset * size;
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
    if (!rk_file_shape_bytes(t->dtype, t->n_dims, t->dims, &to.bytes))
        return rk_fail(err, RK_ERR_FORMAT, "%s: tensor '%.*s': its shape overflows",
                       rk_file_name(p->file), NAME_SHOWN, name);
    to.exchanged = to.bytes > 0 && t->n_dims >= 2 && !is_dense(t, false);
    if (to.bytes > 0 && !is_dense(t, to.exchanged))
        return rk_fail(err, RK_ERR_UNSUPPORTED,
                       "%s: tensor '%.*s' is a view with strides, expected a dense tensor or its "
                       "transpose",
                       rk_file_name(p->file), NAME_SHOWN, name);
    rk_status st = place(p, t, &to, err);
    if (st == RK_OK)
        st = count_bytes(p, &to, err);
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
