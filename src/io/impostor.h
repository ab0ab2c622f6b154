/* impostor.h: what often lies under a model's name and is something else. */
#ifndef RK_IO_IMPOSTOR_H
#define RK_IO_IMPOSTOR_H

#include "base/error.h"

/* RK_OK where the n bytes of a file begin like none of those known.
 * Errors  RK_ERR_FORMAT: a git-lfs pointer, a web page, an archive, ...; names it and a way out. */
rk_status rk_refuse_impostor(const void *data, size_t n, const char *name, rk_error *err);

#endif
