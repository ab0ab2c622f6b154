/* ref_f32.c: the reference in float: what the SIMD paths are measured against, and the path of a
 * CPU that has none of their instructions. */
#include "kernels/ref/table.h"

const rk_kernels rk_kernels_ref_f32 = RK_REF_TABLE;
