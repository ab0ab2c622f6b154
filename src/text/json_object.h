/* json_object.h: objects of JSON files that are walked without building a tree: first the places of the
 * members that are asked for are found, then each is read by the function that knows it. */
#ifndef RK_TEXT_JSON_OBJECT_H
#define RK_TEXT_JSON_OBJECT_H

#include "io/json_scan.h"

enum { RK_JSON_DEPTH_MAX = 64, RK_JSON_MEMBERS_MAX = 8 /* that are asked for */ };

typedef struct rk_json_in {
    const char *name; /* of the file, for messages */
    const unsigned char *begin;
    rk_error *err;
    char *string; /* room for any string of the file, and a NUL */
    size_t n;     /* bytes of the last one */
} rk_json_in;

/* Where the members of an object lie; p is NULL where one is missing. */
typedef struct rk_json_members {
    rk_json_scan at[RK_JSON_MEMBERS_MAX];
} rk_json_members;

/* A member that may be missing or have one of two values, because others would change tokens. */
typedef struct rk_json_fixed {
    const char *key, *value, *other;
} rk_json_fixed;

#define RK_JSON_REFUSE(r, code, ...) rk_fail((r)->err, code, __VA_ARGS__)

/* Fail with the scanner's position and what it expected there. */
rk_status rk_json_syntax(const rk_json_in *r, const rk_json_scan *s);
rk_status rk_json_take_char(const rk_json_in *r, rk_json_scan *s, char c);
/* Read the next string into r->string, with a NUL behind it; rk_json_shown makes it printable: its
 * beginning, whole characters, without control characters. */
rk_status rk_json_take_string(rk_json_in *r, rk_json_scan *s);
const char *rk_json_shown(rk_json_in *r);
bool rk_json_string_is(const rk_json_in *r, const char *text);
/* Whether the value at s is this word, such as null. */
bool rk_json_value_is(rk_json_scan s, const char *word);
/* Whether the value at s begins with this character. */
bool rk_json_begins(rk_json_scan s, char c);
/* Walk the object at s, which error messages call `object`, and note where its members begin. */
rk_status rk_json_find_members(rk_json_in *r, rk_json_scan *s, const char *object,
                               const char *const *keys, size_t n_keys, rk_json_members *found);
/* Read an object's member "type" into r->string; what is no object, or has none, is refused. */
rk_status rk_json_take_type(rk_json_in *r, rk_json_scan s, const char *object, const char *want);
/* Refuse an object whose type is another one. */
rk_status rk_json_expect_type(rk_json_in *r, rk_json_scan s, const char *object, const char *want);
rk_status rk_json_expect_fixed(rk_json_in *r, rk_json_scan s, const char *object,
                               const rk_json_fixed *rows, size_t n_rows);
/* Call element() for each value of the array at s, which it passes over. */
rk_status rk_json_each(rk_json_in *r, rk_json_scan *s,
                       rk_status (*element)(void *user, rk_json_scan *s), void *user);

#endif
