/* distill.c: `rwkv distill`: a model of another architecture learns what a teacher knows. */
#include <math.h>
#include <string.h>

#include "base/num.h"
#include "cli/command.h"
#include "cli/training.h"
#include "train/distill.h"

typedef struct distill_options {
    rk_training_options training; /* comes first: what is common takes the one for the other */
    int stage, preset;            /* positions in the choices of their rows */
} distill_options;

enum { ALIGN, DIVERGE, SFT, DPO, N_STAGES };
enum { OWN, PAPER, RADLADS, N_PRESETS };
#define STAGES "1|2|sft|dpo"
#define PRESETS "own|paper|radlads"

#define RUN(member) offsetof(distill_options, training.run.member)

static const rk_option rows[] = {
    RK_OPT_GROUP("distillation"),
    {"teacher", 0, RK_OPT_TEXT, "MODEL", RUN(distill.teacher), 0, 0, NULL,
     "model with the same vocabulary that is learned from: a file of any type, or a folder"},
    {"model", 'm', RK_OPT_TEXT, "FILE", RUN(model.init_from), 0, 0, "made of the teacher",
     "student to go on with; without, one of --arch (arwkv7) is made, with the teacher's sizes"},
    {"stage", 0, RK_OPT_CHOICE, STAGES, offsetof(distill_options, stage), 0, 0, "1",
     "1: each layer's mixer against the teacher's; 2: the divergence of the next token; sft: "
     "cross-entropy, without a teacher; dpo: pairs of answers, beside a reference"},
    {"init", 0, RK_OPT_CHOICE, "copy|copy-scaled|random", RUN(distill.start), 0, 0, "copy-scaled",
     "what the mixers of a new student begin with: the teacher's projections, these times 0.5, 0.3 "
     "for values, or nothing of it"},
    {"layers", 0, RK_OPT_TEXT, "WHICH", RUN(distill.layers), 0, 0, "all",
     "layers that are converted: all; a list, 0-3,5; or auto:N, all but N, those where -m, which "
     "stage 1 has left, is furthest from attention. The others keep the teacher's attention"},
    {"preset", 0, RK_OPT_CHOICE, PRESETS, offsetof(distill_options, preset), 0, 0, "own",
     "rates, decay and start as here, as in arXiv 2501.15570 or as in 2505.03005; other options "
     "win"},
    {"kl-weight", 0, RK_OPT_NUMBER, "X", RUN(distill.kl_weight), 0, 1e3, "1",
     "stage 2: weight of the divergence"},
    {"ce-weight", 0, RK_OPT_NUMBER, "X", RUN(distill.ce_weight), 0, 1e3, "0",
     "stage 2: weight of the cross-entropy beside it"},
    {"adaptive-kl", 0, RK_OPT_FLAG, NULL, RUN(distill.adaptive), 0, 0, NULL,
     "stage 2: both directions of the divergence, weighed by where the models differ"},
    {"detach-v-first", 0, RK_OPT_FLAG, NULL, RUN(distill.detached), 0, 0, NULL,
     "stage 2: the first layer's values are passed to the others without a gradient"},
    {"reference", 0, RK_OPT_TEXT, "MODEL", RUN(distill.reference), 0, 0, "-m",
     "dpo: the model that stays as it is"},
    {"beta", 0, RK_OPT_NUMBER, "X", RUN(distill.beta), 0, 1e3, "0.1",
     "dpo: how much a margin over the reference counts"},
    {"label-smoothing", 0, RK_OPT_NUMBER, "X", RUN(distill.smoothing), 0, 0.5, "0",
     "dpo: how likely a pair is the wrong way round"},
    {"dpo-loss", 0, RK_OPT_CHOICE, "sigmoid|hinge", RUN(distill.hinge), 0, 0, "sigmoid",
     "dpo: the logistic loss of the margin, or max(0, 1 - beta margin)"},
    {NULL, 0, RK_OPT_MORE, NULL, 0, 0, 0, NULL, NULL},
};

/* What a preset says of a stage. */
static const struct {
    double lr, lr_final, weight_decay;
    const char *schedule;
    int start;
} presets[N_PRESETS][N_STAGES] = {
    [OWN] = {{2e-3, 2e-5, 0, "cosine", RK_STUDENT_COPY_SCALED},
             {1e-3, 1e-4, 0, "cosine", RK_STUDENT_COPY_SCALED},
             {1e-4, 1e-5, 0, "cosine", RK_STUDENT_COPY_SCALED},
             {1e-5, 1e-6, 0, "cosine", RK_STUDENT_COPY_SCALED}},
    [PAPER] = {{1e-4, 1e-4, 0.1, "constant", RK_STUDENT_RANDOM},
               {1e-4, 1e-4, 0.1, "constant", RK_STUDENT_RANDOM},
               {1e-4, 1e-4, 0.1, "constant", RK_STUDENT_RANDOM},
               {1e-5, 1e-6, 0, "cosine", RK_STUDENT_RANDOM}},
    [RADLADS] = {{1e-3, 1e-5, 0, "cosine", RK_STUDENT_COPY},
                 {1e-5, 1e-5, 0, "constant", RK_STUDENT_COPY},
                 {1e-5, 1e-5, 0, "constant", RK_STUDENT_COPY},
                 {1e-5, 1e-6, 0, "cosine", RK_STUDENT_COPY}},
};

