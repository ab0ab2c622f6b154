/* speculate.h: what tests need of a speculator beyond rk.h. */
#ifndef RK_INFER_SPECULATE_H
#define RK_INFER_SPECULATE_H

#include "rk.h"

/* Guess as many tokens as allowed in every pass, whether it pays or not. */
void rk_speculator_always(rk_speculator *sp);

#endif
