/* adapter.c: `rwkv adapter`: what is done with files of adapters and of tuned states. */
#include <stddef.h>

#include "cli/command.h"

/* A new one is a file and a line here. Ends with NULL. */
static const rk_command *const commands[] = {&rk_cmd_adapter_info, &rk_cmd_adapter_convert, NULL};

const rk_command rk_cmd_adapter = {
    .name = "adapter",
    .summary = "look into adapters and tuned states, write them for other programs",
    .usage = "COMMAND [options]",
    .examples = "  rwkv adapter info runs/style\n"
                "  rwkv adapter convert rwkv-0.pth -o style --alpha 32",
    .commands = commands,
};