/* Defaults that are other than those of training a model. */
static const rk_training_default own[] = {
    {"arch", "arwkv7", NULL},
    {"tokenizer", "the teacher's", NULL},
    {"vocab", "the teacher's", NULL},
    {"lr", "2e-3, stage 2 1e-3, sft 1e-4, dpo 1e-5", NULL},
    {"lr-final", "stage 1 a hundredth, others a tenth", NULL},
    {"l2wrap", "the recipe's: 0 of arwkv7", NULL},
    {"weight-decay", "0", NULL},
    {"beta2", "0.95", NULL},
    {"eps", "1e-8", NULL},
    {"warmup", "50", NULL},
    {"train-only", "stage 1: the mixers", NULL},
    {"eval-every", "100", NULL},
};

static void more_rows(rk_option_room *room, size_t offset)
{
    static const char *const without[] = {"init-from", "task", "ema", NULL};
    const size_t first = room->n;
    rk_training_rows(room, offset, without);
    rk_training_own(room, first, own, RK_COUNT(own));
}

static int distill_main(int argc, char **argv);

const rk_command rk_cmd_distill = {
    .name = "distill",
    .summary = "make a recurrent model of a transformer: layer by layer, then word by word",
    .usage = "--teacher MODEL --data FILE --out DIR [--stage 1|2|sft|dpo] [-m STUDENT] [options]",
    .options = {rows, RK_COUNT(rows)},
    .more = more_rows,
    .examples = "  rwkv distill --teacher teacher/model.safetensors --arch arwkv7 --data text.txt "
                "--stage 1 --steps 300 --out s1\n"
                "  rwkv distill --teacher teacher/model.safetensors -m s1/model.safetensors --data "
                "text.txt --stage 2 --freeze '*.mlp.*' --steps 500 --out s2",
    .main = distill_main,
};

enum { NOT_SAID = -1 }; /* no value of the options that a preset has */

static distill_options defaults(void)
{
    distill_options o = {.training = rk_training_defaults()};
    rk_run_params *run = &o.training.run;
    run->distill.start = NOT_SAID;
    run->model.lr = run->model.lr_final = run->model.weight_decay = NOT_SAID;
    run->model.schedule = NULL;
    run->model.beta2 = 0.95;
    run->model.eps = 1e-8;
    run->model.warmup = 50;
    run->eval_every = 100;
    return o;
}

static void take_preset(distill_options *o)
{
    rk_run_params *run = &o->training.run;
    rk_train_params *m = &run->model;
    if (run->distill.start == NOT_SAID)
        run->distill.start = presets[o->preset][o->stage].start;
    const double lr = presets[o->preset][o->stage].lr, end = presets[o->preset][o->stage].lr_final;
    if (m->lr_final < 0.0)
        m->lr_final = m->lr < 0.0 ? end : m->lr / nearbyint(lr / end); /* it falls as far */
    if (m->lr < 0.0)
        m->lr = lr;
    if (m->weight_decay < 0.0)
        m->weight_decay = presets[o->preset][o->stage].weight_decay;
    if (!m->schedule)
        m->schedule = presets[o->preset][o->stage].schedule;
}

static rk_status settle(distill_options *o, rk_error *err)
{
    static const char *const tasks[N_STAGES] = {"align", "distill", "next-token", "dpo"};
    rk_run_params *run = &o->training.run;
    run->task = tasks[o->stage];
    take_preset(o);
    if (run->distill.layers && !run->distill.teacher)
        return rk_fail(err, RK_ERR_ARG, "--layers keeps the attention of a --teacher");
    if (run->distill.layers && !strcmp(run->distill.layers, "all"))
        run->distill.layers = NULL;
    const bool taught = o->stage == ALIGN || o->stage == DIVERGE;
    if (taught && !run->distill.teacher)
        return rk_fail(err, RK_ERR_ARG, "--teacher MODEL is missing");
    if (!taught && run->distill.teacher)
        return rk_fail(err, RK_ERR_ARG, "--stage %s has no teacher",
                       o->stage == SFT ? "sft" : "dpo");
    if (!taught && !run->model.init_from && !run->resume)
        return rk_fail(err, RK_ERR_ARG, "--stage %s needs a student: -m MODEL",
                       o->stage == SFT ? "sft" : "dpo");
    if (o->stage != DPO && run->distill.reference)
        return rk_fail(err, RK_ERR_ARG, "--reference is that of --stage dpo");
    if (o->stage == ALIGN && o->training.train_only.n == 0)
        o->training.train_only.at[o->training.train_only.n++] = "*.self_attn.*";
    return RK_OK;
}

static void say_how_to_run(const rk_training_options *o)
{
    fprintf(stderr, "run it: rwkv run -m %s -p TEXT\n", o->run.dir);
}

static int distill_main(int argc, char **argv)
{
    distill_options o = defaults();
    rk_error err = {0};
    int status = 0;
    if (!rk_command_options(&rk_cmd_distill, argc, argv, &o, &status))
        return status;
    if (settle(&o, &err) != RK_OK)
        return rk_command_fail(&err);
    return rk_training_run(&o.training, say_how_to_run);
}
