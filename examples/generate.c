/* generate.c: text from a model. Usage: generate MODEL PROMPT N [VOCAB] */
#include <rk.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Sample n tokens after the prompt and print them as they come. */
static rk_status write_text(rk_session *s, rk_sampler *sampler, const rk_tokenizer *tokenizer,
                            rk_decoder *decoder, float *logits, long n, rk_error *err)
{
    rk_status st = RK_OK;
    size_t bytes;
    for (long i = 0; i < n && st == RK_OK; i++) {
        int32_t token;
        st = rk_sampler_next(sampler, logits, &token, err);
        if (st != RK_OK || rk_tokenizer_ends(tokenizer, token))
            break;
        fputs(rk_decoder_push(decoder, token, &bytes), stdout);
        fflush(stdout);
        st = rk_session_eval(s, &token, 1, logits, err);
    }
    puts(rk_decoder_flush(decoder, &bytes));
    return st;
}

int main(int argc, char **argv)
{
    if (argc < 4 || !*argv[2]) {
        fputs("usage: generate MODEL PROMPT N [VOCAB]\n", stderr);
        return 2;
    }
    const char *prompt = argv[2];
    rk_error err;
    rk_engine *engine;
    rk_model *model;
    rk_tokenizer *tokenizer;
    rk_session *session;
    rk_sampler *sampler;
    rk_decoder *decoder;
    rk_model_info info;
    const rk_sampler_params params = rk_sampler_defaults();
    if (rk_engine_new(&engine, NULL, &err) || rk_model_open(&model, argv[1], &err) ||
        rk_tokenizer_new(&tokenizer, argc > 4 ? argv[4] : "byte", &err) ||
        rk_session_new(&session, model, engine, &err) || rk_decoder_new(&decoder, tokenizer, &err))
        return fprintf(stderr, "generate: %s\n", err.msg), 1;
    rk_model_get_info(model, &info);
    const int64_t room = 3 * (int64_t)strlen(prompt); /* the most that any vocabulary makes of it */
    int32_t *tokens = malloc((size_t)room * sizeof *tokens);
    float *logits = malloc((size_t)info.n_vocab * sizeof *logits);
    if (!tokens || !logits)
        return 1;
    const int64_t n = rk_tokenizer_encode(tokenizer, prompt, strlen(prompt), tokens, room);
    fputs(prompt, stdout);
    if (rk_sampler_new(&sampler, &params, info.n_vocab, tokenizer, &err) ||
        rk_session_eval(session, tokens, n, logits, &err) ||
        write_text(session, sampler, tokenizer, decoder, logits, strtol(argv[3], NULL, 10), &err))
        return fprintf(stderr, "generate: %s\n", err.msg), 1;
    return 0; /* the system takes everything back */
}
