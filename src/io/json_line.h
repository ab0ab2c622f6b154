/* json_line.h: one-line JSON objects, and a log file to which they are appended. */
#ifndef RK_IO_JSON_LINE_H
#define RK_IO_JSON_LINE_H

#include "base/buf.h"

/* An object grows in a rk_buf: rk_json_begin, members in order, rk_json_end. Floating-point numbers
 * have nine significant digits (enough for an f32), and null stands for what is not finite. Strings
 * are escaped; bytes that are not UTF-8 become U+FFFD. */
void rk_json_begin(rk_buf *b);
void rk_json_int(rk_buf *b, const char *key, int64_t value);
void rk_json_num(rk_buf *b, const char *key, double value);
void rk_json_bool(rk_buf *b, const char *key, bool value);
void rk_json_str(rk_buf *b, const char *key, const char *value);
void rk_json_end(rk_buf *b);

/* n bytes as a JSON string, quotes included. */
void rk_json_quote(rk_buf *b, const char *s, size_t n);

typedef struct rk_line_log rk_line_log;
/* Open for appending, creating it if need be. A last line without its newline was torn by a crash
 * and is cut off. */
rk_status rk_line_log_open(rk_line_log **out, const char *path, rk_error *err);
/* Append the line and a newline in one write. */
rk_status rk_line_log_append(rk_line_log *l, const char *line, size_t n, rk_error *err);
/* Make the lines so far durable. */
rk_status rk_line_log_sync(rk_line_log *l, rk_error *err);
void rk_line_log_close(rk_line_log *l);

#endif
