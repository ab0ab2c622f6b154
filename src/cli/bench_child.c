/* bench_child.c: the memory that serving one stream takes, measured on a process that does nothing
 * else. The child is a copy of this process from before it opened anything; what it has to say
 * comes back through a pipe. */
#define _DEFAULT_SOURCE /* ru_maxrss */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/bench.h"
#include "cli/mem_max.h"

typedef struct answer {
    rk_status status;
    rk_error err;
    double peak_bytes;
} answer;

static rk_status serve(const bench_options *o, rk_engine *e, const rk_model *m, rk_error *err)
{
    const int64_t n = o->n_prompt + o->n_gen, n_vocab = m->hp.n_vocab;
    rk_session *s = NULL;
    int32_t *tokens = calloc((size_t)n, sizeof *tokens);
    float *logits = calloc((size_t)n_vocab, sizeof *logits);
    rk_status st =
        tokens && logits ? RK_OK : rk_fail(err, RK_ERR_NOMEM, "out of memory for the tokens");
    if (st == RK_OK)
        st = rk_session_new(&s, m, e, err);
    if (st == RK_OK) {
        bench_tokens(tokens, n, n_vocab);
        st = rk_session_eval(s, tokens, o->n_prompt, logits, err);
    }
    for (int64_t i = o->n_prompt; i < n && st == RK_OK; i++)
        st = rk_session_eval(s, tokens + i, 1, logits, err);
    rk_session_free(s);
    free(logits);
    free(tokens);
    return st;
}

static rk_status work(const bench_options *o, rk_error *err)
{
    rk_engine *e = NULL;
    rk_model *m = NULL;
    rk_status st = rk_command_engine(&e, &o->common, NULL, NULL, err);
    if (st == RK_OK)
        st = rk_model_open(&m, o->model, err);
    if (st == RK_OK)
        st = rk_mem_max_apply(&o->common, m, e, &(rk_mem_use){1, 0, 1, 0}, err);
    if (st == RK_OK)
        st = serve(o, e, m, err);
    rk_model_close(m);
    rk_engine_free(e);
    return st;
}

static void child(const bench_options *o, int out)
{
    answer a = {0};
    struct rusage usage;
    a.status = work(o, &a.err);
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        a.peak_bytes = (double)usage.ru_maxrss * 1024.0;
    _exit(write(out, &a, sizeof a) == (ssize_t)sizeof a ? 0 : 1);
}

/* Everything that comes, at most *a; the bytes are few enough to come in one piece. */
static bool receive(int in, answer *a)
{
    ssize_t n;
    do
        n = read(in, a, sizeof *a);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof *a;
}

rk_status bench_child_peak(const bench_options *o, double *peak_bytes, rk_error *err)
{
    int ends[2], status = 0;
    answer a = {0};
    if (pipe(ends) != 0)
        return rk_fail(err, RK_ERR_IO, "a pipe to a child process: %s", strerror(errno));
    fflush(NULL);
    const pid_t pid = fork();
    if (pid == 0)
        child(o, ends[1]);
    close(ends[1]);
    const bool came = pid > 0 && receive(ends[0], &a);
    close(ends[0]);
    if (pid < 0)
        return rk_fail(err, RK_ERR_IO, "a child process: %s", strerror(errno));
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (!came)
        return rk_fail(err, RK_ERR_IO, "the child process that serves one stream ended with %s %d",
                       WIFSIGNALED(status) ? "signal" : "status",
                       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    if (a.status != RK_OK && err)
        *err = a.err;
    *peak_bytes = a.peak_bytes;
    return a.status;
}
