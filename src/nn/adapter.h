/* adapter.h: kinds of adapters: what small trained tensors add to the products of a frozen weight W
 * (out, in). Tensors are borrowed. */
#ifndef RK_NN_ADAPTER_H
#define RK_NN_ADAPTER_H

#include "tensor/weight.h"

/* LoRA (arXiv 2106.09685): scale B (A x), with a (rank, in) and b (out, rank). */
rk_adapter rk_lora(rk_tensor *a, rk_tensor *b, double scale);

/* DoRA (arXiv 2402.09353): lora's sum with W x times magnitude / |W + scale B A|, the norm of each row
 * a constant. (out) each; squares holds |W|^2 of the rows, ones 1. */
typedef struct rk_dora_tensors {
    rk_tensor *magnitude, *squares, *ones;
} rk_dora_tensors;
rk_adapter rk_dora(rk_tensor *a, rk_tensor *b, double scale, const rk_dora_tensors *t);
/* Let a product of two steps have a gain (out) that stands. */
void rk_adapter_set_gain(rk_adapter *a, rk_tensor *gain);

/* MiSS, once Bone and DiSHA (arXiv 2409.15371): D^T s, where s_k is the sum of those x_i with i mod
 * rank = k. d (rank, out), or with fewer columns, which are repeated ("mini"). */
rk_adapter rk_miss(rk_tensor *d);

/* Bat, a block of B for each r inputs: with blocks of W of r by r, block (a, b) becomes
 * W_ab + W_ab B_b + B_b. b (in / r, r, r). Computed on activations: W is not changed. */
rk_adapter rk_bat_in(rk_tensor *b);
/* Bat, a block for each r outputs: W_ab + W_ab B_a + B_a. b (out / r, r, r). Makes a matrix as large as
 * W in each forward. */
rk_adapter rk_bat_out(rk_tensor *b);

/* A matrix (out, in) that is added to W. */
rk_adapter rk_dense(rk_tensor *delta);

#endif
