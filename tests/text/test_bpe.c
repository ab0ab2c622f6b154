/* Tokenizers against the tokens that the packages of PyPI give (tests/oracle/vocabularies.py), and
 * merges, normal form and their limits against slow but plain ways to the same. */
#include "test_util.h"

#include <utf8proc.h>

#include "base/clock.h"
#include "text/bpe.h"
#include "text/nfc.h"
#include "text/split.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

static rk_tokenizer *open_tokenizer(const char *name)
{
    rk_error err = {0};
    rk_tokenizer *t = NULL;
    test_ok(rk_tokenizer_new(&t, name, &err), &err);
    return t;
}

static rk_tokenizer *open_small(test_ctx *t)
{
    return open_tokenizer(test_path(t, test_source(t, "tests/data/tokens"), "small.json"));
}

/* ---- golden tokens ---- */

static size_t read_hex(const char *hex, char *out)
{
    size_t n = 0;
    unsigned byte;
    for (; sscanf(hex + 2 * n, "%2x", &byte) == 1 && hex[2 * n] != ' '; n++)
        out[n] = (char)byte;
    return n;
}

/* A line: a text in hexadecimal, a space, its tokens. */
static void check_line(const rk_tokenizer *t, char *line, int number)
{
    char text[2048];
    int32_t ids[2048];
    const size_t n = read_hex(line, text);
    const int64_t count = rk_tokenizer_encode(t, text, n, ids, (int64_t)RK_COUNT(ids));
    char *want = strchr(line, ' ') + 1;
    for (int64_t i = 0; i < count; i++)
        if (strtol(want, &want, 10) != ids[i] || (*want++ == ',') != (i + 1 < count))
            fail_msg("line %d: token %" PRId64 " is %" PRId32, number, i, ids[i]);
}

static rk_tokenizer *open_trained(test_ctx *t, const char *name)
{
    return open_tokenizer(test_path(t, test_source(t, "tests/data/tokens"), name));
}

static void check_golden(const char *name, const char *file)
{
    test_ctx c = test_begin(1);
    const char *dir = test_source(&c, "tests/data/tokens");
    rk_tokenizer *t = strchr(name, '.') ? open_trained(&c, name) : open_tokenizer(name);
    char *lines = test_read_file(&c, test_path(&c, dir, file), NULL);
    int n_lines = 0;
    for (char *next; *lines; lines = next) {
        next = strchr(lines, '\n') + 1;
        next[-1] = '\0';
        check_line(t, lines, ++n_lines);
    }
    assert_true(n_lines > 50);
    rk_tokenizer_free(t);
    test_end(&c);
}

static void test_golden(void **state)
{
    (void)state;
    check_golden("world", "world.txt");
    check_golden("small.json", "small.txt");
    check_golden("qwen2.json", "qwen2.txt");
    check_golden("llama-bpe.json", "llama-bpe.txt");
    check_golden("smollm.json", "smollm.txt");
}

/* ---- pieces ---- */

static void test_split(void **state)
{
    (void)state;
    static const char *const rows[][11] = {
        {"Hello, World!", "Hello", ",", " World", "!"},
        {"it's don'T we're", "it", "'s", " don", "'", "T", " we", "'re"},
        {"a  b", "a", " ", " b"},
        {"a \n  b\n", "a", " \n ", " b", "\n"},
        {"x\n\ny\n\n", "x", "\n", "\n", "y", "\n\n"},
        {"12ab \xc2\xa0 3", "12", "ab", " \xc2\xa0", " 3"},
        {"caf\xc3\xa9 \xe4\xbd\xa0\xe5\xa5\xbd\xe3\x80\x82", "caf\xc3\xa9",
         " \xe4\xbd\xa0\xe5\xa5\xbd", "\xe3\x80\x82"},
        {"a\xff\xfe b", "a", "\xff\xfe", " b"},
        {" ", " "},
        /* neighbours of the classes of ASCII */
        {"9:0/1", "9", ":", "0", "/", "1"},
        {"z{a`@A[Z", "z", "{", "a", "`@", "A", "[", "Z"},
        {"a\tb\rc\x08"
         "d\x0e"
         "e",
         "a", "\t", "b", "\r", "c", "\x08", "d", "\x0e", "e"},
    };
    for (size_t i = 0; i < RK_COUNT(rows); i++) {
        const unsigned char *p = (const unsigned char *)rows[i][0];
        size_t left = strlen(rows[i][0]);
        for (int k = 1; left > 0; k++) {
            const size_t n = rk_split_gpt2(p, left);
            if (!rows[i][k] || n != strlen(rows[i][k]) || memcmp(p, rows[i][k], n) != 0)
                fail_msg("row %d, piece %d: '%.*s'", (int)i, k, (int)n, (const char *)p);
            p += n;
            left -= n;
        }
    }
}

