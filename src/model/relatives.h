/* relatives.h: models of the family that are known and not read here. */
#ifndef RK_MODEL_RELATIVES_H
#define RK_MODEL_RELATIVES_H

#include "io/tensor_file.h"

/* Refuse a file that a tensor or its metadata shows to be one of them: read as the version it
 * resembles it would run and be wrong. Errors  RK_ERR_UNSUPPORTED: file, what shows it, what it is.
 */
rk_status rk_refuse_relatives(const rk_file *f, rk_error *err);

#endif
