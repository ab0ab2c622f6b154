/* progress.c: a bar, a rate and the time left.
 *
 *     [=========>          ]  920/2000  loss 1.7312  10240 tok/s  0:01:21 left
 *
 * The rate is that of the whole sitting: the rate of the last second jumps about, and with it the
 * time left. The bar takes what the terminal's width leaves and is dropped on narrow ones. */
#include "train/progress.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"

enum { BAR_MIN = 10, BAR_MAX = 40, WIDTH_DEFAULT = 80 };

static const double terminal_every_s = 0.1, plain_every_s = 10.0;

void rk_progress_init(rk_progress *p, FILE *out, int64_t first, int64_t steps,
                      int64_t tokens_of_step)
{
    *p = (rk_progress){.out = out,
                       .terminal = out && isatty(fileno(out)),
                       .first = first,
                       .steps = steps,
                       .tokens_of_step = tokens_of_step,
                       .began_s = rk_now_s(),
                       .shown_s = -1e9,
                       .loss = (double)NAN};
}

static int terminal_width(FILE *out)
{
    struct winsize w = {0};
    return ioctl(fileno(out), TIOCGWINSZ, &w) == 0 && w.ws_col > 0 ? w.ws_col : WIDTH_DEFAULT;
}

/* "h:mm:ss" */
static void put_duration(char *text, size_t size, double s)
{
    const int64_t n = s < 1e9 ? (int64_t)(s + 0.5) : 999999999;
    snprintf(text, size, "%" PRId64 ":%02d:%02d", n / 3600, (int)(n / 60 % 60), (int)(n % 60));
}

static void put_figures(const rk_progress *p, int64_t step, char *text, size_t size)
{
    const double elapsed = rk_now_s() - p->began_s;
    const double rate = (double)(step - p->first) / fmax(elapsed, 1e-9);
    char left[32];
    put_duration(left, sizeof left, (double)(p->steps - step) / fmax(rate, 1e-9));
    snprintf(text, size, "%" PRId64 "/%" PRId64 "  loss %.4f  %.0f tok/s  %s left", step, p->steps,
             p->loss, rate * (double)p->tokens_of_step, left);
}

static void show_bar(rk_progress *p, int64_t step, const char *figures)
{
    const int width = terminal_width(p->out), room = width - 1 - (int)strlen(figures) - 4;
    const int bar = room > BAR_MAX ? BAR_MAX : room;
    fputs("\r\033[K", p->out);
    if (bar >= BAR_MIN) {
        const int done = (int)((double)step / (double)p->steps * bar);
        fputc('[', p->out);
        for (int i = 0; i < bar; i++)
            fputc(i < done ? '=' : i == done ? '>' : ' ', p->out);
        fputs("]  ", p->out);
    }
    fprintf(p->out, "%.*s", width - 1, figures);
    fflush(p->out);
    p->line_open = true;
}

void rk_progress_step(rk_progress *p, int64_t step, double loss)
{
    if (isfinite(loss))
        p->loss = isfinite(p->loss) ? 0.95 * p->loss + 0.05 * loss : loss;
    const double now = rk_now_s(), every = p->terminal ? terminal_every_s : plain_every_s;
    if (!p->out || (now - p->shown_s < every && step < p->steps))
        return;
    p->shown_s = now;
    char figures[160];
    put_figures(p, step, figures, sizeof figures);
    if (p->terminal)
        show_bar(p, step, figures);
    else
        fprintf(p->out, "step %s\n", figures);
}

void rk_progress_note(rk_progress *p, const char *fmt, ...)
{
    if (!p->out)
        return;
    if (p->line_open)
        fputs("\r\033[K", p->out);
    p->line_open = false;
    va_list args;
    va_start(args, fmt);
    vfprintf(p->out, fmt, args);
    va_end(args);
    fputc('\n', p->out);
}

void rk_progress_end(rk_progress *p)
{
    if (p->line_open)
        fputc('\n', p->out);
    p->line_open = false;
}