/* ---- patterns ---- */

typedef struct pieces {
    char text[400];
    size_t n;
} pieces;

static void note_piece(void *user, const unsigned char *p, size_t n)
{
    pieces *s = user;
    s->n += (size_t)snprintf(s->text + s->n, sizeof s->text - s->n, "%s%.*s", s->n ? "/" : "",
                             (int)n, (const char *)p);
}

static void count_bytes(void *user, const unsigned char *p, size_t n)
{
    (void)p;
    *(size_t *)user += n;
}

/* The pieces of texts by the patterns of a row, slashes between them. */
static void test_patterns(void **state)
{
    (void)state;
    static const struct {
        const char *row, *text, *pieces;
    } cases[] = {
        {"qwen2", "I'M 123 it's", "I/'M/ /1/2/3/ it/'s"},
        {"qwen2", "a.b (c) --\n\n  d", "a/.b/ (/c/)/ --\n\n/ / d"},
        {"qwen2", "x \t\r\n \n y  ", "x/ \t\r\n \n/ y/  "},
        {"qwen2", "\t\tif", "\t/\tif"},
        {"qwen2", "caf\xc3\xa9\xc2\xa0\xe4\xbd\xa0\xe5\xa5\xbd\xe3\x80\x82",
         "caf\xc3\xa9/\xc2\xa0\xe4\xbd\xa0\xe5\xa5\xbd/\xe3\x80\x82"},
        /* U+0085 is white space, U+180E is not; the long s is an s */
        {"qwen2",
         "a\xc2\x85\xc2\x85"
         "b\xe1\xa0\x8e.",
         "a/\xc2\x85/\xc2\x85"
         "b/\xe1\xa0\x8e."},
        {"qwen2", "it'\xc5\xbf", "it/'\xc5\xbf"},
        {"llama-bpe", "x1234567", "x/123/456/7"},
        {"smollm", "Ab 12 'M it's", "Ab/ /1/2/ '/M/ it/'s"},
        {"smollm", "a  3", "a/  /3"},
        {"gpt-2", "Ab 12 'M it's", "Ab/ 12/ '/M/ it/'s"},
        {"qwen35", "e\xcc\x81t\xcc\x81 1", "e\xcc\x81t\xcc\x81/ /1"},
    };
    for (size_t i = 0; i < RK_COUNT(cases); i++) {
        rk_error err = {0};
        rk_pre_tokenizer *t = NULL;
        rk_pre_scratch scratch = {0};
        pieces got = {.n = 0};
        test_ok(rk_pre_tokenizer_new(&t, rk_pre_row_named(cases[i].row), &err), &err);
        assert_true(rk_pre_tokenize(t, &scratch, (const unsigned char *)cases[i].text,
                                    strlen(cases[i].text), note_piece, &got));
        assert_string_equal(got.text, cases[i].pieces);
        rk_pre_scratch_deinit(&scratch);
        rk_pre_tokenizer_free(t);
    }
    assert_null(rk_pre_row_named("qwen"));
}

/* Texts that make patterns look far ahead, a megabyte each: blanks, blanks and line feeds, signs, digits,
 * letters, and what matches nothing of the first pattern. */
static void test_hostile_texts(void **state)
{
    (void)state;
    enum { N = 1 << 20 };
    static const char *const texts[] = {" ", "\n ", " \n", "'", "1", "a", "\r", "' ", "\t."};
    test_ctx c = test_begin(8);
    char *text = test_alloc(&c, N);
    const double begin = rk_now_s();
    for (const rk_pre_row *row = rk_pre_rows; row->name; row++) {
        rk_pre_tokenizer *t = NULL;
        rk_pre_scratch scratch = {0};
        test_ok(rk_pre_tokenizer_new(&t, row, NULL), NULL);
        for (size_t i = 0; i < RK_COUNT(texts); i++) {
            const size_t n = strlen(texts[i]);
            size_t n_bytes = 0;
            for (size_t at = 0; at < N; at += n)
                memcpy(text + at, texts[i], n);
            assert_true(rk_pre_tokenize(t, &scratch, (const unsigned char *)text, N, count_bytes,
                                        &n_bytes));
            assert_int_equal(n_bytes, N);
        }
        rk_pre_scratch_deinit(&scratch);
        rk_pre_tokenizer_free(t);
    }
    assert_true(rk_now_s() - begin < 60.0);
    test_end(&c);
}

/* ---- merges ---- */

