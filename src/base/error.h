/* error.h: failing with an error message. The types are public (rk.h). */
#ifndef RK_BASE_ERROR_H
#define RK_BASE_ERROR_H

#include "rk.h"

#if defined(__GNUC__)
#define RK_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define RK_PRINTF(fmt, args)
#endif

/* Fill err (NULL is fine) and return code, so that a failing branch is one statement. */
rk_status rk_fail(rk_error *err, rk_status code, const char *fmt, ...) RK_PRINTF(3, 4);
/* Compilers and analysers see that what comes back is the code: after a failure is returned they do
 * not go on as if it might have been RK_OK. */
static inline rk_status rk_fail_code(rk_status returned, rk_status code)
{
    (void)returned;
    return code;
}
#define rk_fail(err, code, ...) rk_fail_code(rk_fail(err, code, __VA_ARGS__), code)

/* Exit status of a program that ends with this status: 0 done, 1 the environment, 2 the input. */
int rk_exit_status(rk_status code);

#endif
