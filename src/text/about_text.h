/* about_text.h: what a vocabulary's file says beside tokens: where texts begin and end, and how the
 * messages of a talk are written. */
#ifndef RK_TEXT_ABOUT_TEXT_H
#define RK_TEXT_ABOUT_TEXT_H

#include "base/buf.h"
#include "text/bpe.h"

enum { RK_STOPS_MAX = 8 };

typedef struct rk_about_text {
    int32_t bos, eos;            /* -1: not said */
    int32_t end;                 /* stands behind a document; -1: nothing does */
    bool adds_bos;               /* texts begin with bos */
    int32_t stops[RK_STOPS_MAX]; /* a text that is generated ends before any of these */
    int n_stops;
    rk_buf chat_template; /* in Jinja; empty: none */
} rk_about_text;

/* Nothing is said. */
void rk_about_text_init(rk_about_text *a);
void rk_about_text_deinit(rk_about_text *a);
/* One more stop, which may be one already, or be -1. Those that are too many are left out. */
void rk_about_text_stop(rk_about_text *a, int32_t id);
bool rk_about_text_stops(const rk_about_text *a, int32_t id);
/* What stands behind a document: a token that is known for that, else eos. */
void rk_about_text_find_end(rk_about_text *a, const rk_bpe *b);
/* Read what lies beside a tokenizer.json in its folder: tokenizer_config.json, generation_config.json,
 * config.json and chat_template.jinja, as far as they are there. n_ids: of the vocabulary.
 * Errors  RK_ERR_FORMAT: one of them is not JSON, or names an id that there is not; RK_ERR_IO,
 *         RK_ERR_NOMEM. */
rk_status rk_about_text_folder(rk_about_text *a, const rk_bpe *b, int64_t n_ids, const char *folder,
                               rk_error *err);

#endif