/* Merges as the file lists them, ["a","b"], those of ASCII letters only: others cannot happen. */
typedef struct rule {
    char left[32], right[32];
} rule;

static int read_rules(test_ctx *t, rule *rules, int max)
{
    int n = 0;
    const char *path = test_path(t, test_source(t, "tests/data/tokens"), "small.json");
    char *p = strstr(test_read_file(t, path, NULL), "\"merges\"");
    for (; p && n < max; p = strchr(p + 1, '['))
        n += sscanf(p, "[\"%31[a-z]\",\"%31[a-z]\"]", rules[n].left, rules[n].right) == 2;
    return n;
}

/* Merge parts by looking for the first rule that fits, at its first place, again and again. */
static int merge_plainly(const rule *rules, int n_rules, char parts[][64], int n)
{
    for (int r = 0; r < n_rules; r++)
        for (int i = 0; i + 1 < n; i++)
            if (!strcmp(parts[i], rules[r].left) && !strcmp(parts[i + 1], rules[r].right)) {
                memmove(parts[i] + strlen(parts[i]), parts[i + 1], strlen(parts[i + 1]) + 1);
                memmove(parts[i + 1], parts[i + 2], (size_t)(n - i - 2) * sizeof *parts);
                return merge_plainly(rules, n_rules, parts, n - 1);
            }
    return n;
}

/* Letters only, so that the text is one piece: short ones, and ones that need the heap. */
static void test_merges(void **state)
{
    (void)state;
    static rule rules[400];
    static char parts[101][64];
    test_ctx c = test_begin(3);
    rk_tokenizer *t = open_small(&c);
    const int n_rules = read_rules(&c, rules, 400);
    assert_true(n_rules > 50);
    for (uint64_t round = 0; round < 200; round++) {
        static const char letters[] = "etaoinshrdthe";
        const int n = 1 + (int)rk_rng_below(c.seed, RK_RNG_TEST, 1, round, 90);
        char text[100];
        int32_t ids[100];
        for (int i = 0; i < n; i++) {
            text[i] = letters[rk_rng_below(c.seed, RK_RNG_TEST, 2 + round, (uint64_t)i,
                                           sizeof letters - 1)];
            snprintf(parts[i], sizeof parts[i], "%c", text[i]);
        }
        const int n_parts = merge_plainly(rules, n_rules, parts, n);
        test_shape(&c, "round %" PRIu64 ": %.*s", round, n, text);
        assert_int_equal(rk_tokenizer_encode(t, text, (size_t)n, ids, 100), n_parts);
        for (int i = 0; i < n_parts; i++) {
            size_t length;
            const char *bytes = rk_tokenizer_bytes(t, ids[i], &length);
            assert_int_equal(length, strlen(parts[i]));
            assert_memory_equal(bytes, parts[i], length);
        }
    }
    rk_tokenizer_free(t);
    test_end(&c);
}

/* A long text remembers its pieces, its lines alone do not: both give the same tokens. (A line ends
 * with its newline, and none begins with white space, so that no piece crosses.) */
static void test_remembered(void **state)
{
    (void)state;
    test_ctx c = test_begin(4);
    rk_tokenizer *t = open_small(&c);
    size_t n;
    char *text = test_read_file(&c, test_source(&c, "docs/design.md"), &n);
    int32_t *all = test_alloc(&c, n * sizeof *all), *ids = test_alloc(&c, n * sizeof *ids);
    const int64_t n_all = rk_tokenizer_encode(t, text, n, all, (int64_t)n);
    int64_t at = 0;
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && (text[end - 1] != '\n' || strchr(" \n", text[end])); end++)
            continue;
        const int64_t count = rk_tokenizer_encode(t, text + i, end - i, ids, (int64_t)n);
        assert_true(end - i < 1024);
        test_same(&c, "tokens of a line", all + at, ids, (size_t)count * sizeof *ids);
        at += count;
    }
    assert_int_equal(at, n_all);
    rk_tokenizer_free(t);
    test_end(&c);
}

/* A megabyte that is one piece, and one of marks out of order, take well below a minute. */
static void test_long_pieces(void **state)
{
    (void)state;
    enum { N = 1 << 20 };
    test_ctx c = test_begin(5);
    rk_tokenizer *t = open_small(&c);
    char *text = test_alloc(&c, N);
    int32_t *ids = NULL;
    int64_t n = 0;
    const double begin = rk_now_s();
    memset(text, 'a', N);
    test_ok(rk_tokenizer_encode_all(t, text, N, &ids, &n, NULL), NULL);
    assert_true(n > 0 && n <= N);
    free(ids);
    for (size_t i = 0; i < N; i += 2)
        memcpy(text + i, i % 4 ? "\xcc\xa3" : "\xcc\x81", 2);
    test_ok(rk_tokenizer_encode_all(t, text, N, &ids, &n, NULL), NULL);
    assert_true(n > 0);
    free(ids);
    assert_true(rk_now_s() - begin < 30.0);
    rk_tokenizer_free(t);
    test_end(&c);
}

