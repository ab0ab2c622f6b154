/* cluster_head.h: scores by a hierarchical head (model/clusters.h). */
#ifndef RK_INFER_CLUSTER_HEAD_H
#define RK_INFER_CLUSTER_HEAD_H

#include "model/model.h"

/* Scores of rows (n, C) into y (n, V), NULL while planning, by the head of a model with clusters. Each row has the
 * same bits alone and among others. */
void rk_cluster_head(rk_ctx *ctx, const rk_model *m, rk_tensor *rows, float *y);

#endif
