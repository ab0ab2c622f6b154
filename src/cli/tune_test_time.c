/* tune_test_time.c: `rwkv tune test-time`: an initial state that is learned from a model's own chains. */
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "cli/command.h"
#include "cli/training.h"
#include "io/path.h"

#define RUN(member) offsetof(rk_training_options, run.member)
#define TEST(member) RUN(test_time.member)

static const rk_option rows[] = {
    RK_OPT_GROUP("test time"),
    {"model", 'm', RK_OPT_TEXT, "FILE", RUN(model.init_from), 0, 0, RK_REQUIRED,
     "model whose weights stay as they are"},
    {"task", 0, RK_OPT_TEXT, "NAME", TEST(task), 0, 0, "addition",
     "where problems come from: a synthetic task with an answer behind a prompt, as addition, "
     "copy, sort, "
     "reverse"},
    {"rounds", 0, RK_OPT_INT, "K", RUN(model.steps), 1, 100000, "8",
     "steps: each draws chains for all problems and changes the state once"},
    {"chains", 0, RK_OPT_INT, "G", TEST(chains), 2, 4096, "8", "of each problem"},
    {"questions", 0, RK_OPT_INT, "N", TEST(problems), 1, 65536, "32", "that are to be solved"},
    {"verifier", 0, RK_OPT_CHOICE, "off|on", TEST(verifier), 0, 0, "on",
     "a right answer is worth 1"},
    {"judge", 0, RK_OPT_TEXT, "FILE", TEST(judge), 0, 0, NULL,
     "a larger model of the same vocabulary: chains that it finds likely are worth up to 0.5 more"},
    {"kl", 0, RK_OPT_NUMBER, "X", TEST(beta), 0, 1e3, "0.02",
     "weight of the divergence from what the model says without the learned state"},
    {"temp", 0, RK_OPT_NUMBER, "X", TEST(temp), 0, 10, "0.8", "temperature of the chains"},
    {"max-tokens", 0, RK_OPT_INT, "N", TEST(max_tokens), 1, 1 << 20, "512", "of a chain"},
    {"state", 0, RK_OPT_TEXT, "FILE", RUN(model.init_state), 0, 0, NULL,
     "begin with this tuned state"},
    {NULL, 0, RK_OPT_MORE, NULL, 0, 0, 0, NULL, NULL},
};

/* Defaults that are other than those of training a model. */
static const rk_training_default own[] = {
    {"out", RK_REQUIRED,
     "run folder: state.pth, test-time.json, checkpoints, log.jsonl, curve.svg"},
    {"micro-batch", "a problem's", "chains computed at once: less takes less memory"},
    {"eval-every", "the last", "steps between measurements of the state, which draw chains, too"},
    {"lr", "1e-2", NULL},
    {"lr-final", "as --lr", NULL},
    {"warmup", "0", NULL},
    {"weight-decay", "0", NULL},
    {"eps", "1e-8", NULL},
    {"seed", NULL, "of the problems and of what is drawn"},
};

static void more_rows(rk_option_room *room, size_t offset)
{
    static const char *const without[] = {
        "init-from", "train-only", "freeze",      "freeze-old",   "ema",
        "task",      "data",       "data-weight", "tokenizer",    "vocab",
        "val-frac",  "packing",    "order",       "doc-boundary", "template",
        "steps",     "ctx-len",    "batch",       "grad-slices",  "dropout",
        "l2wrap",    "quant",      "quant-all",   "arch",         NULL};
    const size_t first = room->n;
    room->rows[room->n++] = (rk_option)RK_OPT_GROUP(
        "parameters of the task; 'rwkv data task --list' shows which task has which");
    rk_task_rows(room, offset + offsetof(rk_training_options, task_params));
    rk_training_rows(room, offset, without);
    rk_training_own(room, first, own, RK_COUNT(own));
}

static int test_time_main(int argc, char **argv);

const rk_command rk_cmd_tune_test_time = {
    .name = "tune test-time",
    .summary = "learn a state from a model's own attempts at problems, by reward",
    .usage = "-m MODEL --task NAME --out DIR [options]",
    .options = {rows, RK_COUNT(rows)},
    .more = more_rows,
    .examples = "  rwkv tune test-time -m model.safetensors --task addition --rounds 8 --chains 8 "
                "--out solved\n"
                "  rwkv tune test-time -m small.safetensors --task addition --digits 2 --verifier "
                "off --judge large.safetensors --out solved",
    .main = test_time_main,
};

/* test-time.json in words. */
static void say_result(const rk_training_options *o)
{
    char *path = rk_path_join(o->run.dir, "test-time.json");
    json_t *r = path ? json_load_file(path, 0, NULL) : NULL;
    json_int_t tokens = 0;
    double tuned = 0, base = 0, voting = 0;
    if (r && !json_unpack(r, "{s:I, s:F, s:F, s:F}", "tokens", &tokens, "tuned_majority", &tuned,
                          "base_majority", &base, "voting_majority", &voting))
        fprintf(
            stderr,
            "majority right: %.3f with the state, %.3f before, %.3f of plain voting with as many "
            "tokens (%lld)\nrun it: rwkv run -m %s --state %s/state.pth -p TEXT\n",
            tuned, base, voting, (long long)tokens, o->run.model.init_from, o->run.dir);
    json_decref(r);
    free(path);
}

static int test_time_main(int argc, char **argv)
{
    rk_training_options o = rk_training_defaults();
    rk_run_params *run = &o.run;
    int status = 0;
    run->task = "test-time";
    run->test_time.task = "addition";
    run->tune.method = "state";
    run->eval_every = 100000;
    run->model.steps = 8;
    run->model.lr = 1e-2;
    run->model.lr_final = -1.0;
    run->model.warmup = 0;
    run->model.weight_decay = 0.0;
    run->model.eps = 1e-8;
    run->model.l2wrap = 0.0;
    if (!rk_command_options(&rk_cmd_tune_test_time, argc, argv, &o, &status))
        return status;
    if (run->model.lr_final < 0.0)
        run->model.lr_final = run->model.lr;
    run->model.batch = run->test_time.problems * run->test_time.chains;
    if (run->model.micro_batch == 0)
        run->model.micro_batch = run->test_time.chains;
    return rk_training_run(&o, say_result);
}