/* ---- normal form ---- */

static void expect_nfc(const char *text, size_t n, const char *want, size_t n_want)
{
    rk_buf out = {0};
    rk_nfc_add(&out, (const unsigned char *)text, n);
    assert_false(out.failed);
    assert_true(out.len <= RK_NFC_GROWTH * n);
    if (out.len != n_want || (n_want && memcmp(out.data, want, n_want) != 0))
        fail_msg("'%.*s' becomes '%.*s', want '%.*s'", (int)n, text, (int)out.len, out.data,
                 (int)n_want, want);
    rk_buf_deinit(&out);
}

static void test_nfc(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"", ""},
        {"plain", "plain"},
        {"e\xcc\x81t\xc3\xa9", "\xc3\xa9t\xc3\xa9"},              /* e and acute */
        {"a\xcc\x81\xcc\xa3", "\xe1\xba\xa1\xcc\x81"},            /* marks change places */
        {"\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8", "\xea\xb0\x81"}, /* Hangul */
        {"\xe2\x84\xab", "\xc3\x85"},                             /* the sign of Angstrom */
        {"\xe0\xa5\x98", "\xe0\xa4\x95\xe0\xa4\xbc"},             /* stays in two parts */
        {"\xff.\xe4\xbd.\xc3", "\xef\xbf\xbd.\xef\xbf\xbd.\xef\xbf\xbd"},
    };
    for (size_t i = 0; i < RK_COUNT(rows); i++)
        expect_nfc(rows[i][0], strlen(rows[i][0]), rows[i][1], strlen(rows[i][1]));
}

/* Random characters, mostly ones that take part in compositions, against utf8proc's own way. */
static void test_nfc_random(void **state)
{
    (void)state;
    static const uint32_t ranges[][2] = {{0x20, 0x7f},     {0xc0, 0x24f},    {0x300, 0x36f},
                                         {0x900, 0xdff},   {0x1100, 0x11ff}, {0xac00, 0xd7a3},
                                         {0x1e00, 0x1fff}, {0x80, 0xd7ff},   {0xe000, 0x2ffff}};
    const uint64_t seed = 6;
    for (uint64_t round = 0; round < 4000; round++) {
        unsigned char text[4 * 40 + 1];
        size_t n = 0;
        const uint64_t length = 1 + rk_rng_below(seed, RK_RNG_TEST, 1, round, 39);
        for (uint64_t i = 0; i < length; i++) {
            const uint64_t r = rk_rng_below(seed, RK_RNG_TEST, 2 + 2 * round, i, RK_COUNT(ranges));
            n += rk_utf8_encode(ranges[r][0] +
                                    (uint32_t)rk_rng_below(seed, RK_RNG_TEST, 3 + 2 * round, i,
                                                           ranges[r][1] - ranges[r][0] + 1),
                                text + n);
        }
        text[n] = '\0';
        char *want = (char *)utf8proc_NFC(text);
        expect_nfc((const char *)text, n, want, strlen(want));
        free(want);
    }
}

/* ---- the interface ---- */

static void expect_ids(const rk_bpe *b, const char *text, bool plain, const int32_t *want,
                       int64_t n)
{
    int32_t ids[32];
    assert_int_equal(rk_bpe_encode(b, text, strlen(text), plain, ids, 32), n);
    assert_memory_equal(ids, want, (size_t)n * sizeof *ids);
}

/* As plain text, what looks like a control token is none; an added token of another kind is. */
static void test_plain(void **state)
{
    (void)state;
    test_ctx c = test_begin(9);
    rk_tokenizer *t = open_trained(&c, "qwen2.json");
    const rk_bpe *b = rk_tokenizer_bpe(t);
    int32_t ids[32];
    expect_ids(b, "<|im_end|>", false, (const int32_t[]){2}, 1);
    const int64_t n = rk_bpe_encode(b, "<|im_end|>", 10, true, ids, 32);
    assert_true(n > 3 && n <= 10);
    for (int64_t i = 0; i < n; i++)
        assert_true(ids[i] > 2);
    const int32_t call = rk_bpe_added(b, "<tool_call>", 11);
    assert_true(call > 2);
    expect_ids(b, "<tool_call>", true, &call, 1);
    assert_int_equal(rk_bpe_added(b, "<|im_", 5), -1);
    /* nothing lies beside the file that says more */
    assert_true(rk_tokenizer_ends(t, 0));
    assert_false(rk_tokenizer_ends(t, 2));
    rk_tokenizer_free(t);
    test_end(&c);
}

