/* meter.c: rate and time left are those of the work so far, since its beginning. */
#include "cli/meter.h"

#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"

/* Seconds between two lines, the first of which comes as long after the beginning. */
#define TERMINAL_S 0.5
#define LOG_S 30.0

rk_meter rk_meter_begin(const char *what, const char *unit, double per, bool quiet)
{
    const double now = rk_now_s();
    return (rk_meter){.what = what,
                      .unit = unit,
                      .per = per,
                      .begun = now,
                      .shown = now,
                      .quiet = quiet,
                      .terminal = isatty(STDERR_FILENO) != 0};
}

/* "53 s", "12 min" or "3.5 h". */
static void describe_time(double seconds, char text[32])
{
    if (seconds < 120.0)
        snprintf(text, 32, "%.0f s", seconds);
    else if (seconds < 7200.0)
        snprintf(text, 32, "%.0f min", seconds / 60.0);
    else
        snprintf(text, 32, "%.1f h", seconds / 3600.0);
}

void rk_meter_show(rk_meter *m, int64_t done, int64_t all)
{
    const double now = rk_now_s(), seconds = now - m->begun;
    char left[32];
    if (m->quiet || done <= 0 || now - m->shown < (m->terminal ? TERMINAL_S : LOG_S))
        return;
    const double rate = (double)done / seconds;
    const int digits = m->per > 1.0;
    describe_time((double)(all - done) / rate, left);
    fprintf(stderr, "%s%s: %.*f of %.*f %s, %.*f %s/s, %s left%s",
            m->terminal ? "\r" : "rwkv: ", m->what, digits, (double)done / m->per, digits,
            (double)all / m->per, m->unit, rate / m->per < 10.0 ? 2 : 0, rate / m->per, m->unit,
            left, m->terminal ? "\x1b[K" : "\n");
    fflush(stderr);
    m->shown = now;
    m->visible = m->terminal;
}

void rk_meter_progress(void *meter, int64_t done, int64_t all)
{
    rk_meter_show(meter, done, all);
}

void rk_meter_end(rk_meter *m)
{
    if (!m->visible)
        return;
    fputs("\r\x1b[K", stderr);
    fflush(stderr);
    m->visible = false;
}
