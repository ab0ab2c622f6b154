/* curve.c: curve.svg, drawn by hand because a line chart is less than a library.
 *
 * A long run has more steps than the picture has columns. Steps are therefore gathered into at most
 * BUCKETS equal spans, whose mean is the line and whose range the pale band behind it; points
 * have dots while they are few. */
#include "train/curve.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/num.h"
#include "io/atomic_file.h"
#include "train/runlog.h"

enum { WIDTH = 880, HEIGHT = 480, LEFT = 72, RIGHT = 24, TOP = 52, BOTTOM = 60 };
enum { BUCKETS = 400, DOTS_MAX = 60, TICKS = 6 };

#define TRAIN_COLOR "#2563eb"
#define VAL_COLOR "#ea580c"
#define TEXT_COLOR "#374151"

typedef struct point {
    int64_t step;
    double mean, low, high; /* of a bucket; of one step all are equal */
} point;

typedef struct points {
    point *at;
    int64_t n, max;
} points;

typedef struct chart {
    points train, val;
    double x_min, x_max, y_min, y_max; /* corners of the plot, in steps and units */
    double x_tick, y_tick;
} chart;

/* ------------------------------------------------------------------------------------- the data */

static bool points_add(points *p, int64_t step, double x)
{
    if (!isfinite(x))
        return true;
    if (p->n == p->max) {
        const int64_t max = 2 * p->max + 256;
        point *at = realloc(p->at, (size_t)max * sizeof *at);
        if (!at)
            return false;
        p->at = at;
        p->max = max;
    }
    p->at[p->n++] = (point){step, x, x, x};
    return true;
}

static bool add_entry(void *user, const rk_log_entry *e)
{
    chart *c = user;
    return points_add(&c->train, e->step, e->drawn) && points_add(&c->val, e->step, e->val_drawn);
}

/* Gather the points at [from, to) into one. */
static point gather(const point *p, int64_t from, int64_t to)
{
    point sum = {p[(from + to) / 2].step, 0.0, p[from].low, p[from].high};
    for (int64_t i = from; i < to; i++) {
        sum.mean += p[i].mean / (double)(to - from);
        sum.low = fmin(sum.low, p[i].low);
        sum.high = fmax(sum.high, p[i].high);
    }
    return sum;
}

/* In place: bucket i never begins before point i. */
static void thin(points *p)
{
    if (p->n <= BUCKETS)
        return;
    for (int64_t i = 0; i < BUCKETS; i++)
        p->at[i] = gather(p->at, i * p->n / BUCKETS, (i + 1) * p->n / BUCKETS);
    p->n = BUCKETS;
}

/* ------------------------------------------------------------------------------------- the axes */

/* 1, 2 or 5 times a power of ten, so that about TICKS of them span the range. */
static double nice_tick(double range)
{
    const double rough = range / TICKS, power = pow(10.0, floor(log10(rough)));
    const double digits = rough / power;
    return power * (digits <= 1.0 ? 1.0 : digits <= 2.0 ? 2.0 : digits <= 5.0 ? 5.0 : 10.0);
}

static void widen(const points *p, double *low, double *high)
{
    for (int64_t i = 0; i < p->n; i++) {
        *low = fmin(*low, p->at[i].low);
        *high = fmax(*high, p->at[i].high);
    }
}

static void fit_axes(chart *c)
{
    double low = (double)INFINITY, high = -(double)INFINITY;
    widen(&c->train, &low, &high);
    widen(&c->val, &low, &high);
    c->y_tick = nice_tick(fmax(high - low, 1e-3));
    c->y_min = floor(low / c->y_tick) * c->y_tick;
    c->y_max = fmax(ceil(high / c->y_tick), c->y_min / c->y_tick + 1.0) * c->y_tick;
    c->x_min = 0.0;
    c->x_max = fmax((double)c->train.at[c->train.n - 1].step, 1.0);
    c->x_tick = fmax(nice_tick(c->x_max), 1.0);
}

static double x_of(const chart *c, double step)
{
    return LEFT + (step - c->x_min) / (c->x_max - c->x_min) * (WIDTH - LEFT - RIGHT);
}

static double y_of(const chart *c, double y)
{
    return TOP + (c->y_max - y) / (c->y_max - c->y_min) * (HEIGHT - TOP - BOTTOM);
}

static void put_line(rk_buf *b, double x1, double y1, double x2, double y2, const char *color)
{
    rk_buf_printf(b, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>\n", x1,
                  y1, x2, y2, color);
}

static void put_text(rk_buf *b, double x, double y, const char *anchor, const char *text)
{
    rk_buf_printf(b, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n", x, y, anchor,
                  text);
}

