/* train.c: `rwkv train`. */
#include <string.h>

#include "base/num.h"
#include "cli/command.h"
#include "cli/training.h"

static const rk_option rows[] = {{NULL, 0, RK_OPT_MORE, NULL, 0, 0, 0, NULL, NULL}};

static void more_rows(rk_option_room *room, size_t offset)
{
    rk_training_rows(room, offset, NULL);
}

static int train_main(int argc, char **argv);

const rk_command rk_cmd_train = {
    .name = "train",
    .summary = "train a model on text, stop it, continue it to the bit",
    .usage = "(--data FILE | --task NAME) --out DIR [options]",
    .options = {rows, RK_COUNT(rows)},
    .more = more_rows,
    .examples =
        "  rwkv train --data shakespeare.txt --out run --n-layer 4 --n-embd 128 --head-size 32 "
        "--ctx-len 64 --batch 12 --steps 2000 --lr 1e-3\n"
        "  rwkv train --data notes.jsonl --out run --init-from RWKV-x070-World-0.4B.pth "
        "--train-only "
        "att --freeze 'blocks.[0-9].*' --steps 500 --resume",
    .main = train_main,
};

static void say_how_to_run(const rk_training_options *o)
{
    const char *vocab = o->run.tokenizer;
    if (o->data.n == 0) {
        fprintf(stderr, "measure it: rwkv eval -m %s --task %s\n", o->run.dir, o->run.task);
        return;
    }
    const bool known = !vocab || !strcmp(vocab, "byte") || !strcmp(vocab, "world");
    fprintf(stderr, "run it: rwkv run -m %s%s%s -p TEXT\n", o->run.dir, known ? "" : " --vocab ",
            known ? "" : vocab);
}

static int train_main(int argc, char **argv)
{
    rk_training_options o = rk_training_defaults();
    int status = 0;
    if (!rk_command_options(&rk_cmd_train, argc, argv, &o, &status))
        return status;
    return rk_training_run(&o, say_how_to_run);
}
