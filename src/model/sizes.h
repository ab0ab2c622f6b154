/* sizes.h: the sizes of a model, as rows of its architecture's table.
 *
 * A row says what a size is called, where rk_hparams holds it, which letter it has in shapes, where
 * a file shows it, which values it may have, what it is in a new model where nobody says, and by
 * which option of `rwkv train` it is said. Opening a file, making a model, `rwkv train`, `rwkv info`,
 * metadata and rk.h walk the rows; what other programs call a size stands in format/. */
#ifndef RK_MODEL_SIZES_H
#define RK_MODEL_SIZES_H

#include "io/tensor_file.h"
#include "rk.h"

struct rk_arch;

enum { RK_SIZE_TABLES = 7, RK_OWN_SIZES = 32, RK_PAIR_KINDS = 5, RK_LAYERS_MAX = 1024 };

/* Some of a model's layers. */
typedef struct rk_layer_set {
    uint64_t bits[RK_LAYERS_MAX / 64];
} rk_layer_set;

static inline bool rk_layer_in(const rk_layer_set *s, int64_t layer)
{
    return layer < RK_LAYERS_MAX && (s->bits[layer / 64] >> (layer % 64) & 1);
}

static inline void rk_layer_add(rk_layer_set *s, int64_t layer)
{
    s->bits[layer / 64] |= (uint64_t)1 << (layer % 64);
}

typedef struct rk_hparams {
    /* What most architectures have; 0 in those that do not. */
    int64_t n_layer, n_embd, n_head, head_size, dim_ffn, n_vocab;
    double ln_eps, ln_x_eps; /* of the norms, and of the group norm behind a recurrence */
    int64_t ln0_fused; /* 1: the table of embeddings holds what ln0 made of it; there is no ln0 */
    int64_t tied;      /* 1: the head is the table of embeddings */
    /* Of low-rank pairs (pair.h): the largest rank, that of each kind, rk_pair_form. */
    int64_t low_rank, pair_rank[RK_PAIR_KINDS], pair_form;
    int64_t n_clusters; /* of tokens, for a hierarchical head (clusters.h); 0: there is none */
    int64_t emb_rows;   /* embeddings that are held under a limit on memory; 0: the usual number */
    /* 1: the channel mix is in records; the predictors beside them, 0 where there is none: planes of bits,
     * bytes of a row of these, what the small product has in the middle (records.h). */
    int64_t ffn_records, plane_bits, plane_bytes, predictor_size;
    bool tuned_state; /* layers hold the state that streams begin with, */
    bool tuned_shift; /* and what stands before the first token in the time mix's shift */
    bool tuned_basis; /* features of a kernel path are in a basis of their own */
    /* Of a model made of a transformer: the layers that are still as they were there. They have attention,
     * and nothing of what the architecture puts in its place or beside it. */
    rk_layer_set kept;
    /* What one architecture has alone, in places that its file names. */
    union {
        int64_t n;
        double x;
    } own[RK_OWN_SIZES];
} rk_hparams;

/* Of the norms in the official code. */
#define RK_LN_EPS 1e-5
#define RK_LN_X_EPS 64e-5

/* How many of the layers are kept, and the first that is not: where what layers hand on begins. */
int64_t rk_n_kept(const rk_hparams *hp);
int64_t rk_first_mixer(const rk_hparams *hp);

/* Where a file shows a size. In a tensor's name %d is the first layer that has one. */
typedef enum rk_size_from {
    RK_FROM_TENSOR, /* a dimension of a tensor */
    RK_FROM_LATER,  /* the same behind the first layer that is not kept; 1 where nothing is there */
    RK_FROM_OPTIONAL, /* the same of a tensor that a model may lack; then 0 */
    RK_FROM_LAYERS,   /* one more than the largest number in names "blocks.N." */
    RK_FROM_ABSENCE,  /* 1 where the file has no such tensor, else 0 */
    RK_FROM_PRESENCE, /* what metadata of the size's name says; else 1 where the file has such a tensor, 0
                       * where it has none. A larger value changes what the tensors mean: it is marked */
    RK_FROM_META, /* metadata of the size's name, where it is other than the default */
    RK_FROM_MARK, /* the same of a size that changes what the tensors mean: a file where it is other
                     * than the default has a mark too, a tensor of the size's name, so that
                     * programs that do not know the size refuse the file */
    RK_FROM_STATED, /* metadata of the size's name, which every file has: no tensor shows it, and there
                     * is no usual value */
    RK_FROM_OTHERS, /* it follows from other sizes: rk_arch.settle */
} rk_size_from;

/* The value in a new model where none is given, from the sizes in rows above and the row's arg. */
typedef double rk_size_rule(const rk_hparams *hp, double arg);

typedef struct rk_size_spec {
    const char *name;
    struct {
        size_t offset; /* in rk_hparams */
        bool real;     /* a double is there; else an int64_t */
        const char
            *words;    /* the size is one of these, "none|plain", and its value the word's place;
                            * NULL: a number */
        bool with_min; /* a real may be the least of its range, too */
    } at;
    char letter; /* in shape formulas; 0: in none */
    struct {
        double min, max; /* both included, but for the least of most reals */
    } range;
    struct {
        rk_size_rule *rule; /* NULL: it follows from other sizes and cannot be given */
        double arg;
    } initial;
    struct {
        rk_size_from from;
        const char *tensor;
        int n_dims, axis; /* of the tensor (n_dims 0: any number); the one that shows the size */
    } file;
    struct {
        const char *name, *shown, *help; /* "dim-ffn", its default in words; NULL: none */
    } option;
} rk_size_spec;

