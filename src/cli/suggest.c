/* suggest.c: the edit distance of Damerau and Levenshtein, swaps of neighbours included. */
#include "cli/suggest.h"

#include <stdbool.h>
#include <string.h>

enum { LETTERS_MAX = 31, PREFIX_MIN = 3 }; /* longer words are no misspelt names */

static int least(int a, int b)
{
    return a < b ? a : b;
}

/* Row i of the table holds the distances of the first i letters of a to each beginning of b. */
static int edits(const char *a, int n_a, const char *b, int n_b)
{
    int d[LETTERS_MAX + 1][LETTERS_MAX + 1];
    for (int i = 0; i <= n_a; i++)
        for (int j = 0; j <= n_b; j++) {
            if (i == 0 || j == 0) {
                d[i][j] = i + j;
                continue;
            }
            const int replaced = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            d[i][j] = least(replaced, least(d[i - 1][j], d[i][j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                d[i][j] = least(d[i][j], d[i - 2][j - 2] + 1);
        }
    return d[n_a][n_b];
}

void rk_suggest(rk_suggestion *s, const char *name)
{
    const size_t n_word = strlen(s->word), n_name = strlen(name);
    const size_t n_common = n_word < n_name ? n_word : n_name;
    if (n_word == 0 || n_word > LETTERS_MAX || n_name > LETTERS_MAX)
        return;
    const int limit = n_word <= 4 ? 1 : n_word <= 8 ? 2 : 3;
    const bool begins = n_common >= PREFIX_MIN && !strncmp(s->word, name, n_common);
    const int distance = edits(s->word, (int)n_word, name, (int)n_name);
    const int counted = begins ? least(distance, limit) : distance;
    if (counted <= limit && (!s->name || counted < s->distance)) {
        s->name = name;
        s->distance = counted;
    }
}
