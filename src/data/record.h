/* record.h: a line of a .jsonl file: an object that is a document, as text in parts that count in the
 * loss or do not.
 *
 *     {"text": T}                                        T counts
 *     {"messages": [{"role": R, "content": T}, ...]}     what the assistant says counts, with its end
 *     {"prompt": P, "response": A}                       A counts, as the answer to P
 *
 * and what other data sets call the same. Conversations are rendered with a chat format. Other members
 * are checked and passed over. */
#ifndef RK_DATA_RECORD_H
#define RK_DATA_RECORD_H

#include "text/chat_format.h"

typedef struct rk_record_part {
    size_t at, bytes; /* in the record's text */
    bool counts;
} rk_record_part;

/* Kept from line to line: memory is taken once. */
typedef struct rk_record {
    rk_buf text;
    rk_record_part *parts;
    int64_t n_parts, parts_max;
    rk_buf scratch; /* of messages, while they are rendered */
    bool marked;    /* control tokens are marked in the text (chat_format.h) */
} rk_record;

typedef struct rk_record_how {
    const rk_chat_format
        *chat; /* NULL: prompt and response stand as they are, one after the other */
    bool ends; /* an end token is to follow, so the last message needs no blank line */
    bool last; /* of messages the last one alone counts, which the assistant has to say */
} rk_record_how;

/* A line and where it is, for messages. */
typedef struct rk_record_line {
    const char *file;
    int64_t number; /* from 1 */
    const unsigned char *text;
    size_t bytes;
} rk_record_line;

/* Read a line. *blank: it holds nothing.
 * Errors  RK_ERR_FORMAT: file, line, byte, what was expected; RK_ERR_NOMEM. */
rk_status rk_record_read(rk_record *r, const rk_record_line *line, const rk_record_how *how,
                         bool *blank, rk_error *err);
void rk_record_deinit(rk_record *r);

#endif
