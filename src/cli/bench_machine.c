/* bench_machine.c: the limits that speeds are compared with: reading memory and computing in
 * registers, with as many threads as the engine has.
 *
 * Pages are asked to be of 4 KiB, as those of a mapped file are. */
#define _DEFAULT_SOURCE /* madvise(), MAP_ANONYMOUS */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/num.h"
#include "cli/bench.h"
#include "infer/engine.h"
#include "kernels/peak.h"

enum { READ_MIB = 512, PIECE_MIB = 4 };
/* Pieces of work for each thread: several, because one that begins late is made up for by another.
 */
enum { PEAK_PIECES = 8 };
#define PIECE_S 0.005

struct bench_machine {
    rk_engine *engine;
    unsigned char *memory;
    rk_reading reading;
    const char *path;
    int64_t f32_turns, i8_turns; /* of a piece */
};

static void read_piece(void *arg, int64_t i, int worker)
{
    const bench_machine *m = arg;
    const size_t bytes = (size_t)PIECE_MIB << 20;
    (void)worker;
    volatile uint64_t sink = rk_peak_read(m->memory + (size_t)i * bytes, bytes, m->reading);
    (void)sink; /* so that nothing is left out */
}

static void f32_piece(void *arg, int64_t i, int worker)
{
    const bench_machine *m = arg;
    (void)i;
    (void)worker;
    rk_peak_f32(m->path, m->f32_turns);
}

static void i8_piece(void *arg, int64_t i, int worker)
{
    const bench_machine *m = arg;
    (void)i;
    (void)worker;
    rk_peak_i8(m->i8_turns);
}

static double seconds_of(bench_machine *m, int64_t pieces, rk_task_fn *piece)
{
    rk_engine_lock(m->engine);
    const double start = rk_now_s();
    rk_pool_run(rk_engine_pool(m->engine), pieces, piece, m);
    const double seconds = rk_now_s() - start;
    rk_engine_unlock(m->engine);
    return seconds;
}

double bench_machine_read(bench_machine *m)
{
    double rate = 0.0;
    for (int way = 0; way < RK_READINGS; way++) {
        m->reading = (rk_reading)way;
        const double s = seconds_of(m, READ_MIB / PIECE_MIB, read_piece);
        rate = fmax(rate, (double)READ_MIB * 1048576.0 / s);
    }
    return rate;
}

static double peak(bench_machine *m, double operations, rk_task_fn *piece)
{
    const int64_t pieces = (int64_t)PEAK_PIECES * rk_engine_n_threads(m->engine);
    return (double)pieces * operations / seconds_of(m, pieces, piece);
}

double bench_machine_f32(bench_machine *m)
{
    return peak(m, rk_peak_f32(m->path, 1) * (double)m->f32_turns, f32_piece);
}

double bench_machine_i8(bench_machine *m)
{
    return peak(m, rk_peak_i8(1) * (double)m->i8_turns, i8_piece);
}

/* Linux tells it where glibc knows none, as in some virtual machines: "36608K". */
static double cache_in_sys(void)
{
    FILE *f = fopen("/sys/devices/system/cpu/cpu0/cache/index3/size", "r");
    double size = 0.0;
    char unit = 'K';
    if (f && fscanf(f, "%lf%c", &size, &unit) < 1)
        size = 0.0;
    if (f)
        fclose(f);
    return size * (unit == 'M' ? 1048576.0 : 1024.0);
}

double bench_machine_cache(void)
{
#ifdef _SC_LEVEL3_CACHE_SIZE
    const long known = sysconf(_SC_LEVEL3_CACHE_SIZE);
    if (known > 0)
        return (double)known;
#endif
    return cache_in_sys();
}

const char *bench_excess(double share, bool in_caches)
{
    if (share <= 1.0)
        return NULL;
    return in_caches ? "caches" : "disturbed";
}

/* Turns that take about PIECE_S on this machine. */
static int64_t turns_for(bench_machine *m, int64_t *turns, rk_task_fn *piece)
{
    double seconds = 0.0;
    for (*turns = 1000; seconds < PIECE_S / 4; *turns *= 2) {
        const double start = rk_now_s();
        piece(m, 0, 0);
        seconds = rk_now_s() - start;
    }
    return (int64_t)((double)*turns / 2.0 * PIECE_S / seconds);
}

void bench_machine_free(bench_machine *m)
{
    if (!m)
        return;
    if (m->memory)
        munmap(m->memory, (size_t)READ_MIB << 20);
    free(m);
}

rk_status bench_machine_new(bench_machine **out, rk_engine *e, rk_error *err)
{
    const size_t bytes = (size_t)READ_MIB << 20;
    bench_machine *m = calloc(1, sizeof *m);
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m && memory != MAP_FAILED)
        m->memory = memory;
    if (!m || !m->memory) {
        bench_machine_free(m);
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for %d MiB to read", READ_MIB);
    }
#ifdef MADV_NOHUGEPAGE
    madvise(m->memory, bytes, MADV_NOHUGEPAGE);
#endif
    memset(m->memory, 1, bytes);
    m->engine = e;
    m->path = rk_engine_path(e);
    m->f32_turns = turns_for(m, &m->f32_turns, f32_piece);
    m->i8_turns = turns_for(m, &m->i8_turns, i8_piece);
    *out = m;
    return RK_OK;
}
