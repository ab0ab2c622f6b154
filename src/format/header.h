/* header.h: what a file's header says of sizes and constants. What tensors show as well is compared,
 * what only the header says is used; a header that lies is refused. */
#ifndef RK_FORMAT_HEADER_H
#define RK_FORMAT_HEADER_H

#include "model/model.h"

/* Constants that the header holds under the names of its container become metadata under the names
 * of sizes, which rk_sizes_read looks at. f is finished and canonical. */
rk_status rk_header_take(rk_file *f, const rk_arch *arch, rk_error *err);
/* Errors  RK_ERR_FORMAT: a size of the header is not that which the tensors show; names both. */
rk_status rk_header_check(const rk_file *f, const rk_arch *arch, const rk_hparams *hp,
                          rk_error *err);
/* The same for one number, called `key` in `where`. A size that the architecture does not have, and
 * one that no tensor shows, agree with everything. */
rk_status rk_header_compare(const char *where, const char *key, double said, const rk_arch *arch,
                            const char *size, const rk_hparams *hp, rk_error *err);

#endif
