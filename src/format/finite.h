/* finite.h: is every number of a file one? */
#ifndef RK_FORMAT_FINITE_H
#define RK_FORMAT_FINITE_H

#include "io/tensor_file.h"

/* The name of the first tensor that holds NaN or an infinity; NULL: none does. Reads the whole
 * file. */
const char *rk_file_find_nonfinite(const rk_file *f);

#endif
