/* suggest.h: which known name a misspelt word most likely stands for. */
#ifndef RK_CLI_SUGGEST_H
#define RK_CLI_SUGGEST_H

typedef struct rk_suggestion {
    const char *word; /* as it was typed; set by the caller, the rest starts as 0 */
    const char *name; /* the nearest name so far; NULL: none is near */
    int distance;     /* edits between the two */
} rk_suggestion;

/* Keep name if it is nearer to the word than what was tried before. Near is a name within one edit
 * of a word of up to four letters, two of one of up to eight, else three; an edit inserts, drops or
 * replaces a letter, or swaps two neighbours. A name that begins the word, or that the word begins,
 * with three letters or more, is near too. */
void rk_suggest(rk_suggestion *s, const char *name);

#endif
