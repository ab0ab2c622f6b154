/* adapter.h: kinds of adapters, which fine-tuning trains for a frozen weight. */
#ifndef RK_NN_ADAPTER_H
#define RK_NN_ADAPTER_H

#include "tensor/weight.h"

/* LoRA (arXiv 2106.09685): W x + alpha / rank B A x, with a (rank, in) and b (out, rank). */
rk_adapter rk_lora(rk_tensor *a, rk_tensor *b, double alpha);

#endif
