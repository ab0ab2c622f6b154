/* op_rwkv7_heads.c: what an RWKV-7 time mix does between its matrix products, head by head.
 *
 * Prepare, recurrence and output need one head at a time, so one task takes a head through all
 * three, with the bits of the three ops. Only without a tape: backward needs what those ops save. */
#include "base/num.h"
#include "tensor/op.h"

/* Inputs: those of prepare in its order, then the others. */
enum { W0, A0, V0, K_K, K_A, WL, AL, VL, K, V, V_FIRST, R, G, R_K, LN_W, LN_B, STATE, HEADS_IN };
/* Arrays (B,T,H,N) in scratch. */
enum { S_W, S_K, S_A, S_B, S_V, S_Y, S_COUNT };

typedef struct heads_job {
    const rk_kernels *kern;
    const rk_node *n;
    int64_t steps, heads, size, width;
    float *inner[S_COUNT];
    unsigned char *scratch;
    size_t thread_bytes;
} heads_job;

static void rwkv7_heads_shape(rk_ctx *ctx, rk_node *n)
{
    const rk_tensor *r = n->in[R], *s = n->in[STATE];
    bool ok = r && r->n_dims == 4 && s && s->n_dims == 4 && s->dims[0] == r->dims[0] &&
              s->dims[1] == r->dims[2] && s->dims[2] == r->dims[3] && s->dims[3] == r->dims[3];
    for (int i = 0; ok && i < STATE; i++) {
        const bool vector = i < WL || (i >= R_K && i <= LN_B);
        const bool residual = i == V0 || i == VL || i == V_FIRST;
        ok = n->in[i] ? vector ? rk_tensor_count(n->in[i]) == r->dims[2] * r->dims[3]
                               : rk_tensor_same_shape(n->in[i], r)
                      : (residual && !n->in[V_FIRST]) || i == K_K || i == K_A || i >= G;
    }
    ok = ok && !n->in[K_K] == !n->in[K_A] && !n->in[LN_W] == !n->in[LN_B];
    if (!rk_expect(ctx, n, ok && r->dtype == RK_F32, "(B,T,H,N), vectors of C and (B,H,N,N)") ||
        !rk_expect_plain(ctx, n))
        return;
    n->scratch_bytes = S_COUNT * rk_tensor_bytes(r) +
                       rk_align_up(ctx->kernels->wkv7_scratch(r->dims[3]), RK_ARENA_ALIGN) *
                           (size_t)rk_pool_n_threads(ctx->pool) +
                       RK_ARENA_ALIGN;
    n->n_out = 2;
    n->out[0] = rk_new_like(ctx, r);
    n->out[1] = rk_new_state_like(ctx, s);
}

static const float *at(const heads_job *j, int i, int64_t place)
{
    return j->n->in[i] ? (const float *)j->n->in[i]->data + place : NULL;
}

static const rk_rwkv7_form *form_of(const rk_node *n)
{
    return n->attr;
}

/* The token at `row` of one head; `c` is the head's first channel. */
static void prepare(const heads_job *j, int64_t row, int64_t c)
{
    const bool first = !j->n->in[V_FIRST];
    const rk_rwkv7_prepare p = {.w0 = at(j, W0, c),
                                .a0 = at(j, A0, c),
                                .v0 = first ? NULL : at(j, V0, c),
                                .k_k = at(j, K_K, c),
                                .k_a = at(j, K_A, c),
                                .wl = at(j, WL, row),
                                .al = at(j, AL, row),
                                .vl = at(j, VL, row),
                                .k0 = at(j, K, row),
                                .v_in = at(j, V, row),
                                .v_first = at(j, V_FIRST, row),
                                .w = j->inner[S_W] + row,
                                .k = j->inner[S_K] + row,
                                .na = j->inner[S_A] + row,
                                .b = j->inner[S_B] + row,
                                .v = first ? NULL : j->inner[S_V] + row};
    j->kern->rwkv7_prepare(1, 1, j->size, &p);
    const float removal = (float)(1.0 + form_of(j->n)->extra);
    float *b = j->inner[S_B] + row;
    for (int64_t i = 0; removal != 1.0f && i < j->size; i++)
        b[i] *= removal;
}

static const float *value(const heads_job *j, int64_t row)
{
    return j->n->in[V_FIRST] ? j->inner[S_V] + row : at(j, V, row);
}

static void output(const heads_job *j, int64_t row, int64_t c)
{
    const rk_rwkv7_form *form = form_of(j->n);
    const rk_rwkv7_output p = {.y = j->inner[S_Y] + row,
                               .r = at(j, R, row),
                               .k = j->inner[S_K] + row,
                               .v = value(j, row),
                               .g = at(j, G, row),
                               .r_k = at(j, R_K, c),
                               .ln_w = at(j, LN_W, c),
                               .ln_b = at(j, LN_B, c),
                               .eps = form->eps,
                               .scale = form->scale,
                               .gate_base = form->gate_base,
                               .z = (float *)j->n->out[0]->data + row};
    j->kern->rwkv7_output(1, 1, j->size, &p);
}

static void heads_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const heads_job *j = arg;
    for (int64_t i = lo; i < hi; i++) {
        const int64_t c = i % j->heads * j->size;
        const int64_t row = i / j->heads * j->steps * j->width + c;
        for (int64_t t = 0; t < j->steps; t++)
            prepare(j, row + t * j->width, c);
        const rk_wkv7_args a = {.n_steps = j->steps,
                                .head_size = j->size,
                                .stride = j->width,
                                .r = at(j, R, row),
                                .w = j->inner[S_W] + row,
                                .k = j->inner[S_K] + row,
                                .v = value(j, row),
                                .a = j->inner[S_A] + row,
                                .b = j->inner[S_B] + row,
                                .y = j->inner[S_Y] + row,
                                .state =
                                    rk_state_place(j->n->in[STATE], j->n->out[1], j->heads, i)};
        j->kern->wkv7(&a, j->scratch + (size_t)worker * j->thread_bytes);
        for (int64_t t = 0; t < j->steps; t++)
            output(j, row + t * j->width, c);
    }
}

