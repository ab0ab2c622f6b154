/* tune_observer.c: `rwkv tune observer`: a small model that tells the states of a larger one. */
#include <string.h>

#include "base/num.h"
#include "cli/command.h"
#include "cli/training.h"

static const rk_option rows[] = {
    RK_OPT_GROUP("observer"),
    {"teacher", 'm', RK_OPT_TEXT, "MODEL", offsetof(rk_training_options, run.teacher), 0, 0,
     RK_REQUIRED, "model whose states are told; it stays as it is"},
    {NULL, 0, RK_OPT_MORE, NULL, 0, 0, 0, NULL, NULL},
};

/* Defaults that are other than those of training a model. */
static const rk_training_default own[] = {
    {"out", RK_REQUIRED,
     "run folder: model.safetensors and observer.safetensors, checkpoints, log.jsonl, curve.svg"},
    {"steps", "5000", NULL},
    {"ctx-len", "256", "tokens of a window; states are compared at a position in it that is drawn"},
    {"batch", "16", NULL},
    {"lr", "1e-3", NULL},
    {"weight-decay", "0", NULL},
    {"eps", "1e-8", NULL},
    {"tokenizer", "the teacher's", NULL},
    {"vocab", "the teacher's", NULL},
    {"n-layer", "half of the teacher's", NULL},
    {"n-embd", "half of the teacher's", NULL},
    {"head-size", "the teacher's", NULL},
    {"arch", "the teacher's", NULL},
};

static void more_rows(rk_option_room *room, size_t offset)
{
    static const char *const without[] = {"init-from", "train-only", "freeze", "freeze-old",
                                          "quant",     "quant-all",  "task",   "ema",
                                          "l2wrap",    NULL};
    const size_t first = room->n;
    rk_training_rows(room, offset, without);
    rk_training_own(room, first, own, RK_COUNT(own));
}

static int observer_main(int argc, char **argv);

const rk_command rk_cmd_tune_observer = {
    .name = "tune observer",
    .summary = "train a small model that tells the states of a larger one",
    .usage = "--teacher MODEL --data FILE --out DIR [options]",
    .options = {rows, RK_COUNT(rows)},
    .more = more_rows,
    .examples = "  rwkv tune observer --teacher model.safetensors --data text.txt --n-layer 2 "
                "--n-embd 64 --steps 5000 --out watch\n"
                "  rwkv tune observer --teacher model.safetensors --data text.txt --out watch "
                "--steps 8000 --resume",
    .main = observer_main,
};

static void say_how_to_run(const rk_training_options *o)
{
    fprintf(stderr,
            "begin with what it tells: rwkv tune -m %s --method state --state-prompt TEXT "
            "--state-observer %s --data FILE --out DIR\n",
            o->run.teacher, o->run.dir);
}

static int observer_main(int argc, char **argv)
{
    rk_training_options o = rk_training_defaults();
    int status = 0;
    o.run.task = "observer";
    o.run.model.steps = 5000;
    o.run.model.ctx_len = 256;
    o.run.model.batch = 16;
    o.run.model.lr = 1e-3;
    o.run.model.weight_decay = 0.0;
    o.run.model.eps = 1e-8;
    if (!rk_command_options(&rk_cmd_tune_observer, argc, argv, &o, &status))
        return status;
    return rk_training_run(&o, say_how_to_run);
}
