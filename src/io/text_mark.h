/* text_mark.h: what stands in front of a text and is none of it. */
#ifndef RK_IO_TEXT_MARK_H
#define RK_IO_TEXT_MARK_H

#include "base/error.h"

/* *mark: bytes of the byte order mark in UTF-8 that data (n bytes) begins with, 3 or 0: the text
 * begins behind it.
 * Errors  RK_ERR_UNSUPPORTED: the mark of UTF-16 or UTF-32; names the text and a way out. */
rk_status rk_text_begin(const void *data, size_t n, const char *name, size_t *mark, rk_error *err);

#endif