/* Ticks are counted, not added up, so that labels carry no rounding. */
static void put_axes(rk_buf *b, const chart *c, const char *unit)
{
    char label[32];
    const int decimals = (int)fmax(0.0, -floor(log10(c->y_tick) + 1e-9));
    for (int64_t i = 0; c->y_min + (double)i * c->y_tick < c->y_max + 0.5 * c->y_tick; i++) {
        const double x = c->y_min + (double)i * c->y_tick, y = y_of(c, x);
        put_line(b, LEFT, y, WIDTH - RIGHT, y, "#e5e7eb");
        snprintf(label, sizeof label, "%.*f", decimals, x);
        put_text(b, LEFT - 8, y + 4, "end", label);
    }
    for (int64_t i = 0; (double)i * c->x_tick <= c->x_max; i++) {
        const double x = x_of(c, (double)i * c->x_tick);
        put_line(b, x, TOP, x, HEIGHT - BOTTOM, "#f3f4f6");
        snprintf(label, sizeof label, "%.0f", (double)i * c->x_tick);
        put_text(b, x, HEIGHT - BOTTOM + 20, "middle", label);
    }
    put_line(b, LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM, "#9ca3af");
    put_line(b, LEFT, TOP, LEFT, HEIGHT - BOTTOM, "#9ca3af");
    put_text(b, (LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 16, "middle", "step");
    rk_buf_printf(b,
                  "<text transform=\"translate(20 %.1f) rotate(-90)\" text-anchor=\"middle\">"
                  "%s</text>\n",
                  (TOP + HEIGHT - BOTTOM) / 2.0, unit);
}

/* ------------------------------------------------------------------------------------ the curves
 */

/* The range of each bucket, up along the tops and back along the bottoms. */
static void put_band(rk_buf *b, const chart *c, const points *p)
{
    rk_buf_puts(b, "<polygon fill=\"" TRAIN_COLOR "\" fill-opacity=\"0.15\" points=\"");
    for (int64_t i = 0; i < p->n; i++)
        rk_buf_printf(b, "%.1f,%.1f ", x_of(c, (double)p->at[i].step), y_of(c, p->at[i].high));
    for (int64_t i = p->n; i-- > 0;)
        rk_buf_printf(b, "%.1f,%.1f ", x_of(c, (double)p->at[i].step), y_of(c, p->at[i].low));
    rk_buf_puts(b, "\"/>\n");
}

static void put_curve(rk_buf *b, const chart *c, const points *p, const char *color)
{
    rk_buf_printf(b,
                  "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"1.6\" "
                  "stroke-linejoin=\"round\" points=\"",
                  color);
    for (int64_t i = 0; i < p->n; i++)
        rk_buf_printf(b, "%.1f,%.1f ", x_of(c, (double)p->at[i].step), y_of(c, p->at[i].mean));
    rk_buf_puts(b, "\"/>\n");
}

static void put_dots(rk_buf *b, const chart *c, const points *p, const char *color)
{
    for (int64_t i = 0; p->n <= DOTS_MAX && i < p->n; i++)
        rk_buf_printf(b, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>\n",
                      x_of(c, (double)p->at[i].step), y_of(c, p->at[i].mean), color);
}

/* One line of the legend: a stroke, a name and the last value. */
static void put_legend(rk_buf *b, int row, const points *p, const char *of, const char *drawn,
                       const char *color)
{
    const double x = WIDTH - RIGHT - 190, y = TOP + 22 + 20 * row;
    char text[64];
    if (p->n == 0)
        return;
    snprintf(text, sizeof text, "%s %s %.4f", of, drawn, p->at[p->n - 1].mean);
    rk_buf_printf(b,
                  "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\" "
                  "stroke-width=\"3\"/>\n",
                  x, y - 4, x + 22, y - 4, color);
    put_text(b, x + 30, y, "start", text);
}

static void put_escaped(rk_buf *b, const char *text)
{
    for (; *text; text++) {
        const char *entity = *text == '<'   ? "&lt;"
                             : *text == '>' ? "&gt;"
                             : *text == '&' ? "&amp;"
                                            : NULL;
        if (entity)
            rk_buf_puts(b, entity);
        else
            rk_buf_add(b, text, 1);
    }
}

static void put_chart(rk_buf *b, const chart *c, bool thinned, const rk_curve *curve)
{
    rk_buf_printf(b,
                  "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" "
                  "height=\"%d\" font-family=\"sans-serif\" font-size=\"13\" fill=\"" TEXT_COLOR
                  "\">\n<rect width=\"%d\" height=\"%d\" fill=\"white\"/>\n",
                  WIDTH, HEIGHT, WIDTH, HEIGHT, WIDTH, HEIGHT);
    rk_buf_printf(b, "<text x=\"%d\" y=\"30\" font-size=\"15\" font-weight=\"bold\">", LEFT);
    put_escaped(b, curve->title);
    rk_buf_puts(b, "</text>\n");
    put_axes(b, c, curve->unit);
    if (thinned)
        put_band(b, c, &c->train);
    put_curve(b, c, &c->train, TRAIN_COLOR);
    put_curve(b, c, &c->val, VAL_COLOR);
    put_dots(b, c, &c->train, TRAIN_COLOR);
    put_dots(b, c, &c->val, VAL_COLOR);
    put_legend(b, 0, &c->train, "training", curve->drawn, TRAIN_COLOR);
    put_legend(b, 1, &c->val, "validation", curve->drawn, VAL_COLOR);
    rk_buf_puts(b, "</svg>\n");
}

static rk_status write_text(const char *dir, const rk_buf *text, rk_error *err)
{
    rk_buf path = {0};
    rk_out *out = NULL;
    rk_buf_printf(&path, "%s/curve.svg", dir);
    rk_status st = text->failed || path.failed
                       ? rk_fail(err, RK_ERR_NOMEM, "%s: out of memory for curve.svg", dir)
                       : rk_out_open(&out, path.data, true, err);
    if (st == RK_OK) {
        rk_out_write(out, text->data, text->len);
        st = rk_out_commit(out, err);
    }
    rk_buf_deinit(&path);
    return st;
}

rk_status rk_curve_write(const char *dir, const rk_curve *curve, rk_error *err)
{
    chart c = {0};
    rk_buf text = {0};
    rk_status st = rk_runlog_read(dir, curve->drawn, add_entry, &c, err);
    if (st == RK_OK && c.train.n > 0) {
        const bool thinned = c.train.n > BUCKETS;
        fit_axes(&c);
        thin(&c.train);
        thin(&c.val);
        put_chart(&text, &c, thinned, curve);
        st = write_text(dir, &text, err);
    }
    rk_buf_deinit(&text);
    free(c.train.at);
    free(c.val.at);
    return st;
}
