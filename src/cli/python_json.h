/* python_json.h: JSON as Python's json.dumps writes it, with ensure_ascii off. */
#ifndef RK_CLI_PYTHON_JSON_H
#define RK_CLI_PYTHON_JSON_H

#include <jansson.h>

#include "base/buf.h"

/* Append a value, in lines with an indent of 2, or in one line. */
void rk_python_json(rk_buf *out, json_t *v, bool lines);

#endif