/* A byte without a token is left out before merges, or becomes the unknown token. */
static void test_missing_bytes(void **state)
{
    (void)state;
    static const char text[] = "h\xf4\x80\x80\x80"
                               "e";
    test_ctx c = test_begin(10);
    const char *dir = test_source(&c, "tests/data/tokenizer_json");
    rk_tokenizer *t = open_tokenizer(test_path(&c, dir, "good.json"));
    rk_tokenizer *rare = open_tokenizer(test_path(&c, dir, "good_byte_rare.json"));
    rk_tokenizer *unknown = open_tokenizer(test_path(&c, dir, "good_byte_unknown.json"));
    int32_t ids[8], some[8];
    assert_int_equal(rk_tokenizer_encode(t, text, sizeof text - 1, ids, 8), 6);
    assert_int_equal(rk_tokenizer_encode(rare, text, sizeof text - 1, some, 8), 5);
    assert_memory_equal(some + 1, ids + 2, 4 * sizeof *ids);
    assert_int_equal(rk_tokenizer_encode(unknown, text, sizeof text - 1, some, 8), 6);
    assert_int_equal(some[1], 0);
    rk_tokenizer_free(t);
    rk_tokenizer_free(rare);
    rk_tokenizer_free(unknown);
    test_end(&c);
}

/* Merges come out of the tables as they went in. */
static void test_merges_back(void **state)
{
    (void)state;
    test_ctx c = test_begin(11);
    rk_tokenizer *t = open_trained(&c, "qwen2.json");
    rk_merge *merges = rk_bpe_merges(rk_tokenizer_bpe(t));
    const rk_texts *x = rk_tokenizer_texts(t);
    for (int64_t i = 0; i < rk_tokenizer_bpe(t)->n_merges; i++) {
        const struct rk_text l = x->of_id[merges[i].left], r = x->of_id[merges[i].right];
        const struct rk_text made = x->of_id[merges[i].made];
        assert_int_equal(made.n, l.n + r.n);
        assert_memory_equal(x->bytes + made.at, x->bytes + l.at, l.n);
        assert_memory_equal(x->bytes + made.at + l.n, x->bytes + r.at, r.n);
    }
    free(merges);
    rk_tokenizer_free(t);
    test_end(&c);
}

static void test_special(void **state)
{
    (void)state;
    static const char text[] = "a<|endoftext|>  b";
    test_ctx c = test_begin(7);
    rk_tokenizer *t = open_small(&c);
    int32_t ids[8];
    size_t n;
    assert_true(rk_tokenizer_has_merges(t));
    assert_int_equal(rk_tokenizer_encode(t, text, sizeof text - 1, ids, 8), 4);
    assert_int_equal(ids[1], 0);
    assert_int_equal(ids[2], 622); /* two spaces, the last of the added tokens */
    rk_tokenizer_bytes(t, 0, &n);
    assert_int_equal(n, 0);
    assert_memory_equal(rk_tokenizer_bytes(t, 622, &n), "  ", 2);
    assert_int_equal(n, 2);
    /* No room, little room. */
    assert_int_equal(rk_tokenizer_encode(t, text, sizeof text - 1, NULL, 0), 4);
    ids[1] = -1;
    assert_int_equal(rk_tokenizer_encode(t, text, sizeof text - 1, ids, 1), 4);
    assert_int_equal(ids[1], -1);
    /* Three ids of two bytes: normal form makes the text longer. */
    int32_t *all = NULL;
    int64_t n_all = 0;
    test_ok(rk_tokenizer_encode_all(t, "\xe0\xa5\x98", 3, &all, &n_all, NULL), NULL);
    assert_true(n_all > 3 && n_all <= 6);
    free(all);
    rk_tokenizer_free(t);
    test_end(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),      cmocka_unit_test(test_split),
        cmocka_unit_test(test_merges),      cmocka_unit_test(test_remembered),
        cmocka_unit_test(test_long_pieces), cmocka_unit_test(test_nfc),
        cmocka_unit_test(test_nfc_random),  cmocka_unit_test(test_special),
        cmocka_unit_test(test_patterns),    cmocka_unit_test(test_hostile_texts),
        cmocka_unit_test(test_plain),       cmocka_unit_test(test_missing_bytes),
        cmocka_unit_test(test_merges_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
