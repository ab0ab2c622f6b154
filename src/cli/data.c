/* data.c: `rwkv data`: what is done with the data that models are trained on. */
#include <stddef.h>

#include "cli/command.h"

/* A new one is a file and a line here. Ends with NULL. */
static const rk_command *const commands[] = {&rk_cmd_data_info, &rk_cmd_data_task, NULL};

const rk_command rk_cmd_data = {
    .name = "data",
    .summary = "look into training data, make samples of synthetic tasks",
    .usage = "COMMAND [options]",
    .examples = "  rwkv data info notes.jsonl --tokenizer world\n"
                "  rwkv data info shakespeare.txt --json",
    .commands = commands,
};
