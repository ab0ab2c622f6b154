/* data.c: `rwkv data`: what is done with the data that models are trained on. */
#include <stddef.h>

#include "cli/command.h"

/* A new one is a file and a line here. Ends with NULL. */
static const rk_command *const commands[] = {&rk_cmd_data_pack, &rk_cmd_data_info,
                                             &rk_cmd_data_task, NULL};

const rk_command rk_cmd_data = {
    .name = "data",
    .summary = "pack training data, look into it, make samples of synthetic tasks",
    .usage = "COMMAND [options]",
    .examples = "  rwkv data pack books.txt talks.jsonl -o all.bin --tokenizer world\n"
                "  rwkv data info all.bin --check",
    .commands = commands,
};