/* Parts of a row. Places: a member that all have, and one of the architecture's own.
 * NOLINTBEGIN(bugprone-macro-parentheses) */
/* clang-format off */
#define RK_SIZE(member) {offsetof(rk_hparams, member), false, NULL, false}
#define RK_REAL(member) {offsetof(rk_hparams, member), true, NULL, false}
#define RK_OWN_SIZE(i) {offsetof(rk_hparams, own) + (i) * sizeof(int64_t), false, NULL, false}
#define RK_OWN_WORD(i, words) {offsetof(rk_hparams, own) + (i) * sizeof(int64_t), false, words, false}
#define RK_OWN_REAL(i) {offsetof(rk_hparams, own) + (i) * sizeof(double), true, NULL, false}
#define RK_OWN_REAL_WITH_MIN(i) {offsetof(rk_hparams, own) + (i) * sizeof(double), true, NULL, true}
#define RK_NO_OPTION {NULL, NULL, NULL}
#define RK_HEAD_SIZE_OPTION {"head-size", "64", "channels of a head"}
#define RK_DIM_FFN_OPTION {"dim-ffn", "by the architecture", "channels inside the channel mix"}
/* clang-format on */
/* NOLINTEND(bugprone-macro-parentheses) */

/* Rows; an architecture has several such tables, those that it shares with others among them. */
typedef struct rk_size_table {
    const rk_size_spec *rows;
    int n;
} rk_size_table;

/* Row i of an architecture, NULL past the last; and a row by its name. */
const rk_size_spec *rk_size_at(const struct rk_arch *arch, int i);
const rk_size_spec *rk_size_find(const struct rk_arch *arch, const char *name);
double rk_size_value(const rk_size_spec *s, const rk_hparams *hp);
/* The word at a place of a size that is one of a few; returns its length, 0 past the last. */
size_t rk_size_word(const rk_size_spec *s, int place, const char **word);
/* The default of a size whose rule looks at no other size. */
double rk_size_default(const rk_size_spec *s);

/* Is this size one with a mark, and other than its default? The i-th of a model; NULL: only i. */
const rk_size_spec *rk_size_marked(const struct rk_arch *arch, const rk_hparams *hp, int i);

/* Dimensions of a shape formula, a letter each (digits are themselves); returns their number. */
int rk_shape_dims(const struct rk_arch *arch, const rk_hparams *hp, const char *shape,
                  int64_t *dims);

/* Is there a tensor whose name this is, with a layer in the place of %d? */
bool rk_file_in_any_layer(const rk_file *f, const char *pattern);
/* One more than the largest N of a name "blocks.N.", or what that is in the architecture: layers need
 * not come in order. */
int64_t rk_count_layers(const struct rk_arch *arch, const rk_file *f);
/* The sizes that a file under canonical names shows.
 * Errors  RK_ERR_FORMAT: file, tensor or metadata, what was found, what was expected. */
rk_status rk_sizes_read(const struct rk_arch *arch, const rk_file *f, rk_hparams *hp,
                        rk_error *err);
/* The sizes of a new model: those that are given, n of them, the others as their rules say.
 * Errors  RK_ERR_ARG: a name that the architecture does not have, a value outside its range. */
rk_status rk_sizes_make(const struct rk_arch *arch, const rk_size *given, int64_t n, rk_hparams *hp,
                        rk_error *err);

/* The same of a model that keeps these layers (rk_hparams.kept). */
rk_status rk_sizes_make_kept(const struct rk_arch *arch, const rk_size *given, int64_t n,
                             const rk_layer_set *kept, rk_hparams *hp, rk_error *err);
/* Put one size that is given; others are not looked at. Errors as above. */
rk_status rk_size_give(const struct rk_arch *arch, const rk_size *given, rk_hparams *hp,
                       rk_error *err);

/* What follows from other sizes, and whether they fit each other. file is NULL for a new model.
 * Errors  RK_ERR_FORMAT for a file, RK_ERR_ARG for a new model. */
typedef rk_status rk_settle_fn(const struct rk_arch *arch, rk_hparams *hp, const rk_file *file,
                               rk_error *err);
/* n_head times head_size is n_embd; whichever of the two is 0 follows. */
rk_settle_fn rk_settle_heads;

/* ---- rules ---- */

rk_size_rule rk_size_constant; /* arg */
rk_size_rule rk_size_of_embd;  /* arg n_embd */
rk_size_rule rk_size_ffn_35;   /* 3.5 n_embd, down to a multiple of 32, at least 32 */

/* ---- rows that many have ---- */

enum {
    RK_EMBD_MAX = 1 << 16,
    RK_FFN_MAX = 1 << 20,
    RK_VOCAB_MAX = 1 << 24,
    RK_HEAD_MAX = 1024,
    RK_RANK_MAX = 1 << 16
};

/* Layers and channels, before an architecture's own; tokens and the norms' eps, behind them; the
 * same with the eps of a group norm. */
extern const rk_size_table rk_sizes_first, rk_sizes_last, rk_sizes_last_x;
/* The clusters of a hierarchical head. */
extern const rk_size_table rk_sizes_clusters;

#endif
