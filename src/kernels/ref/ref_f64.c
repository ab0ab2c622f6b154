/* ref_f64.c: the reference in double: gradients are checked in it. */
#define RK_REF_F64
#include "kernels/ref/table.h"

const rk_kernels rk_kernels_ref_f64 = RK_REF_TABLE;
