/* trie.c: a trie in four arrays.
 *
 * 9 bytes a node and built in one pass over the sorted tokens, in time linear in their bytes
 * whatever they are. The root and the nodes below it have up to 256 children, deeper ones a
 * handful: the first two bytes are looked up in a table, from there on the labels are searched one
 * after the other. A double array needs one probe a byte instead, but its construction searches for
 * free places, which hostile vocabularies can make quadratic. */
#include "text/trie.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { N_BYTES = 256, N_PAIRS = N_BYTES * N_BYTES };

/* The tokens below a node: those in [lo, hi) of the sorted list share their first depth bytes. */
typedef struct range {
    uint32_t lo, hi, depth;
} range;

static uint32_t shared_bytes(const rk_token *a, const rk_token *b)
{
    uint32_t n = 0;
    while (n < a->n && n < b->n && a->bytes[n] == b->bytes[n])
        n++;
    return n;
}

/* Each token adds the bytes that it does not share with the one before. */
static uint32_t count_nodes(const rk_vocab *v)
{
    uint32_t n = 1;
    for (int64_t i = 0; i < v->n_tokens; i++)
        n += v->tokens[i].n - (i > 0 ? shared_bytes(&v->tokens[i - 1], &v->tokens[i]) : 0);
    return n;
}

/* Number the children of a node from next on; returns the number after the last one. */
static uint32_t add_children(rk_trie *t, const rk_vocab *v, range *ranges, uint32_t node,
                             uint32_t next)
{
    range r = ranges[node];
    t->first[node] = next;
    t->id[node] = -1;
    if (r.lo < r.hi && v->tokens[r.lo].n == r.depth)
        t->id[node] = v->tokens[r.lo++].id;
    while (r.lo < r.hi) {
        const uint32_t lo = r.lo;
        const unsigned char c = v->tokens[lo].bytes[r.depth];
        while (r.lo < r.hi && v->tokens[r.lo].bytes[r.depth] == c)
            r.lo++;
        t->label[next] = c;
        ranges[next++] = (range){lo, r.lo, r.depth + 1};
    }
    return next;
}

static void fill_tables(rk_trie *t)
{
    for (uint32_t a = t->first[0]; a < t->first[1]; a++) {
        t->one[t->label[a]] = a;
        for (uint32_t b = t->first[a]; b < t->first[a + 1]; b++)
            t->pair[t->label[a] * N_BYTES + t->label[b]] = b;
    }
}

rk_status rk_trie_init(rk_trie *t, const rk_vocab *v, rk_error *err)
{
    const uint32_t n = count_nodes(v);
    range *ranges = malloc(n * sizeof *ranges);
    *t = (rk_trie){.n_nodes = n,
                   .first = malloc((n + 1) * sizeof *t->first),
                   .label = malloc(n),
                   .id = malloc(n * sizeof *t->id),
                   .pair = calloc(N_PAIRS, sizeof *t->pair)};
    if (!ranges || !t->first || !t->label || !t->id || !t->pair) {
        free(ranges);
        rk_trie_deinit(t);
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for a tokenizer");
    }
    uint32_t next = 1;
    t->label[0] = 0;
    ranges[0] = (range){0, (uint32_t)v->n_tokens, 0};
    for (uint32_t node = 0; node < n; node++)
        next = add_children(t, v, ranges, node, next);
    assert(next == n);
    t->first[n] = n;
    fill_tables(t);
    free(ranges);
    return RK_OK;
}

void rk_trie_deinit(rk_trie *t)
{
    free(t->first);
    free(t->label);
    free(t->id);
    free(t->pair);
    *t = (rk_trie){0};
}

static uint32_t child(const rk_trie *t, uint32_t node, unsigned char c)
{
    const uint32_t end = t->first[node + 1];
    uint32_t i = t->first[node];
    while (i < end && t->label[i] < c)
        i++;
    return i < end && t->label[i] == c ? i : 0;
}

size_t rk_trie_longest(const rk_trie *t, const unsigned char *p, size_t n, int32_t *id)
{
    size_t longest = 0;
    uint32_t node = t->one[p[0]];
    if (node && t->id[node] >= 0) {
        *id = t->id[node];
        longest = 1;
    }
    node = n > 1 ? t->pair[p[0] * N_BYTES + p[1]] : 0;
    for (size_t depth = 2; node; depth++) {
        if (t->id[node] >= 0) {
            *id = t->id[node];
            longest = depth;
        }
        node = depth < n ? child(t, node, p[depth]) : 0;
    }
    return longest;
}

size_t rk_trie_memory(const rk_trie *t)
{
    return (t->n_nodes + 1) * sizeof *t->first + t->n_nodes * (sizeof *t->label + sizeof *t->id) +
           N_PAIRS * sizeof *t->pair;
}
