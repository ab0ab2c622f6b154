/* rotary.h: the angles of rotary embedding (Su and others 2021, arXiv 2104.09864). */
#ifndef RK_TENSOR_ROTARY_H
#define RK_TENSOR_ROTARY_H

#include "tensor/op.h"

/* theta^(-2j/n) for j < n / 2, into reals of this type. */
void rk_rotary_rates(rk_dtype real, int64_t n, double theta, void *rates);
/* Cosines and then sines of position * rates (n / 2), (n) together. In f32 the angle is an f32 too, as in
 * the programs that train such models. */
void rk_rotary_angles(rk_dtype real, int64_t n, const void *rates, double position, void *angles);

#endif