static void rwkv7_heads_forward(rk_ctx *ctx, rk_node *n)
{
    const rk_tensor *r = n->in[R];
    const int64_t count = rk_tensor_count(r);
    heads_job j = {.kern = ctx->kernels,
                   .n = n,
                   .steps = r->dims[1],
                   .heads = r->dims[2],
                   .size = r->dims[3],
                   .width = r->dims[2] * r->dims[3],
                   .thread_bytes =
                       rk_align_up(ctx->kernels->wkv7_scratch(r->dims[3]), RK_ARENA_ALIGN)};
    for (int i = 0; i < S_COUNT; i++)
        j.inner[i] = (float *)n->scratch + i * count;
    j.scratch = (unsigned char *)n->scratch +
                rk_align_up(S_COUNT * (size_t)count * sizeof(float), RK_ARENA_ALIGN);
    rk_parallel(ctx, r->dims[0] * j.heads, 1, heads_piece, &j);
}

const rk_op rk_op_rwkv7_heads = {
    .name = "rwkv7_heads",
    .shape = rwkv7_heads_shape,
    .on[RK_CPU] = {rwkv7_heads_forward, NULL},
    .attr_bytes = sizeof(rk_rwkv7_form),
};

/* a0 + al in place of al: prepare does not keep the iclr, and a path reads it, too. Both then pass their
 * gradients to the sum, row by row, and a0 gets them in the order of the rows. */
static void add_rate(rk_ctx *ctx, rk_rwkv7_prepare_in *in)
{
    if (rk_ctx_failed(ctx))
        return;
    const int64_t *const dims = in->al->dims + 2;
    in->al = rk_add(ctx, in->al, rk_view(ctx, in->a0, 2, dims));
    in->a0 = rk_new_zeros(ctx, in->a0->dtype, 2, dims);
}

/* y plus what the path adds. */
static rk_tensor *beside(rk_ctx *ctx, const rk_rwkv7_heads_in *in, const rk_rwkv7_prepare_in *raw,
                         const rk_rwkv7_prepare_out *q, rk_tensor *y)
{
    const rk_features_in f = {in->path, in->r,
                              q->k,     q->v,
                              q->a,     rk_unary_op(ctx, RK_SIGMOID, raw->al),
                              q->w,     1.0 + in->form.extra};
    rk_wkv7_in wkv = rk_features_of(ctx, &f);
    wkv.state = *in->path_state;
    rk_tensor *features = rk_ctx_failed(ctx) ? NULL : rk_wkv7(ctx, &wkv, in->path_state);
    return rk_add(ctx, y, rk_features_back_op(ctx, in->path, features));
}

static rk_tensor *one_by_one(rk_ctx *ctx, const rk_rwkv7_heads_in *in, rk_tensor **state_out)
{
    rk_rwkv7_prepare_in raw = in->raw;
    if (in->path)
        add_rate(ctx, &raw);
    rk_rwkv7_prepare_out q = rk_rwkv7_prepare_op(ctx, &raw);
    if (in->form.extra != 0.0)
        q.b = rk_scale(ctx, q.b, 1.0 + in->form.extra);
    rk_ctx_watch(ctx, &(rk_recurrence){in->r, q.k, q.v, q.a});
    const rk_wkv7_in wkv = {
        .r = in->r, .w = q.w, .k = q.k, .v = q.v, .a = q.a, .b = q.b, .state = in->state};
    rk_tensor *y = rk_wkv7(ctx, &wkv, state_out);
    if (in->read)
        *in->read = wkv;
    if (in->path)
        y = beside(ctx, in, &raw, &q, y);
    const rk_rwkv7_output_in out = {y,       in->r,    q.k,      q.v,     in->g,
                                    in->r_k, in->ln_w, in->ln_b, in->form};
    return rk_rwkv7_output_op(ctx, &out);
}

rk_tensor *rk_rwkv7_heads(rk_ctx *ctx, const rk_rwkv7_heads_in *in, rk_tensor **state_out)
{
    const rk_rwkv7_prepare_in *raw = &in->raw;
    if (ctx->recording || ctx->long_class || in->path || in->read || ctx->watch ||
        (in->r && in->r->dtype != RK_F32))
        return one_by_one(ctx, in, state_out);
    rk_node n = {.op = &rk_op_rwkv7_heads,
                 .n_in = HEADS_IN,
                 .in = {[W0] = raw->w0,
                        [A0] = raw->a0,
                        [V0] = raw->v_first ? raw->v0 : NULL,
                        [K_K] = raw->k_k,
                        [K_A] = raw->k_a,
                        [WL] = raw->wl,
                        [AL] = raw->al,
                        [VL] = raw->vl,
                        [K] = raw->k,
                        [V] = raw->v,
                        [V_FIRST] = raw->v_first,
                        [R] = in->r,
                        [G] = in->g,
                        [R_K] = in->r_k,
                        [LN_W] = in->ln_w,
                        [LN_B] = in->ln_b,
                        [STATE] = in->state},
                 .attr = &in->form};
    if (!rk_apply(ctx, &n))
        return NULL;
    *state_out = n.out[1];
    return n.out[0];
}
