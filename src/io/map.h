/* map.h: a whole file, read-only in memory.
 *
 * Tensors are used where they lie in the mapping, so the machine must store numbers as the files
 * do: little-endian. */
#ifndef RK_IO_MAP_H
#define RK_IO_MAP_H

#include <time.h>

#include "base/error.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "mapped tensors are little-endian: this machine would need a copying reader"
#endif

typedef struct rk_map {
    const unsigned char *data;
    size_t size;
    char *name;            /* owned: the path, or a name for the memory; for error messages */
    int fd;                /* -1 for memory; kept open so that a change can be noticed */
    struct timespec mtime; /* of the file when it was mapped */
} rk_map;

/* Map a regular file that is not empty; its pages are read as they are used.
 * Errors  RK_ERR_IO: the system's reason; RK_ERR_FORMAT: a directory, a pipe, a device, an empty
 *         file; RK_ERR_NOMEM. On failure *m is as after rk_map_close. */
rk_status rk_map_open(rk_map *m, const char *path, rk_error *err);
/* The same over the caller's bytes, which must stay until rk_map_close; name is for error messages.
 * Errors  RK_ERR_FORMAT: no bytes; RK_ERR_NOMEM. */
rk_status rk_map_memory(rk_map *m, const void *data, size_t bytes, const char *name, rk_error *err);
/* Unmaps; a zeroed or closed map is fine. */
void rk_map_close(rk_map *m);

/* RK_ERR_IO when the mapped file has been cut, extended or written since it was mapped. Long work
 * should ask now and then, and before it reports a result. A new file renamed over the name is no
 * change: the mapping keeps the old one. */
rk_status rk_map_check(const rk_map *m, rk_error *err);

/* Tell the system that the whole pages within [from, from + bytes) are not needed any more; they
 * stay readable. */
void rk_map_drop(const rk_map *m, const void *from, size_t bytes);

/* The same of all pages that reading these bytes has brought in, those around them too: for who reads here
 * and there in a file that is larger than memory. */
void rk_map_drop_around(const rk_map *m, const void *from, size_t bytes);

/* Read bytes into memory of the caller's instead of touching pages of the mapping.
 * Errors  RK_ERR_IO: the system's reason, or the file ends before them. */
rk_status rk_map_read(const rk_map *m, size_t at, void *to, size_t bytes, rk_error *err);
/* The same of n rows of row_bytes that lie one behind the other, each into a place of its own. */
rk_status rk_map_read_rows(const rk_map *m, size_t at, void *const *to, int64_t n, size_t row_bytes,
                           rk_error *err);
/* Ask the system to have these bytes in its memory soon; they do not count as the process's. Returns at
 * once. */
void rk_map_will_need(const rk_map *m, const void *from, size_t bytes);

/* For a program's SIGBUS handler: touching a page that was cut off a mapped file raises SIGBUS,
 * with the page's address in si_addr. When that address lies in a mapped file this writes the
 * message "PREFIX: PATH was cut ..." to stderr and returns true; the handler then ends with
 * _exit(1). Otherwise false: the handler restores the default action and returns, and the fault
 * repeats. Async-signal-safe. It reads the kernel's own table of mappings (/proc/self/maps), so
 * there is nothing to register and nothing global. */
bool rk_map_report_fault(const void *addr, const char *prefix);

#endif
