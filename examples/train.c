/* train.c: a tiny byte model learns a text file. Usage: train TEXT STEPS OUT.safetensors */
#include <rk.h>
#include <stdio.h>
#include <stdlib.h>

/* All bytes of a file; NULL when it cannot be read. */
static unsigned char *read_all(const char *path, long *n)
{
    FILE *f = fopen(path, "rb");
    unsigned char *bytes = NULL;
    if (f && fseek(f, 0, SEEK_END) == 0 && (*n = ftell(f)) > 0 && fseek(f, 0, SEEK_SET) == 0)
        bytes = malloc((size_t)*n);
    if (bytes && fread(bytes, 1, (size_t)*n, f) != (size_t)*n)
        *n = 0;
    if (f)
        fclose(f);
    return bytes;
}

int main(int argc, char **argv)
{
    long n = 0;
    unsigned char *text = argc == 4 ? read_all(argv[1], &n) : NULL;
    static const rk_size sizes[] = {
        {"n_vocab", 256}, {"n_layer", 2}, {"n_embd", 64}, {"head_size", 16}};
    rk_train_params p = rk_train_defaults();
    p.arch = "rwkv7";
    p.sizes = sizes;
    p.n_sizes = sizeof sizes / sizeof *sizes;
    p.ctx_len = 64;
    p.batch = 4;
    p.lr = 3e-3;
    p.steps = argc == 4 ? strtol(argv[2], NULL, 10) : 0;
    const long row = (long)p.ctx_len + 1;
    if (n <= row) {
        fputs("usage: train TEXT STEPS OUT.safetensors; the text has 66 bytes or more\n", stderr);
        return 2;
    }
    rk_error err;
    rk_engine *engine;
    rk_trainer *trainer;
    int32_t tokens[4 * 65];
    if (rk_engine_new(&engine, NULL, &err) || rk_trainer_new(&trainer, &p, engine, &err))
        return fprintf(stderr, "train: %s\n", err.msg), 1;
    for (long step = 0; step < p.steps; step++) {
        rk_step_info info;
        for (long i = 0; i < 4 * row; i++) /* windows that walk through the text */
            tokens[i] = text[((step * 4 + i / row) * 61 % (n - row)) + i % row];
        if (rk_trainer_step(trainer, tokens, &info, &err))
            return fprintf(stderr, "train: %s\n", err.msg), 1;
        printf("step %ld: %.3f nats a byte\n", step + 1, info.loss);
    }
    if (rk_trainer_save_model(trainer, argv[3], &err))
        return fprintf(stderr, "train: %s\n", err.msg), 1;
    rk_trainer_free(trainer);
    rk_engine_free(engine);
    free(text);
    return 0;
}
