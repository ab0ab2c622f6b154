/* test_options.c: the option parser. It belongs to the program and not to the library, so that its
 * source is compiled in here. */
#include "cli/options.c"
#include "cli/suggest.c"

#include "test_util.h"

typedef struct sample {
    rk_common_options common;
    const char *model, *prompt;
    int64_t n;
    double temp, scale;
    rk_opt_list stop;
    int dtype;
    bool echo;
} sample;

static const rk_option rows[] = {
    RK_OPT_GROUP("sample"),
    {"model", 'm', RK_OPT_TEXT, "FILE", offsetof(sample, model), 0, 0, RK_REQUIRED, "a model"},
    {"prompt", 'p', RK_OPT_TEXT, "TEXT", offsetof(sample, prompt), 0, 0, NULL, "a prompt"},
    {"n", 'n', RK_OPT_INT, "N", offsetof(sample, n), 0, 100, "64", "tokens"},
    {"temp", 0, RK_OPT_NUMBER, "T", offsetof(sample, temp), 0, 2, "1", "temperature"},
    {"scale", 0, RK_OPT_ABOVE, "X", offsetof(sample, scale), 0, 2, "1", "scale"},
    {"stop", 0, RK_OPT_LIST, "TEXT", offsetof(sample, stop), 0, 0, NULL, "stop at"},
    {"dtype", 0, RK_OPT_CHOICE, "f32|bf16|f16", offsetof(sample, dtype), 0, 0, "f32", "type"},
    {"echo", 'e', RK_OPT_FLAG, NULL, offsetof(sample, echo), 0, 0, NULL, "echo"},
    {"any", 0, RK_OPT_INT, "N", offsetof(sample, common.n_threads), 0, 0, NULL, "any number"},
    RK_COMMON_ROWS(sample, common),
};
static const rk_option_table table = {rows, RK_COUNT(rows)};

#define PARSE(s, err, ...)                                                                         \
    parse((s), (err), (char *[]){__VA_ARGS__}, (int)RK_COUNT(((char *[]){__VA_ARGS__})))

static rk_status parse(sample *s, rk_error *err, char **argv, int argc)
{
    bool help;
    *s = (sample){.n = 64, .temp = 1.0};
    return rk_options_parse(table, argc, argv, s, &help, err);
}

static void test_forms(void **state)
{
    (void)state;
    sample s;
    rk_error err = {0};
    char m[] = "-m", x[] = "x", pr[] = "-p", dash[] = "-", n3[] = "-n3", temp[] = "--temp=0.5",
         stop[] = "--stop", a[] = "a", stop_b[] = "--stop=--b", dt[] = "--dtype", bf16[] = "bf16",
         e[] = "-e", t[] = "-t", two[] = "2";
    test_ok(PARSE(&s, &err, m, x, pr, dash, n3, temp, stop, a, stop_b, dt, bf16, e, t, two), &err);
    assert_string_equal(s.model, "x");
    assert_string_equal(s.prompt, "-");
    assert_int_equal(s.n, 3);
    assert_true(s.temp == 0.5);
    assert_int_equal(s.stop.n, 2);
    assert_string_equal(s.stop.at[0], "a");
    assert_string_equal(s.stop.at[1], "--b");
    assert_int_equal(s.dtype, 1);
    assert_true(s.echo);
    assert_int_equal(s.common.n_threads, 2);
    char empty[] = "--prompt=";
    test_ok(PARSE(&s, &err, m, x, empty), &err);
    assert_string_equal(s.prompt, "");
}

/* Each is refused with a sentence that holds the second column. */
static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *words[3];
        const char *sentence;
    } cases[] = {
        {{"--frob"}, "unknown option '--frob'"},
        {{"--mod=x"}, "unknown option '--mod=x'"},
        {{"-z"}, "unknown option '-z'"},
        {{"-ev"}, "unknown option '-ev'"},
        {{"--"}, "unknown option '--'"},
        {{"-"}, "unknown option '-'"},
        {{""}, "unknown argument ''"},
        {{"file"}, "unknown argument 'file'"},
        {{"--echo=1"}, "--echo takes no value"},
        {{"-n"}, "--n needs a value"},
        {{"--temp"}, "--temp needs a value: --temp T"},
        {{"-n", "x"}, "--n: 'x' is not a whole number"},
        {{"-n", ""}, "--n: '' is not a whole number"},
        {{"-n", " 1"}, "is not a whole number"},
        {{"-n", "1 "}, "is not a whole number"},
        {{"-n", "1.5"}, "is not a whole number"},
        {{"-n", "101"}, "--n: 101 is outside 0 to 100"},
        {{"-n", "-1"}, "--n: -1 is outside 0 to 100"},
        {{"--any", "9223372036854775808"}, "does not fit 64 bits"},
        {{"--temp", "warm"}, "--temp: 'warm' is not a number"},
        {{"--temp", "nan"}, "is not a number"},
        {{"--temp", "inf"}, "is not a number"},
        {{"--temp", "1e999"}, "is not a number"},
        {{"--temp", "2.01"}, "--temp: 2.01 is outside 0 to 2"},
        {{"--scale", "0"}, "--scale: 0 is outside above 0, at most 2"},
        {{"--scale", "2.01"}, "--scale: 2.01 is outside above 0, at most 2"},
        {{"--tmep", "1"}, "unknown option '--tmep' (did you mean --temp?)"},
        {{"--dtyp=f32"}, "unknown option '--dtyp=f32' (did you mean --dtype?)"},
        {{"--temperature", "1"}, "unknown option '--temperature' (did you mean --temp?)"},
        {{"--promt", "1"}, "(did you mean --prompt?)"},
        {{"--dtype", "f8"}, "--dtype: 'f8' is none of f32|bf16|f16"},
        {{"--dtype", "f32|bf16"}, "is none of"},
        {{"--dtype", ""}, "is none of"},
        {{"-t", "0"}, "--threads: 0 is outside 1 to 1024"},
        {{"-e"}, "--model FILE is missing"},
    };
    for (size_t i = 0; i < RK_COUNT(cases); i++) {
        sample s;
        rk_error err = {0};
        char words[3][64], *argv[3];
        int argc = 0;
        for (; argc < 3 && cases[i].words[argc]; argc++) {
            snprintf(words[argc], sizeof words[argc], "%s", cases[i].words[argc]);
            argv[argc] = words[argc];
        }
        assert_int_equal(parse(&s, &err, argv, argc), RK_ERR_ARG);
        if (!strstr(err.msg, cases[i].sentence))
            fail_msg("case %zu: '%s' does not hold '%s'", i, err.msg, cases[i].sentence);
    }
}

