/* trie.h: finding the longest token that some text begins with. */
#ifndef RK_TEXT_TRIE_H
#define RK_TEXT_TRIE_H

#include "text/vocab.h"

/* Nodes are numbered level by level from the root, 0, so the children of a node are neighbours:
 * first[i] .. first[i + 1] - 1, in the order of their labels. */
typedef struct rk_trie {
    uint32_t n_nodes;
    uint32_t *first;      /* (n_nodes + 1) */
    unsigned char *label; /* (n_nodes) the byte that leads to the node */
    int32_t *id;          /* (n_nodes) the token that ends here, or -1 */
    uint32_t one[256];    /* the node one byte below the root, or 0 */
    uint32_t *pair;       /* (256, 256) the node two bytes below the root, or 0 */
} rk_trie;

/* v's tokens are sorted, and not needed afterwards. */
rk_status rk_trie_init(rk_trie *t, const rk_vocab *v, rk_error *err);
void rk_trie_deinit(rk_trie *t);
/* Length and id of the longest token that the n >= 1 bytes at p begin with; 0: none does. */
size_t rk_trie_longest(const rk_trie *t, const unsigned char *p, size_t n, int32_t *id);
size_t rk_trie_memory(const rk_trie *t);

#endif