static void test_limits(void **state)
{
    (void)state;
    sample s;
    rk_error err = {0};
    char m[] = "--model=x", any[] = "--any", most[] = "9223372036854775807",
         least[] = "-9223372036854775808";
    test_ok(PARSE(&s, &err, m, any, most), &err);
    assert_true(s.common.n_threads == INT64_MAX);
    test_ok(PARSE(&s, &err, m, any, least), &err);
    assert_true(s.common.n_threads == INT64_MIN);
    char stop[] = "--stop=x", *argv[RK_OPT_LIST_MAX + 1];
    for (size_t i = 0; i < RK_COUNT(argv); i++)
        argv[i] = stop;
    assert_int_equal(parse(&s, &err, argv, (int)RK_COUNT(argv)), RK_ERR_ARG);
    assert_non_null(strstr(err.msg, "more than 64 times"));
}

/* What is refused leaves the value that was there. */
static void test_refused_unchanged(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"-n", "101"}, {"-n", "x"}, {"--temp", "7"}, {"--temp", "x"}, {"--scale", "0"}};
    for (size_t i = 0; i < RK_COUNT(cases); i++) {
        sample s = {.model = "x", .n = 5, .temp = 0.5, .scale = 1.5};
        rk_error err = {0};
        bool help;
        char *argv[2] = {strdup(cases[i][0]), strdup(cases[i][1])};
        assert_int_equal(rk_options_parse(table, 2, argv, &s, &help, &err), RK_ERR_ARG);
        assert_true(s.n == 5 && s.temp == 0.5 && s.scale == 1.5);
        free(argv[0]);
        free(argv[1]);
    }
}

static void test_suggestions(void **state)
{
    (void)state;
    static const char *const names[] = {
        "run", "chat", "train", "convert", "quantize", "presence-penalty", "bench", NULL};
    static const char *const cases[][2] = {{"rnu", "run"},
                                           {"ru", "run"},
                                           {"runn", "run"},
                                           {"chta", "chat"},
                                           {"quantise", "quantize"},
                                           {"covnert", "convert"},
                                           {"trian", "train"},
                                           {"presence", "presence-penalty"},
                                           {"benchmark", "bench"},
                                           {"frob", NULL},
                                           {"r", NULL},
                                           {"", NULL},
                                           {"serve", NULL},
                                           {"a-very-long-word-that-is-no-name-of-any-kind", NULL}};
    for (size_t i = 0; i < RK_COUNT(cases); i++) {
        rk_suggestion s = {.word = cases[i][0]};
        for (const char *const *name = names; *name; name++)
            rk_suggest(&s, *name);
        if ((s.name == NULL) != (cases[i][1] == NULL) ||
            (s.name && strcmp(s.name, cases[i][1]) != 0))
            fail_msg("'%s' stands for '%s', expected '%s'", s.word, s.name ? s.name : "nothing",
                     cases[i][1] ? cases[i][1] : "nothing");
    }
}

static void test_help(void **state)
{
    (void)state;
    sample s = {0};
    rk_error err = {0};
    bool help = false;
    char h[] = "--help", bad[] = "--frob", *argv[] = {h, bad};
    test_ok(rk_options_parse(table, 2, argv, &s, &help, &err), &err);
    assert_true(help);
    rk_buf b = {0};
    rk_options_help(table, &b);
    static const char *const parts[] = {"\nsample:\n",
                                        "  -m, --model FILE",
                                        "a model (required)\n",
                                        "--temp T",
                                        "(default 1; 0 to 2)\n",
                                        "--dtype f32|bf16|f16",
                                        "  -e, --echo ",
                                        "  -t, --threads N",
                                        "\neverywhere:\n",
                                        "a prompt\n",
                                        "(default 1; above 0, at most 2)\n"};
    for (size_t i = 0; i < RK_COUNT(parts); i++)
        if (!strstr(b.data, parts[i]))
            fail_msg("'%s' is not in the help:\n%s", parts[i], b.data);
    rk_buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),       cmocka_unit_test(test_refused),
        cmocka_unit_test(test_limits),      cmocka_unit_test(test_refused_unchanged),
        cmocka_unit_test(test_suggestions), cmocka_unit_test(test_help),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
